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
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// guardName is the command that is the guard. It is no business of an operator.
const guardName = "work-guard"

// guard is a process of this program that hears which process groups a worker runs, and kills them when the worker is gone, however that
// died: then its end of the pipe is closed. Nil guards nothing.
type guard struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu      sync.Mutex
	pipe    io.WriteCloser
	closing bool
}

// startGuard starts the guard of this process. When it ends by itself, stop is called: nothing is run unguarded.
func startGuard(stop context.CancelCauseFunc) (*guard, error) {
	if !hasGroups {
		return nil, nil
	}
	fail := func(err error) (*guard, error) {
		return nil, fmt.Errorf("the guard that ends the commands of a dead worker cannot be started: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	g := &guard{ended: make(chan struct{})}
	//nolint:noctx // it must outlive this process, and ends by the end of the pipe
	g.cmd = exec.Command(self, guardName)
	g.cmd.SysProcAttr = guardAttr()
	if g.pipe, err = g.cmd.StdinPipe(); err != nil {
		return fail(err)
	}
	if err := g.cmd.Start(); err != nil {
		return fail(err)
	}
	go func() { // close waits for it
		err := g.cmd.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.closing {
			stop(&stopError{fmt.Errorf("the guard (%s) ended, and nothing is run without it; start the worker again: %w", guardName, orSilent(err))})
		}
		close(g.ended)
	}()
	return g, nil
}

// orSilent is err, or that there is none.
func orSilent(err error) error {
	if err == nil {
		return errors.New("it says no error")
	}
	return err
}

func (g *guard) add(group int) error    { return g.tell("+", group) }
func (g *guard) remove(group int) error { return g.tell("-", group) }

func (g *guard) tell(sign string, group int) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := fmt.Fprintf(g.pipe, "%s%d\n", sign, group); err != nil {
		return fmt.Errorf("the guard cannot be told of process group %d: %w", group, err)
	}
	return nil
}

// close ends the guard and waits for it.
func (g *guard) close() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	g.closing = true
	err := g.pipe.Close()
	g.mu.Unlock()
	<-g.ended
	if errors.Is(err, os.ErrClosed) { // the guard ended before
		return nil
	}
	return err
}

func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    guardName,
		Short:  "Kill the process groups of a worker that is gone; muster work starts it",
		Hidden: true,
		Args:   exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // they are meant for the worker
			return keepGuard(cmd.InOrStdin())
		},
	}
}

// keepGuard reads which groups there are until the worker is gone, and kills those that are left.
func keepGuard(in io.Reader) error {
	groups := make(map[int]bool)
	var wrong error
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		sign, number := "", ""
		if line := lines.Text(); line != "" {
			sign, number = line[:1], line[1:]
		}
		group, err := strconv.Atoi(number)
		if err != nil || group < 2 { // of a group 1 or 0, too many would die
			wrong = errors.Join(wrong, fmt.Errorf("%q is no process group", lines.Text()))
			continue
		}
		groups[group] = sign == "+"
	}
	for group, there := range groups {
		if there {
			killNumber(group)
		}
	}
	return errors.Join(wrong, lines.Err())
}
