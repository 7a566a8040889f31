//go:build unix

package terms_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

const ttl = 3 * time.Second

// stage is a server and the candidates on it, each behind a proxy of its own.
type stage struct {
	t      *testing.T
	server *testserver.Server

	mu     sync.Mutex
	events []event
	wrong  []string
}

func newStage(t *testing.T, c testserver.RedisConfig) *stage {
	return &stage{t: t, server: testserver.Redis(t, c)}
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
	u := url.URL{Scheme: "redis", Host: p.proxy.Addr()}
	text, err := json.Marshal(job{ID: id, URL: u.String(), TTL: ttl})
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
		return s.some(func(e event) bool { return e.What == "ready" && e.ID == id })
	})
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
		p.s.mu.Lock()
		p.s.events = append(p.s.events, e)
		p.s.mu.Unlock()
	}
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() > 0) {
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		p.s.wrong = append(p.s.wrong, "candidate "+p.id+": "+err.Error())
	}
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

// some reports whether there is an event that is meant.
func (s *stage) some(meant func(event) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.events, meant)
}

// last is the term that began last.
func (s *stage) last() event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last event
	for _, e := range s.events {
		if e.What == "begin" && e.From > last.From {
			last = e
		}
	}
	return last
}

// leads waits until somebody leads who has written since the moment, and says who and when the term began.
func (s *stage) leads(since int64) event {
	s.t.Helper()
	var begun event
	until(s.t, "somebody leads", func() bool {
		begun = s.last()
		return s.some(func(e event) bool {
			return e.What == "write" && e.Token == begun.Token && e.From > since && e.Got == "ok"
		})
	})
	return begun
}

// figures is what came of it.
type figures struct {
	Terms    int
	Overlaps int // somebody held it after the next term had begun
	Writes   int // through Guard, and told to be within the term
	After    int // of these, after the next term had begun
	Loose    int // past Guard
	Refused  int // of these, by their stale token
	Stale    int // taken by the register although the register had taken a larger token before
}

// judge counts over all events, when all candidates have ended.
func (s *stage) judge() figures {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, wrong := range s.wrong {
		s.t.Error(wrong)
	}
	var begun []event
	for _, e := range s.events {
		if e.What == "begin" {
			begun = append(begun, e)
		}
	}
	slices.SortFunc(begun, func(a, b event) int { return cmp.Compare(a.From, b.From) })
	next := func(token uint64) int64 { // when the first larger token was there
		for _, b := range begun {
			if b.Token > token {
				return b.From
			}
		}
		return 1 << 62
	}
	f := figures{Terms: len(begun)}
	for i := 1; i < len(begun); i++ {
		if begun[i].Token <= begun[i-1].Token {
			s.t.Errorf("the tokens went back: %+v began after %+v", begun[i], begun[i-1])
		}
	}
	type taking struct {
		at    int64
		token uint64
	}
	var taken []taking // by when the answer was there at the latest
	for _, e := range s.events {
		if (e.What == "write" || e.What == "loose") && e.Got == "ok" {
			taken = append(taken, taking{e.Till, e.Token})
		}
	}
	slices.SortFunc(taken, func(a, b taking) int { return cmp.Compare(a.at, b.at) })
	most := make([]uint64, len(taken))
	for i, w := range taken {
		most[i] = w.token
		if i > 0 {
			most[i] = max(most[i-1], w.token)
		}
	}
	for _, e := range s.events {
		switch e.What {
		case "held":
			if e.From > next(e.Token) {
				f.Overlaps++
				s.t.Errorf("%s held token %d for %v after the next term had begun", e.ID, e.Token, time.Duration(e.From-next(e.Token)))
			}
		case "write":
			if e.Sure {
				f.Writes++
				if e.From > next(e.Token) {
					f.After++
				}
			}
		case "loose":
			f.Loose++
			if e.Got == "stale" {
				f.Refused++
			}
		}
		if (e.What == "write" || e.What == "loose") && e.Got == "ok" {
			// What was answered before this was asked for.
			i, _ := slices.BinarySearchFunc(taken, e.From, func(w taking, at int64) int { return cmp.Compare(w.at, at) })
			if i > 0 && most[i-1] > e.Token {
				f.Stale++
			}
		}
	}
	if f.Overlaps+f.After+f.Stale > 0 {
		s.t.Errorf("broken: %+v", f)
	}
	return f
}

func five(s *stage) []*process {
	s.t.Helper()
	var all []*process
	for i := range 5 {
		all = append(all, s.start(strconv.Itoa(i)))
	}
	return all
}
