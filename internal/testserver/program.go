//go:build unix

package testserver

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
)

// Program is a server of the test's own, such as the test binary itself in another role. All fields are required.
type Program struct {
	Name    string
	Command func(dir string, port int) *exec.Cmd // listens on the port of 127.0.0.1, keeps its data in dir, and ends at SIGTERM
	// Ready returns nil when the process with this pid, and no other, answers at addr.
	Ready func(ctx context.Context, addr string, pid int) error
	URL   func(addr string) string
}

// Run starts a program and returns when it is ready.
func Run(t testing.TB, p Program) *Server {
	t.Helper()
	return start(t, program{p}, t.TempDir())
}

type program struct{ Program }

func (p program) name() string                           { return p.Name }
func (p program) command(dir string, port int) *exec.Cmd { return p.Command(dir, port) }
func (p program) stopSignal() syscall.Signal             { return syscall.SIGTERM }
func (p program) url(addr string) string                 { return p.URL(addr) }
func (p program) ready(ctx context.Context, addr, _ string, pid int) error {
	return p.Ready(ctx, addr, pid)
}
