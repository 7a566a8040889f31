package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// errand is a command that is run once for each message.
type errand struct {
	program        string
	args           []string
	grace          time.Duration // between SIGTERM and SIGKILL
	gather         bool          // standard output is kept; else it goes to stdout
	most           int           // bytes of it that are kept
	stdout, stderr io.Writer
	guard          *guard
	log            *slog.Logger
}

// outcome is how a command ended.
type outcome struct {
	status  int    // -1: by a signal
	state   string // in words
	stdout  []byte
	dropped int64  // bytes of standard output beyond most
	stderr  string // its last lines
	told    error  // why it was told to end; nil when it was not
}

// reason is how it ended, and its last words.
func (o *outcome) reason() string {
	if o.stderr == "" {
		return o.state
	}
	return o.state + ": " + o.stderr
}

// drainTime is how long output is still read after the end of a command when somebody who left its group holds on to it.
const drainTime = 500 * time.Millisecond

// run runs the command with a body on its standard input, and ends it when ctx ends. An error means that commands cannot be run here,
// whatever the message.
//
// The kernel kills the command when the thread that started it dies (Linux): the thread is kept until the command has ended. The
// guard hears of the process group before this process can die without it, but for the moment between the two calls, in which the command
// has hardly begun.
func (e *errand) run(ctx context.Context, variables []string, body []byte) (o outcome, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	//nolint:noctx // exec.CommandContext kills the command alone; end ends its group
	cmd := exec.Command(e.program, e.args...)
	kept := &head{most: e.most}
	words := &lastLines{}
	shown, said := &lineWriter{out: e.stdout}, &lineWriter{out: e.stderr}
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment(variables), bytes.NewReader(body), shown, io.MultiWriter(words, said)
	if e.gather {
		cmd.Stdout = kept
	}
	cmd.WaitDelay, cmd.SysProcAttr = drainTime, commandAttr()
	if err := cmd.Start(); err != nil {
		return o, fmt.Errorf("the command %q cannot be started, the worker ends: %w", e.program, err)
	}
	unguarded := e.guard.add(cmd.Process.Pid)
	if unguarded != nil {
		killGroup(cmd)
	} else {
		e.log.DebugContext(ctx, "the command runs", "process", cmd.Process.Pid)
	}
	exited := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() { o.told = e.end(ctx, cmd, exited) })
	var forgotten error
	err = reap(cmd, func() {
		close(exited)
		ending.Wait()
		killGroup(cmd) // what the command left behind
		forgotten = e.guard.remove(cmd.Process.Pid)
	})
	if _, status := errors.AsType[*exec.ExitError](err); status || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err := errors.Join(unguarded, forgotten, err, shown.finish(), said.finish()); err != nil {
		return o, fmt.Errorf("the command %q cannot be looked after, the worker ends: %w", e.program, err)
	}
	o.status, o.state = cmd.ProcessState.ExitCode(), cmd.ProcessState.String()
	o.stdout, o.dropped, o.stderr = kept.b, kept.dropped, words.String()
	return o, nil
}

// end ends the command's group when ctx ends, and tells why; nil when the command ended before.
func (e *errand) end(ctx context.Context, cmd *exec.Cmd, exited <-chan struct{}) error {
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
	}
	terminateGroup(cmd)
	patience := time.NewTimer(e.grace)
	defer patience.Stop()
	select {
	case <-exited:
	case <-patience.C:
		killGroup(cmd)
	}
	return context.Cause(ctx)
}

// head keeps the first bytes that are written to it.
type head struct {
	most    int
	b       []byte
	dropped int64
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.most-len(h.b))
	h.b = append(h.b, p[:n]...)
	h.dropped += int64(len(p) - n)
	return len(p), nil
}

// lastLines keeps the last lines that are written to it, up to maxWords bytes.
type lastLines struct{ b []byte }

const maxWords = 2 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.b = append(l.b, p[max(0, len(p)-maxWords):]...)
	if extra := len(l.b) - maxWords; extra > maxWords { // in portions
		l.b = append(l.b[:0], l.b[extra:]...)
	}
	return len(p), nil
}

// String begins with a whole line, unless there is only part of one.
func (l *lastLines) String() string {
	b := l.b
	if extra := len(b) - maxWords; extra > 0 {
		b = b[extra:]
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(string(b))
}

// lineWriter hands on whole lines, so that those of several commands do not mix.
type lineWriter struct {
	out  io.Writer
	rest []byte
}

const maxLine = 64 << 10 // a longer line is handed on in parts

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	whole := bytes.LastIndexByte(l.rest, '\n') + 1
	if len(l.rest)-whole > maxLine {
		whole = len(l.rest)
	}
	if whole == 0 {
		return len(p), nil
	}
	if _, err := l.out.Write(l.rest[:whole]); err != nil {
		return 0, err
	}
	l.rest = append(l.rest[:0], l.rest[whole:]...)
	return len(p), nil
}

// finish hands on a last line that did not end.
func (l *lineWriter) finish() error {
	if len(l.rest) == 0 {
		return nil
	}
	_, err := l.out.Write(append(l.rest, '\n'))
	return err
}
