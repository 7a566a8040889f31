//go:build unix

package nats_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/internal/testserver"
)

// reign is one term as its leader saw it.
type reign struct {
	id    string
	token uint64
	from  time.Time
	held  time.Time // the last moment before which Held was asked and said yes
}

// election is candidates that lead one after the other.
type election struct {
	t  *testing.T
	mu sync.Mutex
	// in the order of their beginnings
	reigns []*reign
}

// run has a candidate stand until ctx ends.
func (e *election) run(ctx context.Context, b *nats.Backend, id string) {
	err := cluster.Lead(ctx, b, cluster.Candidate{Election: "bout", ID: id, TTL: time.Second}, func(ctx context.Context, term cluster.Term) error {
		r := &reign{id: id, token: term.Token, from: time.Now(), held: time.Now()}
		e.mu.Lock()
		e.reigns = append(e.reigns, r)
		e.mu.Unlock()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for after := 0; after < 100; { // also for a while after the end
			if ctx.Err() != nil {
				after++
			}
			if before := time.Now(); term.Held() {
				e.mu.Lock()
				r.held = before
				e.mu.Unlock()
			}
			<-tick.C
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.t.Errorf("candidate %s: %v", id, err)
	}
}

// next waits for a term that is held after the moment, by another than this one, and returns who has it.
func (e *election) next(since time.Time, not string) string {
	e.t.Helper()
	var id string
	eventually(e.t, "somebody leads", func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if n := len(e.reigns); n > 0 && e.reigns[n-1].held.After(since) && e.reigns[n-1].id != not {
			id = e.reigns[n-1].id
			return nil
		}
		return fmt.Errorf("%d terms so far", len(e.reigns))
	})
	return id
}

func TestTermsNeverOverlapAndTokensOnlyGrowThroughCutsStopsAndKills(t *testing.T) {
	s := newProcess(t)
	e := &election{t: t}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	proxies := map[string]*testserver.Proxy{}
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		proxies[id] = testserver.NewProxy(t, s.addr())
		b := open(t, nats.Config{URL: "nats://" + proxies[id].Addr(), Namespace: "terms", Timeout: time.Second})
		wg.Go(func() { e.run(ctx, b, id) })
	}
	leader := e.next(time.Now(), "")
	for range 2 {
		proxies[leader].Cut()
		then := e.next(time.Now(), leader)
		proxies[leader].Restore()
		proxies[then].BlackHoleDown() // it sends, and hears nothing
		e.next(time.Now(), then)
		proxies[then].Restore()
		s.kill()
		s.start()
		e.next(time.Now(), "")
		e.pause(s, 1500*time.Millisecond) // longer than a lease
		leader = e.next(time.Now(), "")
	}
	stop()
	wg.Wait()
	e.judge()
}

// judge fails where terms overlap, or tokens do not grow.
func (e *election) judge() {
	t := e.t
	t.Helper()
	if len(e.reigns) < 5 {
		t.Errorf("%d terms, at least 5 were meant to be", len(e.reigns))
	}
	for i := 1; i < len(e.reigns); i++ {
		before, r := e.reigns[i-1], e.reigns[i]
		if r.token <= before.token {
			t.Errorf("%s has token %d after %s had %d", r.id, r.token, before.id, before.token)
		}
		if before.held.After(r.from) {
			t.Errorf("%s held its term for %v after that of %s had begun", before.id, before.held.Sub(r.from), r.id)
		}
	}
}

// pause stops the server for so long: that is the fault, nothing is waited for.
func (e *election) pause(s *process, d time.Duration) {
	e.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		e.t.Fatal(err)
	}
	<-time.After(d)
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		e.t.Fatal(err)
	}
}
