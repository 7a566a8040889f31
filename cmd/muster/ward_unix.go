//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cluster"
)

const (
	hasWard  = true
	wardName = "term-ward"
)

// ward runs a command for a term, in a process of this program that keeps the time by itself: it is told until when the term is certain, on
// the machine's clock, and stops the command's process group before that, whether or not this process is there to tell it.
//
// They speak over two pipes. The holder writes "until NANOSECONDS" whenever the term was renewed, and "end DURATION" when the command is to
// stop while the term is held. The ward writes "group PID" when the command runs, and at the end "exit STATUS" or "signal NUMBER".
type ward struct {
	program        string
	args           []string
	drain, grace   time.Duration
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run returns when the command has ended. Its error is ctx's cause when the term was lost, a commandError when the command failed.
func (w *ward) run(ctx context.Context, t cluster.Term) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the process that keeps the time cannot be started: %w", err)
	}
	orders, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	hear, news, err := os.Pipe()
	if err != nil {
		return errors.Join(err, orders.Close(), tell.Close())
	}
	//nolint:noctx // it ends by what it is told, also when this process does not
	p := exec.Command(self, append([]string{wardName, w.drain.String(), "--", w.program}, w.args...)...)
	p.Env = variables(t)
	p.Stdin, p.Stdout, p.Stderr = w.stdin, w.stdout, w.stderr
	p.ExtraFiles = []*os.File{orders, news}
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what stops or ends this process at a terminal does not reach it
	p.WaitDelay = time.Second
	err = p.Start()
	err = errors.Join(err, orders.Close(), news.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("the process that keeps the time cannot be started: %w", err), tell.Close(), hear.Close())
	}
	told := make(chan report, 1)
	group := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() { told <- listenWard(hear, group) })
	r := w.watch(ctx, t, p.Process, tell, group, told)
	closed := tell.Close()
	wg.Wait()
	// A ward that was killed has been heard of by its pipe; whatever its own status is, what it told counts.
	if wait := p.Wait(); r.how == "" {
		closed = errors.Join(closed, wait)
	}
	if err := errors.Join(closed, hear.Close()); err != nil {
		return fmt.Errorf("the process that keeps the time: %w", err)
	}
	if cause := context.Cause(ctx); cause != nil && !t.Held() {
		return cause
	}
	return r.err()
}

// report is how a command ended.
type report struct {
	how    string // exit, signal; "": the ward did not tell
	number int
}

func (r report) err() error {
	switch {
	case r.how == "exit" && r.number == 0:
		return nil
	case r.how == "exit":
		return &commandError{r.number, fmt.Sprintf("exit status %d", r.number)}
	case r.how == "signal":
		return &commandError{128 + r.number, "signal: " + syscall.Signal(r.number).String()}
	}
	return errors.New("the process that keeps the time ended before the command, which was killed")
}

// listenWard reads what the ward tells until its end.
func listenWard(in io.Reader, group chan<- int) (r report) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		what, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil:
		case what == "group":
			group <- n
		default:
			r = report{what, n}
		}
	}
	return r
}

// watch tells the ward how long the term lasts until the command has ended. When the ward does not stop the command in time, because it was
// stopped itself, this process does.
func (w *ward) watch(ctx context.Context, t cluster.Term, p *os.Process, tell *os.File, group <-chan int, told <-chan report) report {
	tick := time.NewTicker(w.drain / 8)
	defer tick.Stop()
	done := ctx.Done()
	last := t.Until() // until when the term is certain, as far as it was held
	running := 0
	for {
		before := sinceBoot() // read first: what comes between only makes the term shorter
		if until := t.Until(); t.Held() && !until.IsZero() {
			last = until
			w.order(tell, "until", before+time.Until(until))
		}
		select {
		case r := <-told:
			if r.how == "" {
				killAll(running) // the ward was killed, and the kernel ends the command at most
			}
			return r
		case running = <-group:
		case <-done:
			done = nil
			w.order(tell, "end", w.grace)
		case <-tick.C:
		}
		if time.Until(last) < w.drain/8 {
			killAll(running)
			_ = p.Kill() // it may have ended
		}
	}
}

