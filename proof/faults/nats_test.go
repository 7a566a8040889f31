//go:build unix

package faults_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/musterhq/muster/internal/testserver"
)

// natsName is the name under which this test binary is a nats-server: the distributions' own are too old.
const natsName = "nats-server"

// natsMain is main of a nats-server. It dies with its parent, whose end of the pipe then closes.
func natsMain() int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		if _, err := io.Copy(io.Discard, os.Stdin); err == nil {
			os.Exit(3)
		}
	}()
	none := func() {}
	o, err := natsserver.ConfigureOptions(flag.NewFlagSet(natsName, flag.ContinueOnError), os.Args[1:], none, none, none)
	if err != nil {
		return fail(err)
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return fail(err)
	}
	s.ConfigureLogger()
	if err := natsserver.Run(s); err != nil {
		return fail(err)
	}
	s.WaitForShutdown()
	return 0
}

// natsServer is a nats-server with a file store, as a process of its own.
type natsServer struct {
	t    *testing.T
	port int
	conf string
	log  string
	cmd  *exec.Cmd
}

// newNATS starts one that syncs every write, or every two minutes, which is the default.
func newNATS(t *testing.T, synced bool) *natsServer {
	t.Helper()
	dir := t.TempDir()
	s := &natsServer{t: t, conf: filepath.Join(dir, "conf"), log: filepath.Join(t.ArtifactDir(), natsName+".log")}
	s.port = testserver.FreePort(t)
	every := "2m"
	if synced {
		every = "always"
	}
	conf := fmt.Sprintf("listen: %q\njetstream: { store_dir: %q, sync_interval: %s }\n", s.Addr(), dir, every)
	if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if text, err := os.ReadFile(s.log); err == nil && t.Failed() {
			t.Logf("the last that %s said:\n%s", natsName, text[max(0, len(text)-4<<10):])
		}
	})
	s.Restart()
	return s
}

func (s *natsServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
func (s *natsServer) URL() string  { return "nats://" + s.Addr() }

func (s *natsServer) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%v to %s: %v", sig, natsName, err)
	}
}

func (s *natsServer) Pause()  { s.signal(syscall.SIGSTOP) }
func (s *natsServer) Resume() { s.signal(syscall.SIGCONT) }

// Kill is kill -9, and returns when it is dead.
func (s *natsServer) Kill() {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	_ = s.cmd.Wait() // tells that it was killed
	s.cmd = nil
}

// Restart starts it on its data, and returns when it serves them.
func (s *natsServer) Restart() {
	s.t.Helper()
	s.Kill()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{natsName, "-c", s.conf}, Stdout: log, Stderr: log}
	// Its other end is closed with this process.
	if _, err := cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	until(s.t, natsName+" serves", s.serves)
}

// serves reports whether it greets who comes, which it does when JetStream has its store.
func (s *natsServer) serves() bool {
	ctx, stop := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer stop()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return false
	}
	defer func() {
		if err := c.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		s.t.Error(err)
	}
	greeting, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.Contains(greeting, `"jetstream":true`)
}
