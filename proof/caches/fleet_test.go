//go:build unix

package caches_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

// node is a node process from the outside, with its own link to the server.
type node struct {
	t     *testing.T
	job   job
	proxy *testserver.Proxy
	cmd   *exec.Cmd
	in    io.WriteCloser
	said  *bufio.Scanner
	log   string
}

// fleet starts the processes and returns when they run.
func fleet(t *testing.T, server *testserver.Server, dir string, j job) []*node {
	t.Helper()
	var list []*node
	for i := range nodes {
		n := &node{t: t, job: j, proxy: testserver.NewProxy(t, server.Addr())}
		n.job.Node, n.job.URL = i, "redis://"+n.proxy.Addr()
		n.job.History = filepath.Join(dir, fmt.Sprint("history-", i))
		n.log = filepath.Join(t.ArtifactDir(), fmt.Sprint("node-", i, ".log"))
		n.start()
		t.Cleanup(n.kill)
		list = append(list, n)
	}
	for _, n := range list {
		n.await("ready")
	}
	return list
}

func (n *node) start() {
	n.t.Helper()
	text, err := json.Marshal(n.job)
	if err != nil {
		n.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			n.t.Error(err)
		}
	}()
	n.cmd = exec.Command(self)
	n.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	n.cmd.Stderr = log
	out, err := n.cmd.StdoutPipe()
	if err == nil {
		n.in, err = n.cmd.StdinPipe()
	}
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.said = bufio.NewScanner(out)
}

// await waits for a line of the process. A broken link makes it wait, too, so only the end of the test ends it.
func (n *node) await(line string) {
	n.t.Helper()
	for n.said.Scan() {
		if n.said.Text() == line {
			return
		}
	}
	text, err := os.ReadFile(n.log)
	n.t.Fatalf("node %d ended before it was %s: %s %v", n.job.Node, line, text, err)
}

// kill is kill -9; it returns when the process is gone.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Error(err)
	}
	_ = n.cmd.Wait() // it says that it was killed
	n.cmd = nil
}

func (n *node) signal(sig syscall.Signal) {
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Errorf("node %d: %v", n.job.Node, err)
	}
}

// stop ends the process in good order.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	for n.said.Scan() {
		continue
	}
	if err := n.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(n.log)
		n.t.Errorf("node %d ended with %v: %s", n.job.Node, err, strings.TrimSpace(string(text)))
	}
	n.cmd = nil
}

// lasting lets a fault last.
func lasting(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
