//go:build unix

package histories_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
)

// bench is a server, and clients each behind a proxy of its own.
type bench struct {
	t       *testing.T
	server  *testserver.Server
	proxies []*testserver.Proxy
	clients []*redis.Backend
}

func newBench(t *testing.T, clients int) *bench {
	t.Helper()
	b := &bench{t: t, server: testserver.Redis(t, testserver.RedisConfig{})}
	for range clients {
		p := testserver.NewProxy(t, b.server.Addr())
		c, err := redis.Open(t.Context(), redis.Config{URL: "redis://" + p.Addr(), Timeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		b.proxies, b.clients = append(b.proxies, p), append(b.clients, c)
	}
	return b
}

// run runs every client, while faults strike their connections and the server is killed and restarted, until all clients are
// through.
func (b *bench) run(client func(ctx context.Context, i int, c *redis.Backend) error) {
	b.t.Helper()
	ctx, stop := context.WithCancelCause(b.t.Context())
	defer stop(nil)
	var clients sync.WaitGroup
	for i, c := range b.clients {
		clients.Go(func() {
			if err := client(ctx, i, c); err != nil {
				stop(err)
			}
		})
	}
	through := make(chan struct{})
	go func() { clients.Wait(); close(through) }()
	b.strike(through)
	<-through
	if err := context.Cause(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// strike makes faults until the clients are through.
func (b *bench) strike(through <-chan struct{}) {
	moment := time.NewTimer(0)
	defer moment.Stop()
	defer func() {
		for _, p := range b.proxies {
			p.Restore()
		}
	}()
	for n := 0; ; n++ {
		moment.Reset(5*time.Millisecond + rand.N(15*time.Millisecond))
		select {
		case <-through:
			return
		case <-moment.C:
		}
		p := b.proxies[rand.IntN(len(b.proxies))]
		switch {
		case n%25 == 24:
			b.server.Kill()
			b.server.Restart()
		case n%4 == 0:
			p.Reset()
		case n%4 == 1:
			p.BlackHoleDown()
			time.AfterFunc(5*time.Millisecond, func() { p.Reset(); p.Restore() })
		case n%4 == 2:
			p.BlackHoleUp()
			time.AfterFunc(5*time.Millisecond, func() { p.Reset(); p.Restore() })
		default:
			p.Cut()
			time.AfterFunc(5*time.Millisecond, p.Restore)
		}
	}
}
