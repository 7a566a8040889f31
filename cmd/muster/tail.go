package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// tailFlags are the flags of muster tail.
type tailFlags struct {
	backendFlags
	from   string
	follow bool
	count  int
}

func tailCommand() *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Print the messages of a topic, without touching any group",
		Long: `Prints the messages that a topic keeps, oldest first, and with --follow those that come, until an interrupt. No group is touched.

Without --json each message is a line: when it became visible, id, key, body. A body that is no text is shown as text with the rest
escaped; --json has it byte for byte. An outage while it follows is waited out; what retention or a loss has taken meanwhile ends
it with an error.`,
		Example: `  muster tail orders.placed --follow --from latest
  muster tail orders.placed --json --count 10`,
		Args:              exactly(1, "one topic"),
		ValidArgsFunction: f.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := port.CheckName("topic", args[0]); err != nil {
				return usage(cmd, err)
			}
			if f.count < 0 {
				return usage(cmd, fmt.Errorf("--count %d is negative", f.count))
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				t := &tail{q: b, screen: s, topic: args[0], left: f.count, note: func(text string) error {
					_, err := fmt.Fprintln(cmd.ErrOrStderr(), "muster:", text)
					return err
				}}
				if f.count == 0 {
					t.left = -1
				}
				return t.run(ctx, f.from, f.follow)
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "earliest", "where to begin: earliest, latest, or behind an offset that was printed")
	flags.BoolVar(&f.follow, "follow", false, "go on with what comes, until an interrupt")
	flags.IntVar(&f.count, "count", 0, "end after so many messages (default all)")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"earliest", "latest"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// tail reads a topic.
type tail struct {
	q      port.Queue
	screen *screen
	topic  string
	after  port.Offset
	left   int // how many messages more; negative: all
	note   func(text string) error
}

// pageSize is how many entries are read at a time, and followTime how long one call waits for the next.
const (
	pageSize   = 100
	followTime = 30 * time.Second
)

func (t *tail) run(ctx context.Context, from string, follow bool) error {
	info, found, err := inspectOne(ctx, t.q, t.topic)
	if err != nil {
		return err
	}
	switch {
	case !found && !follow:
		return fmt.Errorf("topic %q: %w; muster topics lists those that there are", t.topic, port.ErrNotFound)
	case !found:
		if err := t.note(fmt.Sprintf("there is no topic %q yet, waiting for it", t.topic)); err != nil {
			return err
		}
	}
	switch from {
	case "earliest":
		t.after = port.Earliest
	case "latest":
		t.after = info.Last
	default:
		t.after = port.Offset(from)
	}
	if follow {
		return t.follow(ctx)
	}
	// An offset is asked for in any case: only the backend knows whether it is one.
	for given := from != "earliest" && from != "latest"; t.left != 0 && (given || t.after < info.Last); given = false {
		n, err := t.page(ctx, 0)
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// follow goes on until ctx ends, which is its good end.
func (t *tail) follow(ctx context.Context) error {
	waits := retry.Backoff{Max: 5 * time.Second}
	for failures := 0; t.left != 0 && ctx.Err() == nil; {
		_, err := t.page(ctx, followTime)
		if err == nil {
			failures = 0
			continue
		}
		if ctx.Err() == nil && !errors.Is(err, port.ErrUnavailable) {
			return err
		}
		failures++
		if failures == 1 && ctx.Err() == nil {
			if err := t.note(sentence(err) + "; trying again until it works"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(waits.Delay(failures, rand.Float64())):
		}
	}
	return nil
}

// page prints what is there after the last, and waits so long for it.
func (t *tail) page(ctx context.Context, wait time.Duration) (n int, err error) {
	most := pageSize
	if t.left >= 0 {
		most = min(most, t.left)
	}
	entries, err := t.q.Read(ctx, port.Range{Topic: t.topic, After: t.after, Max: most, Wait: wait})
	switch {
	case errors.Is(err, port.ErrUncertain): // what is read is not changed, so reading again is safe
		return 0, fmt.Errorf("%w: %s", port.ErrUnavailable, err.Error())
	case errors.Is(err, port.ErrGap):
		return 0, fmt.Errorf("%w; --from earliest begins with what is kept", err)
	case err != nil:
		return 0, err
	}
	for i := range entries {
		t.after = entries[i].Offset
		if err := t.print(&entries[i]); err != nil {
			return 0, err
		}
	}
	if t.left > 0 {
		t.left -= len(entries)
	}
	return len(entries), t.screen.flush()
}

func (t *tail) print(e *port.Stored) error {
	m := opened(t.topic, e)
	if t.screen.json {
		return t.screen.value(m)
	}
	return t.screen.line(e.At.UTC().Format("2006-01-02T15:04:05.000Z"), m.ID, orDash(m.Key), m.text())
}

// message is an entry of a topic as it is printed. What is no envelope has offset, at, id, key and payload alone.
type message struct {
	Topic         string            `json:"topic"`
	Offset        string            `json:"offset"`
	At            time.Time         `json:"at"`
	ID            string            `json:"id"`
	Type          string            `json:"type,omitempty"`
	Time          *time.Time        `json:"ts,omitempty"`
	CorrID        string            `json:"corrId,omitempty"`
	CauseID       string            `json:"causeId,omitempty"`
	TenantID      string            `json:"tenantId,omitempty"`
	Source        string            `json:"source,omitempty"`
	Key           string            `json:"key,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
	ContentType   string            `json:"contentType,omitempty"`
	Payload       json.RawMessage   `json:"payload,omitempty"`
	PayloadBase64 *string           `json:"payloadBase64,omitempty"`
}

// opened is an entry with its envelope taken off.
func opened(topic string, e *port.Stored) message {
	m := message{Topic: topic, Offset: string(e.Offset), At: e.At.UTC(), ID: e.Message.ID, Key: e.Message.Key}
	meta, payload, err := envelope.Parse(e.Message.Body)
	if err != nil {
		m.Payload, m.PayloadBase64 = jsonOr(e.Message.Body)
		return m
	}
	m.Type, m.Time, m.CorrID, m.CauseID, m.TenantID = meta.Type, &meta.At, meta.CorrID, meta.CauseID, meta.Tenant
	m.Source, m.Headers, m.ContentType = meta.Source, meta.Headers, meta.ContentType
	if meta.ContentType == (envelope.Bytes{}).ContentType() {
		m.PayloadBase64 = new(base64.StdEncoding.EncodeToString(payload))
	} else {
		m.Payload, m.PayloadBase64 = jsonOr(payload)
	}
	return m
}

// jsonOr is b as JSON, or in base64 where it is none.
func jsonOr(b []byte) (json.RawMessage, *string) {
	if json.Valid(b) && utf8.Valid(b) {
		return b, nil
	}
	return nil, new(base64.StdEncoding.EncodeToString(b))
}

// text is the payload for people.
func (m *message) text() string {
	if m.PayloadBase64 == nil {
		return string(m.Payload)
	}
	b, err := base64.StdEncoding.DecodeString(*m.PayloadBase64)
	if err != nil {
		return *m.PayloadBase64
	}
	return strings.TrimSuffix(string(b), "\n")
}

// inspectOne is one topic, if it is there.
func inspectOne(ctx context.Context, q port.Queue, topic string) (info port.TopicInfo, found bool, err error) {
	for info, err := range q.Inspect(ctx, topic) { // a name has no metacharacters
		return info, err == nil, err
	}
	return port.TopicInfo{}, false, nil
}
