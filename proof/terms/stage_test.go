//go:build unix

package terms_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/proof/histories"
)

const ttl = 3 * time.Second

func now() int64 { return time.Now().UnixNano() }

// stage is a server and the candidates on it, each behind a proxy of its own.
type stage struct {
	t       *testing.T
	way     string
	server  *testserver.Server
	history histories.History

	mu    sync.Mutex
	ready map[string]bool
	last  histories.Act            // the term that began last
	acted map[string]histories.Act // the last thing of each term that Guard said was within it
	wrong []string
}

func newStage(t *testing.T, server *testserver.Server, way string) *stage {
	return &stage{t: t, way: way, server: server, ready: map[string]bool{}, acted: map[string]histories.Act{}}
}

// process is a candidate, from the outside.
type process struct {
	s     *stage
	id    string
	cmd   *exec.Cmd
	proxy *testserver.Proxy
	done  chan struct{} // closed when it has ended and all that it told was heard
}

func (s *stage) start(id string) *process {
	s.t.Helper()
	p := &process{s: s, id: id, proxy: testserver.NewProxy(s.t, s.server.Addr()), done: make(chan struct{})}
	u, err := url.Parse(s.server.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	u.Host = p.proxy.Addr()
	text, err := json.Marshal(job{ID: id, Way: s.way, URL: u.String(), TTL: ttl})
	if err != nil {
		s.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.CreateTemp(s.t.ArtifactDir(), "candidate-"+id+"-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = log
	told, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go p.hear(told)
	s.t.Cleanup(p.kill)
	until(s.t, "candidate "+id+" opens its backend", func() bool {
		select {
		case <-p.done:
			said, err := os.ReadFile(log.Name())
			s.t.Fatalf("candidate %s has ended: %s%v", id, said, err)
		default:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ready[id]
	})
	return p
}

func (s *stage) five() []*process {
	s.t.Helper()
	var all []*process
	for i := range 5 {
		all = append(all, s.start(strconv.Itoa(i)))
	}
	return all
}

func (p *process) hear(told io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(told)
	for lines.Scan() {
		var a histories.Act
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue // the last line of one that was killed
		}
		p.s.hear(a)
	}
	err := p.cmd.Wait()
	p.s.history.Died(p.id, now())
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() > 0) {
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		p.s.wrong = append(p.s.wrong, "candidate "+p.id+": "+err.Error())
	}
}

func (s *stage) hear(a histories.Act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a.What == ready:
		s.ready[a.ID] = true
		return
	case a.What == histories.Begins && a.Return > s.last.Return:
		s.last = a
	case a.Sure:
		s.acted[a.Who] = a
	}
	s.history.Add(a)
}

func (p *process) signal(sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.s.t.Errorf("%v to candidate %s: %v", sig, p.id, err)
	}
}

// kill is kill -9, and returns when it is dead.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop ends it in good order.
func (p *process) stop() {
	p.proxy.Restore()
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	<-p.done
}

// holds waits until somebody who began last acts within the term after the moment, and returns the term's beginning.
func (s *stage) holds(since int64) histories.Act {
	s.t.Helper()
	var begun histories.Act
	until(s.t, "somebody holds it", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		begun = s.last
		return s.acted[begun.Who].Call > since
	})
	return begun
}

// linearizable fails the test when no order of the acts explains all answers, and returns how many it looked at.
func (s *stage) linearizable() int {
	s.t.Helper()
	ops, model := s.history.Operations(scale(40, 4)), histories.RulesOf(s.way).Model()
	result, info := porcupine.CheckOperationsVerbose(model, ops, 2*time.Minute)
	if result != porcupine.Ok {
		picture := filepath.Join(s.t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model, info, picture); err != nil {
			s.t.Error(err)
		}
		s.t.Fatalf("the history of %d operations is not linearizable (%v): see %s", len(ops), result, picture)
	}
	return len(ops)
}

// stops ends all, and reports what they themselves found wrong.
func (s *stage) stops(all []*process) {
	s.t.Helper()
	for _, p := range all {
		p.stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, wrong := range s.wrong {
		s.t.Error(wrong)
	}
}

// begun are the beginnings of all terms, by the time.
func (s *stage) begun() []histories.Act {
	all := slices.DeleteFunc(s.history.Acts(), func(a histories.Act) bool { return a.What != histories.Begins })
	slices.SortFunc(all, func(a, b histories.Act) int { return int(a.Return - b.Return) })
	return all
}
