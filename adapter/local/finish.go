package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster/port"
)

// drainTime is how long output is still read after the end of a command when somebody who left its group holds on to it.
const drainTime = 500 * time.Millisecond

var errTime = errors.New("the time of the command is over")

// finish feeds the command, gathers what it says, and waits for its end or brings it about.
func (p *process) finish(ctx context.Context, c port.Command) (port.Result, error) {
	run, stop := context.WithCancel(ctx)
	if limit := first(c.Time, port.DefaultRunTime); limit > 0 {
		run, stop = context.WithTimeoutCause(ctx, limit, errTime)
	}
	defer stop()

	kept := first(c.Output, port.DefaultRunOutput)
	stdout, stderr := &keeper{limit: kept}, &keeper{limit: kept}
	var streams sync.WaitGroup
	var fed, outErr, errErr error
	streams.Go(func() { fed = feed(p.stdin, c.Stdin) })
	streams.Go(func() { outErr = stdout.gather(p.stdout) })
	streams.Go(func() { errErr = stderr.gather(p.stderr) })

	exited := make(chan struct{})
	var why error // why the command was killed here; nil when it was not
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-run.Done():
			why = context.Cause(run)
			killGroup(p.cmd)
		case <-exited:
		}
	})
	err := reap(p.cmd, func() {
		close(exited)
		watch.Wait()
		killGroup(p.cmd) // what the command left behind
	})
	if _, status := errors.AsType[*exec.ExitError](err); status {
		err = nil
	}
	res := port.Result{Time: time.Since(p.began), Isolation: p.isolation}

	err = errors.Join(err, p.drain(&streams))
	for _, e := range []error{fed, outErr, errErr} {
		if errors.Is(e, os.ErrDeadlineExceeded) {
			res.Escaped = true
			continue
		}
		err = errors.Join(err, e)
	}
	res.Stdout, res.Stderr = stdout.output(), stderr.output()
	return p.verdict(ctx, c, res, why, err)
}

// drain waits until the streams are at their end, or for drainTime, and closes them.
func (p *process) drain(streams *sync.WaitGroup) error {
	deadline := time.Now().Add(drainTime)
	err := errors.Join(p.stdout.SetReadDeadline(deadline), p.stderr.SetReadDeadline(deadline))
	if e := p.stdin.Close(); !errors.Is(e, os.ErrClosed) { // nobody is left to be fed
		err = errors.Join(err, e)
	}
	streams.Wait()
	return errors.Join(err, p.stdout.Close(), p.stderr.Close())
}

// verdict says how the command ended: by its own status or signal, or, where it was killed here, why.
func (p *process) verdict(ctx context.Context, c port.Command, res port.Result, why, err error) (port.Result, error) {
	state := p.cmd.ProcessState
	fail := func(err error) (port.Result, error) {
		return res, fmt.Errorf("local: run %q in %q: %w: %w", c.Program, c.Dir, port.ErrUncertain, err)
	}
	res.Exit = -1
	switch {
	case state == nil:
		return fail(err)
	case state.Exited():
		res.Ending, res.Exit = port.Exited, state.ExitCode()
	case errors.Is(why, errTime):
		res.Ending = port.TimedOut
	case why != nil:
		res.Ending = port.Canceled
		return fail(errors.Join(fmt.Errorf("killed: %w", context.Cause(ctx)), err))
	default:
		res.Ending = port.Signaled
		res.Signal = signalName(state)
	}
	if err != nil {
		return fail(err)
	}
	return res, nil
}

// feed writes standard input and closes it. A command need not read it.
func feed(f *os.File, body []byte) error {
	_, err := f.Write(body)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if e := f.Close(); !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// first is v, or def where v is zero.
func first[N int | time.Duration](v, def N) N {
	if v == 0 {
		return def
	}
	return v
}
