package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// publishFlags are the flags of muster publish.
type publishFlags struct {
	backendFlags
	file    string
	lines   bool
	key     string
	tenant  string
	headers []string
	delay   time.Duration
	id      string
}

func publishCommand() *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish TOPIC [BODY]",
		Short: "Append a message to a topic, or one for each line",
		Long: `Appends a message to a topic and prints its id. The body is the argument, the contents of --file, or standard input; JSON travels as
it is, anything else byte for byte in base64. With --lines each line is a message.

Once an id is printed, every group that exists will get the message, as far as the backend is durable (muster health tells). When a
command of muster work publishes, the message belongs to the one that is handled: correlation, cause, tenant and trace.

When it fails midway it says how many lines are published. With --id, publishing the same lines again under the same id within the
topic's window (2 minutes unless declared otherwise) doubles none.`,
		Example: `  muster publish orders.placed '{"order":1}' --key ann
  seq 1000 | muster publish numbers --lines`,
		Args:              between(1, 2, "a topic and at most one body"),
		ValidArgsFunction: f.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			in, err := f.input(cmd, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return f.publish(ctx, b, s, args[0], in)
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "read the body, or the lines, from this file")
	flags.BoolVar(&f.lines, "lines", false, "publish one message for each line of standard input or of --file")
	flags.StringVar(&f.key, "key", "", "key: messages of one key are handled in order within a worker (default none)")
	flags.StringVar(&f.tenant, "tenant", "", "tenant that it is for (default none)")
	flags.StringArrayVar(&f.headers, "header", nil, "header as NAME=VALUE; may be given several times")
	flags.DurationVar(&f.delay, "delay", 0, "how long nobody gets it, such as 90s (default not at all)")
	flags.StringVar(&f.id, "id", "", "id; one that is known in the topic's window is not published again; with --lines, -1, -2 and so on are appended (default a new one)")
	cobra.CheckErr(cmd.MarkFlagFilename("file"))
	return cmd
}

// check refuses what cannot be published, before anything is read or opened.
func (f *publishFlags) check(cmd *cobra.Command, args []string) error {
	if err := port.CheckName("topic", args[0]); err != nil {
		return usage(cmd, err)
	}
	switch {
	case len(args) == 2 && f.lines:
		return usage(cmd, errors.New("a body and --lines are given; one is enough"))
	case len(args) == 2 && f.file != "":
		return usage(cmd, errors.New("a body and --file are given; one is enough"))
	case f.delay < 0:
		return usage(cmd, fmt.Errorf("--delay %v is negative", f.delay))
	case len(args) == 1 && f.file == "" && !f.lines && isTerminal(cmd.InOrStdin()):
		return usage(cmd, errors.New("there is no body; give one, --file, or standard input that is no terminal"))
	}
	if _, err := f.pairs(); err != nil {
		return usage(cmd, err)
	}
	if _, err := f.message(cmd.Context(), args[0], f.id, nil); err != nil {
		return usage(cmd, err)
	}
	return nil
}

// pairs are the headers.
func (f *publishFlags) pairs() (map[string]string, error) {
	var headers map[string]string
	for _, pair := range f.headers {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: wanted is NAME=VALUE", pair)
		}
		if headers == nil {
			headers = make(map[string]string)
		}
		headers[name] = value
	}
	return headers, nil
}

// input is where the body or the lines come from.
func (f *publishFlags) input(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	switch {
	case len(args) == 2:
		return io.NopCloser(strings.NewReader(args[1])), nil
	case f.file != "":
		file, err := os.Open(f.file)
		if err != nil {
			return nil, fmt.Errorf("the file to publish cannot be read; give the path of a readable one: %w", err)
		}
		return file, nil
	default:
		return io.NopCloser(cmd.InOrStdin()), nil
	}
}

// message is body as it goes out.
func (f *publishFlags) message(ctx context.Context, topic, id string, body []byte) (bus.Out[[]byte], error) {
	headers, err := f.pairs()
	if err != nil {
		return bus.Out[[]byte]{}, err
	}
	meta := envelope.Derive(withHandled(ctx), envelope.Meta{ID: id, Type: topic, Key: f.key, Tenant: f.tenant, Headers: headers})
	wire, err := seal(meta, body)
	if err != nil {
		return bus.Out[[]byte]{}, err
	}
	out := bus.Out[[]byte]{Payload: wire, ID: meta.ID, Key: meta.Key}
	if f.delay > 0 {
		out.At = time.Now().Add(f.delay)
	}
	return out, nil
}

// seal is body in an envelope: as JSON where it is JSON, and as bytes where it is not.
func seal(meta envelope.Meta, body []byte) ([]byte, error) {
	if wire, err := envelope.Append(nil, meta, body); err == nil {
		return wire, nil
	}
	meta.ContentType = envelope.Bytes{}.ContentType()
	return envelope.Append(nil, meta, body)
}

// raw is a topic whose payloads are handed on as bytes, whatever they are.
func raw(topic string) bus.Topic[[]byte] {
	return bus.Topic[[]byte]{Name: topic, Codec: envelope.Bytes{}}
}

// sealed is a topic whose payloads are whole envelopes, so that JSON and bytes leave in one batch.
func sealed(topic string) bus.Topic[[]byte] {
	return bus.Topic[[]byte]{Name: topic, Codec: envelope.Bytes{}, Bare: true}
}

// published is a line of output.
type published struct {
	Topic     string `json:"topic"`
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate,omitempty"`
}

func (f *publishFlags) publish(ctx context.Context, b port.Backend, s *screen, topic string, in io.Reader) error {
	if f.lines {
		return f.publishLines(ctx, b, s, topic, in)
	}
	body, err := readAll(ctx, in, bodyLimit(b))
	if err != nil {
		return fmt.Errorf("the body cannot be read; give it as an argument, in a --file or on standard input: %w", err)
	}
	id := f.id
	if id == "" {
		id = envelope.NewID()
	}
	out, err := f.message(ctx, topic, id, body)
	if err != nil {
		return err
	}
	err = f.send(ctx, b, s, topic, []bus.Out[[]byte]{out})
	if errors.Is(err, port.ErrUncertain) {
		return fmt.Errorf("%w; with --id %s within the topic's window it can be published again without doubling", err, id)
	}
	return err
}

// send publishes and prints the ids of what was published, also beside an error.
func (f *publishFlags) send(ctx context.Context, b port.Backend, s *screen, topic string, out []bus.Out[[]byte]) error {
	ids, err := sealed(topic).PublishAll(ctx, b, out...)
	var known []string
	if dup, ok := errors.AsType[*port.DuplicateError](err); ok {
		known, err = dup.IDs, nil
	}
	for _, id := range ids {
		p := published{Topic: topic, ID: id, Duplicate: slices.Contains(known, id)}
		var failed error
		switch {
		case s.json:
			failed = s.value(p)
		case p.Duplicate:
			failed = s.line(id, "duplicate")
		default:
			failed = s.line(id)
		}
		if failed != nil {
			return failed
		}
	}
	return errors.Join(err, s.flush())
}
