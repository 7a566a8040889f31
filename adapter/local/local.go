// Package local runs commands (port.Runner) as processes of this machine, under the user of this process.
//
// A command gets a process group of its own, which is killed whole when the command ends, when its time is over or when the
// context ends. On Linux it dies with this process, its network can be taken away by a network namespace, its memory limited per
// process by prlimit(1), and its processes gathered in a process namespace; whether the machine allows it shows when it is
// tried, before the command starts, and Result.Isolation says what came of it. Nothing keeps a command from reading and writing
// what this user may: port.Isolation.Files is never given, nor is a total memory limit.
//
// What may not enter: containers, remote machines, shells.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/musterhq/muster/port"
)

// Runner runs commands. The zero Runner is ready.
//
// A memory limit is one of address space (RLIMIT_AS): programs that reserve much more than they use, as those built with Go's
// race detector do, need a generous one. Processes is given only when it is required, because the command is then the first
// process of its namespace, and the kernel does not deliver it signals that it does not handle.
type Runner struct{}

var _ port.Runner = Runner{}

// Run runs a command. On systems without process groups only the command itself is killed; Escaped tells when that was not enough.
func (r Runner) Run(ctx context.Context, c port.Command) (port.Result, error) {
	if err := c.Check(); err != nil {
		return port.Result{}, fmt.Errorf("local: %w", err)
	}
	if ctx.Err() != nil {
		return port.Result{}, fmt.Errorf("local: run %q: %w", c.Program, context.Cause(ctx))
	}
	program, err := find(c)
	if err != nil {
		return port.Result{}, err
	}
	// Linux kills the command when the thread that started it dies: this thread must live as long as Run.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := start(c, program)
	if err != nil {
		return port.Result{}, err
	}
	return p.finish(ctx, c)
}

// find checks the directory, and finds the program.
func find(c port.Command) (string, error) {
	missing := func(err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
			return fmt.Errorf("local: run %q in %q: %w: %w", c.Program, c.Dir, port.ErrNotFound, err)
		default:
			return fmt.Errorf("local: run %q in %q: %w: %w", c.Program, c.Dir, port.ErrInvalid, err)
		}
	}
	info, err := os.Stat(c.Dir)
	if err != nil {
		return "", missing(err)
	}
	if !info.IsDir() {
		return "", missing(errors.New("the directory is none"))
	}
	program := c.Program
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		program = filepath.Join(c.Dir, program)
	}
	program, err = exec.LookPath(program)
	if err != nil {
		return "", missing(err)
	}
	return program, nil
}
