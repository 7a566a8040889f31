package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// What a command's exit status says, after sysexits.h: EX_DATAERR. 75, EX_TEMPFAIL, and every other status are a failure.
const exitReject = 65

// workFlags are the flags of muster work.
type workFlags struct {
	backendFlags
	group    string
	workers  int
	loan     time.Duration
	grace    time.Duration
	timeout  time.Duration
	emit     string
	tries    int
	from     string
	logLevel slog.Level
}

func workCommand() *cobra.Command {
	f := workFlags{logLevel: slog.LevelInfo}
	cmd := &cobra.Command{
		Use:   "work TOPIC --group GROUP [flags] -- COMMAND [ARG...]",
		Short: "Run a command for each message of a topic",
		Long: `Works off a topic as a member of a group: a command for each message, until an interrupt. The payload is on the command's standard
input, the envelope in its environment (MUSTER_ID, MUSTER_KEY, MUSTER_CORR_ID, MUSTER_ATTEMPT, MUSTER_IDEMPOTENCY_KEY and others).

  status 0      done: acknowledged; with --emit what it printed leaves in the same step
  status 65     rejected: to the dead letters at once, with the last lines of its standard error as the reason
  any other     failed (75 by convention): again after a growing wait, to the dead letters when the tries are used up

An interrupt ends the fetching, hands back what was not begun, and gives running commands --grace; then their process group gets
SIGTERM, and after --grace once more SIGKILL. What they did not finish is handed back and counts nothing. A command whose loan is
lost is ended likewise. What a command leaves behind in its process group is killed when it ends.

A worker that dies, also by kill -9, takes its commands with it: a second small process of this program (work-guard) then kills their
process groups, and on Linux the kernel kills the commands themselves. Not covered: processes that leave the group (setsid,
daemons); on Linux the children of a command when worker and guard are killed at the same moment, or the worker in the moment in
which the command starts, on other systems the commands too; systems without process groups, where the command alone is killed, and only while the worker lives.`,
		Example: `  muster work orders.placed --group billing --workers 4 -- ./bill.sh
  muster work pages --group resize --emit pages.small -- convert - -resize 50% png:-`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return usage(cmd, errors.New("wanted is one topic, then -- and a command"))
			}
			return nil
		},
		ValidArgsFunction: f.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return usage(cmd, err)
			}
			program, err := exec.LookPath(args[1])
			if err != nil {
				return fmt.Errorf("the command %q cannot be run, name a program that can: %w: %w", args[1], port.ErrNotFound, err)
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, _ *screen) error {
				return f.work(ctx, b, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr(), program, args[2:]...)
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.group, "group", "", "group whose work this is; all workers of a group share it; required")
	flags.IntVar(&f.workers, "workers", 1, "commands at a time")
	flags.DurationVar(&f.loan, "loan", 30*time.Second, "how long after a crash of this worker others take over; at least 1s")
	flags.DurationVar(&f.grace, "grace", 10*time.Second, "how long running commands may go on after an interrupt, and after SIGTERM")
	flags.DurationVar(&f.timeout, "timeout", 0, "longest time of one command; what takes longer is ended and has failed (default none)")
	flags.StringVar(&f.emit, "emit", "", "topic to which a command's standard output is emitted with the acknowledgement (default: it goes to standard output)")
	flags.IntVar(&f.tries, "tries", 5, "tries of a message before it goes to the dead letters; negative: for ever")
	flags.StringVar(&f.from, "from", "earliest", "where a new group starts: earliest or latest")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error; logs go to standard error, as JSON with --json")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("emit", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return f.completeTopic(cmd, nil, "")
	}))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// check refuses what the bus would refuse, in the words of the flags.
func (f *workFlags) check(topic string) error {
	if err := port.CheckName("topic", topic); err != nil {
		return err
	}
	if f.group == "" {
		return errors.New("--group is required: it says whose work this is")
	}
	if err := port.CheckGroupName(f.group); err != nil {
		return err
	}
	switch {
	case f.workers < 1:
		return fmt.Errorf("--workers %d, at least 1 is needed", f.workers)
	case f.loan < bus.MinLoan:
		return fmt.Errorf("--loan %v is shorter than the minimum %v", f.loan, bus.MinLoan)
	case f.grace < 0:
		return fmt.Errorf("--grace %v is negative", f.grace)
	case f.timeout < 0:
		return fmt.Errorf("--timeout %v is negative", f.timeout)
	case f.tries == 0:
		return errors.New("--tries 0, at least 1 is needed; -1 is for ever")
	case f.from != "earliest" && f.from != "latest":
		return fmt.Errorf("--from %q is neither earliest nor latest", f.from)
	}
	if f.emit != "" {
		return port.CheckName("topic", f.emit)
	}
	return nil
}

func (f *workFlags) logger(stderr io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.logLevel}
	if f.json {
		return slog.New(slog.NewJSONHandler(stderr, o))
	}
	return slog.New(slog.NewTextHandler(stderr, o))
}

