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
	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/delivery"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
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
signature), deploy (an atomic switch of DIR/current), monitor (probe, roll back). Every step goes over the bus: in this process, or on
the backend that is named.

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

// deliver wires the pipeline, starts the run, works on it in this process and prints its news.
func deliver(ctx context.Context, f runFlags, file string, stdout, stderr io.Writer) (err error) {
	if f.model != "scripted" {
		return &usageError{fmt.Errorf("--model %q: the models are: scripted", f.model)}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the requirements cannot be read; give the path of a readable file: %w", err)
	}
	model, err := scripted.Open(cmp.Or(f.script, filepath.Join(filepath.Dir(file), "script.json")))
	if err != nil {
		return fmt.Errorf("the script of the scripted model cannot be used: %w", err)
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return fmt.Errorf("the directory to release into cannot be made; name one that can be written with --out: %w: %w", port.ErrUnavailable, err)
	}
	blobs, err := dir.Open(filepath.Join(f.out, ".muster", "blobs"))
	if err != nil {
		return fmt.Errorf("the directory to release into cannot be used; name one that can be written with --out: %w", err)
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	p, err := delivery.New(model, blobs, local.Runner{}, f.out, delivery.Config{Secrets: env.Secrets{Prefix: "MUSTER_"}})
	if err != nil {
		return err
	}
	b, err := f.open(ctx)
	if err != nil {
		return advise(err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	started, err := p.Start(ctx, b, "", delivery.Requirements{Name: filepath.Base(file), Text: string(text)})
	if err != nil {
		return err
	}
	show := newProgress(f, stdout)
	var summary delivery.Summary
	err = muster.Run(ctx,
		func(ctx context.Context) error {
			return p.Work(ctx, b, flow.Worker{Group: bus.Group{Grace: grace, Log: logger(f, stderr)}})
		},
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
		return show.summary(summary)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; %s is as it was before the run, unless deploy was done: %w", f.out, context.Cause(ctx))
	default:
		return err
	}
}

// logger is where the bus logs to: nowhere unless asked for, since the news of the run tell the same.
func logger(f runFlags, stderr io.Writer) *slog.Logger {
	if !f.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(stderr, nil))
}