// order tells the ward, and does not wait for one that does not read. One that is gone is heard of by its own pipe, and one that heard nothing
// stops the command in time.
func (w *ward) order(tell *os.File, what string, d time.Duration) {
	if tell.SetWriteDeadline(time.Now().Add(w.drain/8)) == nil {
		_, _ = fmt.Fprintln(tell, what, int64(d))
	}
}

// killAll kills a process group; 0 is none, and that there is nobody left is what is wanted.
func killAll(group int) {
	if group > 1 {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

// wardCommand is the ward's side. It is no business of an operator.
func wardCommand() *cobra.Command {
	return &cobra.Command{
		Use:                wardName + " DRAIN -- COMMAND [ARG...]",
		Short:              "Stop a command before its term ends; muster lead and muster lock start it",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 || args[1] != "--" {
				return usage(cmd, errors.New("wanted are a duration and a command"))
			}
			drain, err := time.ParseDuration(args[0])
			if err != nil || drain <= 0 {
				return usage(cmd, fmt.Errorf("%q is no duration", args[0]))
			}
			// Signals are meant for the holder. They are caught, because the command would inherit that they are ignored.
			signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			syscall.CloseOnExec(3)
			syscall.CloseOnExec(4)
			k := keeper{drain: drain, orders: os.NewFile(3, "orders"), news: os.NewFile(4, "news")}
			if k.orders == nil || k.news == nil {
				return usage(cmd, errors.New("muster lead and muster lock start it"))
			}
			return k.run(args[2], args[3:])
		},
	}
}

// keeper is the ward's side of the pipes.
type keeper struct {
	drain        time.Duration
	orders, news *os.File

	until time.Duration // since the machine was started: then the term may be over
	end   time.Duration // then the command is killed though the term goes on; 0: nobody wants that
	gone  bool          // the holder is
}

// run waits for the first word of how long the term lasts, runs the command, and returns when it and its group have ended.
func (k *keeper) run(program string, args []string) error {
	heard := make(chan string)
	go func() { // it ends with this process
		lines := bufio.NewScanner(k.orders)
		for lines.Scan() {
			heard <- lines.Text()
		}
		close(heard)
	}()
	if first, ok := <-heard; !ok || !k.hear(first) || sinceBoot() >= k.until-k.drain {
		return errors.New("the term was over before the command was started")
	}
	ended := make(chan *os.ProcessState, 1)
	started := make(chan int, 1)
	failed := make(chan error, 1)
	go func() { // awaited by ended or failed
		state, err := runGroup(program, args, started)
		if err != nil {
			failed <- err
			return
		}
		ended <- state
	}()
	tick := time.NewTicker(max(k.drain/40, time.Millisecond))
	defer tick.Stop()
	group, asked := 0, false
	for {
		select {
		case group = <-started:
			if _, err := fmt.Fprintln(k.news, "group", group); err != nil {
				k.gone = true
			}
		case err := <-failed:
			return err
		case state := <-ended:
			return k.tell(state)
		case line, ok := <-heard:
			if !ok {
				k.gone, heard = true, nil
			}
			k.hear(line)
		case <-tick.C:
		}
		if group == 0 {
			continue
		}
		now := sinceBoot()
		if !asked && (k.gone || k.end > 0 || now >= k.until-k.drain) {
			asked = true
			_ = syscall.Kill(-group, syscall.SIGTERM) // it may have ended
		}
		if now >= k.until-k.drain/4 || k.end > 0 && now >= k.end {
			killAll(group)
		}
	}
}

// hear takes an order in, and reports whether it was one about the length of the term.
func (k *keeper) hear(line string) bool {
	what, number, _ := strings.Cut(line, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil:
		return false
	case what == "until":
		k.until = time.Duration(n)
		return true
	case what == "end":
		k.end = sinceBoot() + max(time.Duration(n), 1)
	}
	return false
}

// tell tells the holder how the command ended; nobody is there to be told when the holder is gone.
func (k *keeper) tell(state *os.ProcessState) error {
	what, number := "exit", state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		what, number = "signal", int(status.Signal())
	}
	if _, err := fmt.Fprintln(k.news, what, number); err != nil && !k.gone && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return nil
}

// wait waits for a command, whose failure is no error here: its state tells.
func wait(c *exec.Cmd) (*os.ProcessState, error) {
	err := c.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return nil, err
	}
	return c.ProcessState, nil
}
