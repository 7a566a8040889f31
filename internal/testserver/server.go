//go:build unix

package testserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTime = 60 * time.Second // for a server to answer, on a machine that is busy with other tests
	stopTime  = 20 * time.Second // for a server to end when it is asked to
	askEvery  = 5 * time.Millisecond
)

// Server is a server process that belongs to a test. Its methods fail the test when they cannot do what they say, so
// they are called from the test's goroutine.
type Server struct {
	t     testing.TB
	kind  kind
	dir   string // data; gone with the test
	log   string // what the server printed, in the test's artifacts
	port  int
	child *child // nil: not running
}

// kind is what differs from server to server.
type kind interface {
	name() string
	command(dir string, port int) *exec.Cmd
	stopSignal() syscall.Signal // ends it in good order, without waiting for clients
	// ready returns nil when the process with this pid, and no other, answers at addr.
	ready(ctx context.Context, addr, dir string, pid int) error
	url(addr string) string
}

// start starts a server of this kind on a free port.
func start(t testing.TB, k kind, dir string) *Server {
	t.Helper()
	s := &Server{t: t, kind: k, dir: dir, log: filepath.Join(t.ArtifactDir(), k.name()+"-"+filepath.Base(dir)+".log")}
	t.Cleanup(s.cleanup)
	s.up(true)
	return s
}

// Addr returns host:port. It stays the same over restarts.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the address as the server's clients want it, with its credentials.
func (s *Server) URL() string { return s.kind.url(s.Addr()) }

// Pid returns the id of the server's first process, and 0 when it does not run.
func (s *Server) Pid() int {
	if s.child == nil {
		return 0
	}
	return s.child.pid()
}

// Stop ends the server in good order: what it would write at its end is written.
func (s *Server) Stop() {
	s.t.Helper()
	if s.child == nil {
		return
	}
	s.Resume()
	s.signal(s.kind.stopSignal())
	select {
	case <-s.child.ended:
		s.child = nil
	case <-time.After(stopTime):
		s.Kill()
		s.t.Fatalf("testserver: %s did not end within %v of being asked to, and was killed", s.kind.name(), stopTime)
	}
}

// Kill ends the server and all its processes at once (SIGKILL), and returns when they are gone.
func (s *Server) Kill() {
	s.t.Helper()
	if s.child == nil {
		return
	}
	rest := s.freeze()
	s.signalAll(rest, syscall.SIGKILL)
	for _, pid := range rest {
		if err := awaitDeath(pid); err != nil {
			s.t.Errorf("testserver: %s: %v", s.kind.name(), err)
		}
	}
	s.signal(syscall.SIGKILL)
	<-s.child.ended
	s.child = nil
}

// Pause stops the server and all its processes (SIGSTOP): connections stay, answers do not come.
func (s *Server) Pause() {
	s.t.Helper()
	if s.child == nil {
		s.t.Fatalf("testserver: %s does not run, so it cannot be paused", s.kind.name())
	}
	s.signalAll(s.freeze(), syscall.SIGSTOP)
}

// Resume lets a paused server go on; it changes nothing for one that is not paused or does not run.
func (s *Server) Resume() {
	s.t.Helper()
	if s.child == nil {
		return
	}
	s.signalAll(s.freeze(), syscall.SIGCONT)
	s.signal(syscall.SIGCONT)
}

// Restart starts the server again on its data and its port, and ends it before in good order if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.up(false)
}

// freeze stops the first process and returns its children. While it is stopped it starts no more of them and takes no
// notice of their ends, so that their ids cannot pass on to strangers.
func (s *Server) freeze() []int {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	return children(s.child.pid())
}

// signal reaches the first process, or nobody if it has ended.
func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.child.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("testserver: %v to %s: %v", sig, s.kind.name(), err)
	}
}

// signalAll reaches the children of a first process that is frozen.
func (s *Server) signalAll(pids []int, sig syscall.Signal) {
	s.t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatalf("testserver: %v to process %d of %s: %v", sig, pid, s.kind.name(), err)
		}
	}
}

// up starts the process and waits until it answers. A port that someone else has taken is exchanged for another if the server is
// new, and waited for if it is not.
func (s *Server) up(fresh bool) {
	s.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), startTime) // the test's own ctx has ended in its clean-up
	defer stop()
	for {
		if fresh {
			s.port = FreePort(s.t)
		}
		c, err := spawn(s.kind.command(s.dir, s.port), s.log)
		if err != nil {
			s.t.Fatalf("testserver: start %s: %v", s.kind.name(), err)
		}
		s.child = c
		err = s.await(ctx)
		if err == nil {
			return
		}
		s.Kill()
		if said := tail(s.log); !strings.Contains(said, "in use") || ctx.Err() != nil {
			s.t.Fatalf("testserver: %s does not answer at %s: %v\n%s", s.kind.name(), s.Addr(), err, said)
		}
		if err := os.Truncate(s.log, 0); err != nil {
			s.t.Fatalf("testserver: %v", err)
		}
	}
}

// await asks until the server answers, has ended, or ctx has.
func (s *Server) await(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := s.kind.ready(ctx, s.Addr(), s.dir, s.child.pid())
		if err == nil {
			return nil
		}
		select {
		case <-s.child.ended:
			return fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (s *Server) cleanup() {
	s.Kill()
	if s.t.Failed() {
		s.t.Logf("testserver: the last that %s said:\n%s", s.kind.name(), tail(s.log))
	}
}

// child is a process and the goroutine that waits for it.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// spawn starts cmd with its output in the file log, so that it dies with this process. That wish is bound to the thread that
// starts the process: the thread stays locked to the goroutine until the process has ended.
func spawn(cmd *exec.Cmd, log string) (*child, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "TZ=UTC")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // an interrupt at the terminal is for the test, which ends its servers
	dieWithParent(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = out, out
	c := &child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log; that it ended is what counts
			close(c.ended)
		}
	}()
	if err := errors.Join(<-started, out.Close()); err != nil { // the process has a file of its own
		return nil, err
	}
	return c, nil
}

// Ports that a system gives to nobody by itself: a server that was killed finds its own free when it comes back, because no
// connection that somebody opened meanwhile can have it.
const firstPort, lastPort = 10_000, 32_000

// FreePort returns a port at which nobody listens on the loopback interface.
func FreePort(t testing.TB) int {
	t.Helper()
	var errs []error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", local(port))
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return port
		}
		errs = append(errs, err)
	}
	t.Fatalf("testserver: no free port: %v", errors.Join(errs...))
	return 0
}

// serverBinary returns the path of a program on PATH, or the newest that a pattern finds where Debian puts it.
func serverBinary(t testing.TB, name string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	var newest string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatalf("testserver: %v", err)
		}
		for _, path := range paths {
			if len(path) > len(newest) || len(path) == len(newest) && path > newest {
				newest = path // of two version numbers the longer is the larger
			}
		}
	}
	if newest == "" {
		t.Fatalf("testserver: %s is not installed: run scripts/test once, which installs it", name)
	}
	return newest
}

// tail returns the end of a log.
func tail(path string) string {
	const most = 8 << 10
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

// until tries until try answers nil.
func until(t testing.TB, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), startTime)
	defer stop()
	tick := time.NewTicker(askEvery * 10)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("testserver: %s: not within %v: %v", what, startTime, err)
		}
	}
}
