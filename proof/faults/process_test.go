//go:build unix

package faults_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a worker process, from the outside. Its methods are for the test's goroutine.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.Writer
	log  string
	done chan struct{} // closed when it has ended and all that it told was heard

	mu     sync.Mutex
	events []event
	kinds  map[string]int // how many events of each kind
	err    error          // how it ended
}

// start starts a worker and returns when its backend is open.
func (s *shop) start(j job) *process {
	s.t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		s.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.CreateTemp(s.t.ArtifactDir(), "worker-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	p := &process{t: s.t, cmd: exec.Command(self), log: log.Name(), done: make(chan struct{}), kinds: map[string]int{}}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = log
	told, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	go p.hear(told)
	s.t.Cleanup(p.kill)
	p.await("a worker process opens its backend", func(e event) bool { return e.What == "ready" })
	return p
}

func (p *process) hear(told io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(told)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line of one that was killed
		}
		p.mu.Lock()
		p.events = append(p.events, e)
		p.kinds[e.What]++
		p.mu.Unlock()
	}
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// heard counts the events that are meant, and returns the last of them.
func (p *process) heard(meant func(event) bool) (n int, last event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if meant(e) {
			n, last = n+1, e
		}
	}
	return n, last
}

// told counts the events of a kind.
func (p *process) told(kind string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kinds[kind]
}

// last counts the events of a kind, and returns the last of them.
func (p *process) last(kind string) (n int, e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.events) - 1; i >= 0; i-- {
		if p.events[i].What == kind {
			e = p.events[i]
			break
		}
	}
	n = p.kinds[kind]
	return n, e
}

// what is a condition on the kind of an event.
func what(kind string) func(event) bool { return func(e event) bool { return e.What == kind } }

// await waits for the first event that is meant.
func (p *process) await(whatFor string, meant func(event) bool) event {
	p.t.Helper()
	var found event
	until(p.t, whatFor, func() bool {
		n, last := p.heard(meant)
		if found = last; n == 0 && p.ended() {
			p.t.Fatalf("in vain: %s: the worker has ended:\n%s", whatFor, p.said())
		}
		return n > 0
	})
	return found
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// said is the end of what the process wrote on standard error.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s", filepath.Base(p.log), text[max(0, len(text)-4<<10):])
}

// tell sends a command.
func (p *process) tell(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatalf("tell a worker to %s: %v\n%s", command, err, p.said())
	}
}

// ask sends a command of a raw worker and returns the answer.
func (p *process) ask(command string) event {
	p.t.Helper()
	before, _ := p.heard(what(command))
	p.tell(command)
	var answer event
	until(p.t, "a worker answers to "+command, func() bool {
		n, last := p.heard(what(command))
		answer = last
		return n > before
	})
	return answer
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%v to a worker: %v", sig, err)
	}
}

// kill is kill -9, and returns when it is dead.
func (p *process) kill() {
	if !p.ended() {
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// pause is SIGSTOP. It returns when the process stands.
func (p *process) pause() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || !status.Stopped():
			p.t.Fatalf("wait for a worker to stand still: %v, status %v, it ended: %t\n%s", err, status, p.ended(), p.said())
		default:
			return
		}
	}
}

func (p *process) resume() { p.signal(syscall.SIGCONT) }

const termination = syscall.SIGTERM

// stop ends it in good order, and returns what it counted.
func (p *process) stop() event {
	p.t.Helper()
	p.signal(termination)
	select {
	case <-p.done:
	case <-time.After(time.Minute * 3):
		p.t.Fatalf("a worker does not end:\n%s", p.said())
	}
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		p.t.Errorf("a worker that was asked to stop ended with %v:\n%s", err, p.said())
	}
	_, last := p.heard(what("stopped"))
	return last
}
