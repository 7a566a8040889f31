package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/adapter/env"
	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/delivery"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// runFlags are the flags of muster run.
type runFlags struct {
	backendFlags
	out     string
	model   string
	script  string
	verbose bool
}

func runCommand() *cobra.Command {
	f := runFlags{backendFlags: backendFlags{alone: true}}
	cmd := &cobra.Command{
		Use:   "run REQUIREMENTS.md",
		Short: "Make a tested, certified, deployed program of a requirements file",
		Long: `Makes a tested, certified, deployed program of a requirements file: plan, code, validate (go vet, build and test), certify (policy,
signature), deploy (an atomic switch of DIR/current), monitor (probe, roll back). Every step goes over the bus and is recorded, on
this machine or on the backend that is named: muster resume goes on with a run whose process died.

The exit status is 0 only when the program is deployed and healthy. An interrupt ends the run after what is under way, within
ten seconds; a second one ends the process at once.`,
		Example: "  muster run --out /tmp/release examples/wordcount/requirements.md",
		Args:    exactly(1, "one requirements file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deliver(cmd.Context(), f, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "release", "directory to release into; made when it is not there")
	flags.StringVar(&f.model, "model", "scripted", "who answers; scripted: a script file that stands in for a model")
	flags.StringVar(&f.script, "script", "", "script file of the scripted model (default script.json beside the requirements file)")
	flags.BoolVar(&f.verbose, "verbose", false, "log what the bus decides, on standard error")
	cobra.CheckErr(cmd.MarkFlagDirname("out"))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("model", cobra.FixedCompletions([]string{"scripted"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// errOver ends the worker when the run is over.
var errOver = errors.New("the run is over")

// grace is how long a running phase may go on after an interrupt.
const grace = 10 * time.Second

// deliver records what is asked for, starts the run and carries it on in this process.
func deliver(ctx context.Context, f runFlags, file string, stdout, stderr io.Writer) error {
	if f.model != "scripted" {
		return &usageError{fmt.Errorf("--model %q: the models are: scripted", f.model)}
	}
	if f.out == "" {
		return &usageError{errors.New("--out is empty; name the directory to release into, . for this one")}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the requirements cannot be read; give the path of a readable file: %w", err)
	}
	l := &launch{entry: entry{Run: envelope.NewID(), File: filepath.Base(file), Created: time.Now().UTC()}, Text: string(text), Model: f.model}
	if l.Script, err = filepath.Abs(cmp.Or(f.script, filepath.Join(filepath.Dir(file), "script.json"))); err != nil {
		return err
	}
	if l.Out, err = filepath.Abs(f.out); err != nil {
		return err
	}
	p, err := prepare(l)
	if err != nil {
		return err
	}
	b, err := f.open(ctx)
	if err != nil {
		return joined(advise(err), p.close)
	}
	c, err := carry(ctx, b, l.Run)
	if err == nil {
		if err = l.save(ctx, b); err == nil {
			err = p.work(ctx, f, b, c, stdout, stderr)
		}
		c.free(ctx)
	}
	return joined(joined(advise(err), p.close), b.Close)
}

// joined is err with that of a last call.
func joined(err error, last func() error) error { return errors.Join(err, last()) }

// prepared is a run with all that it needs but a backend.
type prepared struct {
	*launch
	pipeline *delivery.Pipeline
	close    func() error
}

// prepare wires the pipeline of a run.
func prepare(l *launch) (*prepared, error) {
	model, err := scripted.Open(l.Script)
	if err != nil {
		return nil, fmt.Errorf("the script of the scripted model cannot be used; correct it, or name another with --script: %w", err)
	}
	if err := os.MkdirAll(l.Out, 0o755); err != nil {
		return nil, fmt.Errorf("the directory to release into cannot be made; name one that can be written with --out: %w: %w", port.ErrUnavailable, err)
	}
	blobs, err := dir.Open(filepath.Join(l.Out, ".muster", "blobs"))
	if err != nil {
		return nil, fmt.Errorf("the directory to release into cannot be used; name one that can be written with --out: %w", err)
	}
	c := delivery.Config{Name: pipelineOf(l.Run), Secrets: env.Secrets{Prefix: "MUSTER_"}}
	p, err := delivery.New(model, blobs, local.Runner{}, l.Out, c)
	if err != nil {
		return nil, errors.Join(err, blobs.Close())
	}
	return &prepared{l, p, blobs.Close}, nil
}

// work starts the run where that has not been done, works on it until it is over, and prints its news.
func (p *prepared) work(ctx context.Context, f runFlags, b port.Backend, c *carrier, stdout, stderr io.Writer) error {
	started, err := p.pipeline.Start(ctx, b, p.Run, delivery.Requirements{Name: p.File, Text: p.Text})
	if err != nil {
		return err
	}
	show := newProgress(f, stdout)
	var summary delivery.Summary
	err = muster.Run(ctx,
		func(ctx context.Context) error {
			return begun(ctx, func(ctx context.Context) error {
				return p.pipeline.Work(ctx, b, flow.Worker{Group: bus.Group{Grace: grace, Loan: runLoan, Log: logger(f, stderr)}})
			})
		},
		c.keep,
		func(ctx context.Context) (err error) {
			if err = show.follow(started.Watch(ctx)); err != nil {
				return err
			}
			if summary, err = started.Wait(ctx); err != nil {
				return err
			}
			return errOver
		})
	switch {
	case errors.Is(err, errOver):
		return errors.Join(show.summary(summary), p.tidy(ctx, b))
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; %q goes on with it, unless the backend is memory; %s is as it was before the run, unless deploy was done: %w",
			"muster resume "+p.Run, p.Out, context.Cause(ctx))
	default:
		return err
	}
}

// begun is work that waits outages out once it has begun, and is begun again where it met one on the way there.
func begun(ctx context.Context, work func(context.Context) error) error {
	again := retry.Policy{Backoff: retry.Backoff{Tries: 20, First: 50 * time.Millisecond, Max: time.Second}}
	return retry.Do(ctx, again, func(ctx context.Context) error {
		err := work(ctx)
		away := errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain)
		if err != nil && (!away || errors.Is(err, nats.ErrFull)) {
			return retry.Permanent(err)
		}
		return err
	})
}

// tidy drops the topics of a run that is done: its record and its history stay.
func (p *prepared) tidy(ctx context.Context, b port.Queue) error {
	for info, err := range b.Inspect(ctx, pipelineOf(p.Run)+".*") {
		if err == nil {
			err = b.Drop(ctx, info.Topic.Name, "")
		}
		if err != nil {
			return fmt.Errorf("the program is deployed, and what the run has left cannot be dropped: %w", err)
		}
	}
	return nil
}

// logger is where the bus logs to: nowhere unless asked for, since the news of the run tell the same.
func logger(f runFlags, stderr io.Writer) *slog.Logger {
	if !f.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(stderr, nil))
}