// toBus is the group as the bus takes it.
func (f *workFlags) toBus(log *slog.Logger) bus.Group {
	g := bus.Group{
		Name: f.group, Workers: f.workers, Loan: f.loan, Grace: f.grace, Timeout: f.timeout, Retry: retry.Backoff{Tries: f.tries}, Log: log,
	}
	if f.grace == 0 {
		g.Grace = -1 // in a Group, 0 is the default
	}
	if f.from == "latest" {
		g.From = port.Latest
	}
	return g
}

// work runs program for each message until ctx ends.
func (f *workFlags) work(ctx context.Context, b port.Backend, topic string, stdout, stderr io.Writer, program string, args ...string) (err error) {
	caps := b.Caps()
	if f.emit != "" && caps.Atomic == port.AtomicFamily && port.Family(topic) != port.Family(f.emit) {
		return &usageError{fmt.Errorf("--emit %q: on %s what is emitted leaves with the acknowledgement within one family of names alone, that is what stands before the first dot; name it %q", f.emit, caps.Name, port.Family(topic)+"."+f.emit)}
	}
	out := &lockedWriter{out: stderr} // logs, and what the commands say
	log := f.logger(out)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	guard, err := startGuard(stop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.close()) }()
	for _, danger := range b.Health(ctx).Details {
		log.WarnContext(ctx, danger)
	}
	w := &worker{
		emit: f.emit, most: bodyLimit(b), stop: stop, log: log,
		errand: errand{program: program, args: args, grace: f.grace, gather: f.emit != "", most: bodyLimit(b), stdout: &lockedWriter{out: stdout}, stderr: out, guard: guard, log: log},
	}
	log.InfoContext(ctx, "working", "topic", topic, "group", f.group, "workers", f.workers, "command", program)
	err = raw(topic).Subscribe(ctx, b, f.toBus(log), w.handle)
	if cause, ok := errors.AsType[*stopError](context.Cause(ctx)); ok {
		err = errors.Join(cause, err)
	}
	if stats, serr := b.Stats(context.WithoutCancel(ctx)); serr == nil {
		c := stats.Counters
		log.InfoContext(ctx, "ended", "topic", topic, "group", f.group, "acked", c["acked"], "returned", c["returned"], "released", c["released"], "stale", c["stale"])
	}
	return err
}

// stopError is why a worker ends by itself.
type stopError struct{ err error }

func (s *stopError) Error() string { return s.err.Error() }
func (s *stopError) Unwrap() error { return s.err }

// worker turns messages into commands, and their ends into verdicts.
type worker struct {
	emit   string
	most   int // bytes of an envelope
	errand errand
	stop   context.CancelCauseFunc
	log    *slog.Logger
}

func (w *worker) handle(ctx context.Context, m bus.Message[[]byte]) error {
	variables, err := handledVariables(ctx, &m)
	if err != nil {
		return bus.Reject(err)
	}
	o, err := w.errand.run(ctx, variables, m.Payload)
	if err != nil { // no fault of the message: it is handed back, and the next would fare no better
		w.stop(&stopError{err})
		return bus.Later(0, err)
	}
	w.log.DebugContext(ctx, "command ended", "id", m.ID, "how", o.state)
	switch {
	case o.status == exitOK && o.dropped > 0:
		return bus.Reject(fmt.Errorf("the command printed %d bytes more than the %d that can be emitted", o.dropped, w.most))
	case o.status == exitOK:
		return w.emitted(ctx, m, o.stdout)
	case o.status == exitReject:
		return bus.Reject(errors.New(o.reason()))
	case errors.Is(o.told, context.DeadlineExceeded):
		return fmt.Errorf("the command took longer than the --timeout: %s", o.reason())
	case o.told != nil:
		return fmt.Errorf("the command was told to end: %w: %s", o.told, o.reason())
	default:
		return errors.New(o.reason())
	}
}

// emitted puts what a command printed, if it printed anything, into the step of the acknowledgement.
func (w *worker) emitted(ctx context.Context, m bus.Message[[]byte], output []byte) error {
	if n := len(output); n > 0 && output[n-1] == '\n' {
		output = output[:n-1]
	}
	if w.emit == "" || len(output) == 0 {
		return nil
	}
	id := envelope.DeriveIDAt(0, m.Topic, m.ID, m.Group, w.emit) // the same on every try
	meta := envelope.Derive(ctx, envelope.Meta{ID: id, Type: w.emit, Key: m.Key})
	wire, err := seal(meta, output)
	if err != nil {
		return bus.Reject(fmt.Errorf("the output cannot be emitted: %w", err))
	}
	if len(wire) > w.most {
		return bus.Reject(fmt.Errorf("the output would be a message of %d bytes, at most %d can be emitted", len(wire), w.most))
	}
	bus.EmitAll(m, sealed(w.emit), bus.Out[[]byte]{Payload: wire, ID: id, Key: m.Key})
	return nil
}

// lockedWriter may be written to by many at once.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// environment is that of this process without what tells of a message.
func environment(variables []string) []string {
	return append(os.Environ(), variables...) // of two of one name, os/exec takes the last
}
