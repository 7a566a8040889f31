//go:build unix

package faults_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// clients are the connections of the server, by CLIENT LIST, without that which asks.
func (s *shop) clients() []string {
	s.t.Helper()
	m := s.admin("CLIENT", "LIST")
	text, err := m.ToString()
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, " name=admin ") {
			list = append(list, line)
		}
	}
	return list
}

func TestReadsThatWaitDelayNoPublish(t *testing.T) {
	t.Parallel()
	const waiters = 64
	s := newShop(t, testserver.RedisConfig{})
	b := s.open(s.server.URL()) // waits and publishes over one client
	before := s.publishTimes(b, 200)
	var waiting sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer waiting.Wait()
	defer stop()
	looks := s.looks()
	for i := range waiters {
		g := port.Group{Topic: fmt.Sprintf("idle.%d", i), Name: group, Consumer: "waiter", Loan: loan}
		if err := b.Join(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		ended := func(what string, err error) {
			if ctx.Err() == nil {
				t.Errorf("a %s that waits for a topic where nothing happens has ended: %v", what, err)
			}
		}
		waiting.Go(func() {
			_, err := b.Fetch(ctx, g, 1)
			ended("fetch", err)
		})
		waiting.Go(func() {
			_, err := b.Read(ctx, port.Range{Topic: g.Topic, Max: 1, Wait: never})
			ended("read", err)
		})
	}
	until(t, "all of them wait", func() bool { return s.looks() >= looks+2*2*waiters })
	during := s.publishTimes(b, 200)
	for _, c := range s.clients() {
		if _, rest, _ := strings.Cut(c, " flags="); strings.HasPrefix(rest, "b") {
			t.Errorf("a client blocks on the server: %s", c)
		}
	}
	t.Logf("200 publishes one by one alone: %v; beside %d fetches and %d reads that wait: %v", before, waiters, waiters, during)
}

// looks is how many scripts the server has run by their sum: a call that waits has looked twice before.
func (s *shop) looks() int {
	s.t.Helper()
	m := s.admin("INFO", "commandstats")
	text, err := m.ToString()
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, found := strings.Cut(text, "cmdstat_evalsha:calls=")
	if !found {
		return 0
	}
	var n int
	if _, err := fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// publishTimes publishes n orders one by one to a topic of their own, and tells how long each took.
func (s *shop) publishTimes(b port.Backend, n int) times {
	s.t.Helper()
	took := make(times, n)
	for i := range took {
		from := time.Now()
		if _, err := (bus.Topic[order]{Name: "busy"}).Publish(s.t.Context(), b, order{N: i}); err != nil {
			s.t.Fatal(err)
		}
		took[i] = time.Since(from)
	}
	return took
}

func TestAThousandIdleGroupsShareTheirConnectionsAndAreWoken(t *testing.T) {
	t.Parallel()
	const (
		groups = 1000
		woken  = 100              // of them, one after the other
		limit  = 50 * time.Second // a look every 2 s, which is what there is besides waking, would bring them in 100 s on the average
	)
	s := newShop(t, testserver.RedisConfig{})
	others := len(s.clients())
	b := s.open(s.server.URL())
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop()
	handled := make(chan time.Time)
	looks := s.looks()
	for i := range groups {
		topic := bus.Topic[order]{Name: fmt.Sprintf("idle%d", i)}
		serving.Go(func() {
			err := topic.Subscribe(ctx, b, bus.Group{Name: group, Workers: 1, Ahead: -1, Log: slog.New(slog.DiscardHandler)},
				func(context.Context, bus.Message[order]) error {
					handled <- time.Now()
					return nil
				})
			if err != nil {
				t.Errorf("group of topic %s: %v", topic.Name, err)
			}
		})
	}
	until(t, "all groups have joined and wait", func() bool { return s.looks() >= looks+3*groups })
	if n := len(s.clients()) - others; n > 8 {
		t.Errorf("%d idle groups in one process have %d connections", groups, n)
	} else {
		t.Logf("%d idle groups in one process have %d connections", groups, n)
	}
	if long() {
		from, looks := time.Now(), s.looks()
		lasting(t, 20*time.Second)
		t.Logf("while nothing happens they ask %.0f times a second together", float64(s.looks()-looks)/time.Since(from).Seconds())
	}
	from := time.Now()
	var took times
	for i := range woken {
		sent := time.Now()
		if _, err := (bus.Topic[order]{Name: fmt.Sprintf("idle%d", i*groups/woken)}).Publish(t.Context(), b, order{N: i}); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-handled:
			took = append(took, at.Sub(sent))
		case <-time.After(limit):
			t.Fatalf("a message that was published to an idle group does not reach its handler within %v", limit)
		}
	}
	all := time.Since(from)
	t.Logf("published to an idle group and in its handler: %v", took)
	if all > limit {
		t.Errorf("%d messages to idle groups, one after the other, took %v: they came by polling", woken, all)
	}
}
