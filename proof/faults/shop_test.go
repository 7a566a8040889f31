//go:build unix

package faults_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// accounts are few enough that workers meet at them and their steps conflict.
const accounts = 100

// shop is the topic of orders on a server of its own, its workers, and who watches from outside of all faults.
type shop struct {
	t         *testing.T
	site      site
	server    server       // that has the orders at the beginning
	b         port.Backend // the observer's, straight to the server where there is one
	published int          // orders whose publishing was acknowledged, 1 to published
	endings   []ending
	billed    map[int]time.Time // of each order: its last bill, by settle

	moved bool // whether the last blow gave the orders to another server on purpose

	mu        sync.Mutex
	processes []*process
}

func newShop(t *testing.T, c testserver.RedisConfig) *shop {
	t.Helper()
	return newShopAt(t, alone(t, c))
}

func newShopAt(t *testing.T, at site) *shop {
	t.Helper()
	s := &shop{t: t, site: at, server: at.master()}
	s.b = s.openFor(at.url, 10*answer) // who counts does not give up at once on a machine that is busy
	s.join()
	return s
}

// open opens the backend of a URL. A namespace and a time to wait for an answer that are zero are the adapter's defaults.
func open(ctx context.Context, url, namespace string, answer time.Duration) (port.Backend, error) {
	if strings.HasPrefix(url, "nats://") {
		return nats.Open(ctx, nats.Config{URL: url, Namespace: namespace, Timeout: answer})
	}
	return redis.Open(ctx, redis.Config{URL: url, Namespace: namespace, Timeout: answer})
}

// open opens a backend that fails fast.
func (s *shop) open(url string) port.Backend {
	s.t.Helper()
	return s.openFor(url, answer)
}

// openFor opens a backend that waits so long for an answer.
func (s *shop) openFor(url string, answer time.Duration) port.Backend {
	s.t.Helper()
	b, err := open(s.t.Context(), url, "", answer)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return b
}

// join makes the group and the topic of bills.
func (s *shop) join() {
	s.t.Helper()
	err := s.b.Declare(s.t.Context(), port.Topic{Name: outTopic, Window: -1, MaxAge: -1})
	if err == nil {
		err = s.b.Join(s.t.Context(), port.Group{Topic: inTopic, Name: group, Consumer: "observer", Loan: loan})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

const (
	loan   = time.Second            // the shortest there is, so that crashes cost little time
	answer = 500 * time.Millisecond // how long a client waits for the server
)

// job is the usual one.
func (s *shop) job() job {
	return job{URL: s.site.url, Answer: answer, Workers: 4, Ahead: 12, Loan: loan}
}

// fleet starts n workers.
func (s *shop) fleet(n int, j job) []*process {
	s.t.Helper()
	fleet := make([]*process, n)
	for i := range fleet {
		fleet[i] = s.start(j)
	}
	return fleet
}

// publish publishes orders from the next number on, and returns when all are acknowledged.
func (s *shop) publish(orders ...order) {
	s.t.Helper()
	for i := range orders {
		s.published++
		orders[i].N = s.published
	}
	if err := publish(s.t.Context(), s.b, orders...); err != nil {
		s.t.Fatal(err)
	}
}

// ends counts the handlings that came to their end, as far as they could be told.
func (s *shop) ends() int { return s.told("end") }

// all is every process that was started.
func (s *shop) all() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.processes)
}

// told counts the events of a kind.
func (s *shop) told(kind string) int {
	sum := 0
	for _, p := range s.all() {
		sum += p.told(kind)
	}
	return sum
}

// emitted is how many bills there are, by what the server says.
func (s *shop) emitted() int64 {
	for info, err := range s.b.Inspect(s.t.Context(), outTopic) {
		if err == nil {
			return info.Count
		}
	}
	return 0
}

// drained reports whether the group has nothing left to do.
func (s *shop) drained() bool {
	for info, err := range s.b.Inspect(s.t.Context(), inTopic) {
		if err != nil || info.Delayed > 0 {
			return false
		}
		for _, g := range info.Groups {
			if g.Lag+g.Loaned+g.Delayed > 0 {
				return false
			}
		}
		return true
	}
	return false
}
