package redis

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// crowding is a backend whose leases gather behind scripts that seem to be under way.
type crowding struct {
	t         *testing.T
	s         *testserver.Server
	b         *Backend
	acquiring *line[*acquiring]
	releasing *line[*releasing]
	work      sync.WaitGroup
}

func newCrowding(t *testing.T) *crowding {
	s := testserver.Redis(t, testserver.RedisConfig{})
	c := &crowding{t: t, s: s, b: namesake(t, s, "crowd")}
	l, err := c.b.Acquire(t.Context(), port.Lease{Name: "orders.a", Owner: "o", Nonce: "n"}, time.Hour) // from here on the server knows the scripts
	c.must(err)
	c.must(c.b.Release(t.Context(), l)[0])
	c.acquiring = &line[*acquiring]{family: "orders", running: mostWriting}
	c.releasing = &line[*releasing]{family: "orders", running: mostWriting}
	c.hold()
	return c
}

// hold has what is asked for from here on wait.
func (c *crowding) hold() {
	c.b.acquiring.mu.Lock()
	c.b.acquiring.of["orders"] = c.acquiring
	c.b.acquiring.mu.Unlock()
	c.b.releasing.mu.Lock()
	c.b.releasing.of["orders"] = c.releasing
	c.b.releasing.mu.Unlock()
}

func (c *crowding) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

type grant struct {
	lease port.Lease
	err   error
}

// acquire asks, and returns when it waits behind so many.
func (c *crowding) acquire(ctx context.Context, l port.Lease, behind int) *grant {
	g := &grant{}
	c.work.Go(func() { g.lease, g.err = c.b.Acquire(ctx, l, time.Hour) })
	awaitWaiting(c.t, &c.b.acquiring, c.acquiring, behind+1)
	return g
}

func (c *crowding) release(l port.Lease, behind int) *grant {
	g := &grant{}
	c.work.Go(func() { g.err = c.b.Release(c.t.Context(), l)[0] })
	awaitWaiting(c.t, &c.b.releasing, c.releasing, behind+1)
	return g
}

// awaitWaiting returns when so many wait.
func awaitWaiting[E errand](t *testing.T, g *lines[E], l *line[E], n int) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); runtime.Gosched() {
		g.mu.Lock()
		waiting := len(l.waiting)
		g.mu.Unlock()
		if waiting == n {
			return
		}
	}
	t.Fatalf("there are never %d that wait", n)
}

// resume sends what waits, and waits until all is answered.
func (c *crowding) resume() {
	c.b.acquiring.next(c.acquiring)
	c.b.releasing.next(c.releasing)
	c.work.Wait()
}

func TestLeasesThatAreAskedForAtOnceAreOneScriptAndStayApart(t *testing.T) {
	c := newCrowding(t)
	ask := func(name, nonce string) port.Lease {
		return port.Lease{Name: name, Owner: "owner of " + nonce, Nonce: nonce, Data: []byte(nonce)}
	}
	ahead := ask("orders.ahead", "n")
	ahead.Seen = uint64(time.Now().Add(time.Hour).UnixMicro())
	var got []*grant
	for i, l := range []port.Lease{ask("orders.a", "1"), ask("orders.a", "2"), ask("orders.b", "1"), ask("orders.a", "1"), ahead, ask("orders.ahead", "other")} {
		got = append(got, c.acquire(t.Context(), l, i))
	}
	calls(t, c.b, "evalsha")
	c.resume()
	if n := calls(t, c.b, "evalsha"); n != "1" {
		t.Errorf("they were asked for by %s scripts", n)
	}
	for i, want := range []struct{ owner, err string }{{"owner of 1", ""}, {"owner of 1", "held"}, {"owner of 1", ""}, {"owner of 1", ""}, {"owner of n", ""}, {"owner of n", "held"}} {
		g := got[i]
		if g.lease.Owner != want.owner || errors.Is(g.err, port.ErrHeld) != (want.err == "held") || g.err != nil && want.err == "" {
			t.Errorf("lease %d is of %q, %v", i, g.lease.Owner, g.err)
		}
	}
	if got[0].lease.Token != got[3].lease.Token || got[1].lease.Token != got[0].lease.Token {
		t.Errorf("one lease has the tokens %d, %d and %d", got[0].lease.Token, got[1].lease.Token, got[3].lease.Token)
	}
	if got[2].lease.Token <= got[0].lease.Token {
		t.Errorf("token %d of the family after %d", got[2].lease.Token, got[0].lease.Token)
	}
	if got[4].lease.Token != ahead.Seen+1 {
		t.Errorf("token %d after %d", got[4].lease.Token, ahead.Seen)
	}

	c.acquiring, c.releasing = &line[*acquiring]{family: "orders", running: mostWriting}, &line[*releasing]{family: "orders", running: mostWriting}
	c.hold()
	stale := got[2].lease
	stale.Token--
	back := []*grant{c.release(got[0].lease, 0), c.release(stale, 1), c.release(got[0].lease, 2), c.release(got[2].lease, 3)}
	c.resume()
	for i, lost := range []bool{false, true, true, false} {
		if errors.Is(back[i].err, port.ErrLost) != lost || back[i].err != nil && !lost {
			t.Errorf("release %d: %v", i, back[i].err)
		}
	}
	held, err := c.b.Holders(t.Context(), "orders.")
	c.must(err)
	if len(held) != 1 || held[0].Name != "orders.ahead" {
		t.Errorf("%v are held", held)
	}
}

func TestALeaseIsTakenBackWhenItsCallerGivesUpBeforeItIsSent(t *testing.T) {
	c := newCrowding(t)
	ctx, cancel := context.WithCancel(t.Context())
	g := c.acquire(ctx, port.Lease{Name: "orders.a", Owner: "o", Nonce: "n"}, 0)
	cancel()
	c.work.Wait()
	if !errors.Is(g.err, context.Canceled) || errors.Is(g.err, port.ErrUncertain) {
		t.Errorf("nothing happened, and the answer is %v", g.err)
	}
	c.resume()
	held, err := c.b.Holders(t.Context(), "orders.")
	c.must(err)
	if len(held) > 0 {
		t.Errorf("%v are held", held)
	}
}

func TestALeaseThatWasTakenToBeSentIsUncertainWhenItsCallerGivesUp(t *testing.T) {
	c := newCrowding(t)
	ctx, cancel := context.WithCancel(t.Context())
	g := c.acquire(ctx, port.Lease{Name: "orders.a", Owner: "o", Nonce: "n"}, 0)
	list := c.b.acquiring.take(c.acquiring, nil)
	cancel()
	c.work.Wait()
	if !errors.Is(g.err, context.Canceled) || !errors.Is(g.err, port.ErrUncertain) {
		t.Errorf("it may still be granted, and the answer is %v", g.err)
	}
	c.b.acquire(t.Context(), "orders", list)
	// Its nonce gives it back, without a token.
	c.b.releasing.mu.Lock()
	delete(c.b.releasing.of, "orders")
	c.b.releasing.mu.Unlock()
	c.must(c.b.Release(t.Context(), port.Lease{Name: "orders.a", Nonce: "n"})[0])
}

// The answer to an Acquire whose caller has gone is nobody's: under -race, this tells when it is read all the same.
func TestACallerThatGivesUpDoesNotReadWhatIsStillBeingAnswered(t *testing.T) {
	c := newCrowding(t)
	for range 20 {
		c.acquiring = &line[*acquiring]{family: "orders", running: mostWriting}
		c.hold()
		ctx, cancel := context.WithCancel(t.Context())
		g := c.acquire(ctx, port.Lease{Name: "orders.a", Owner: "o", Nonce: "n"}, 0)
		list := c.b.acquiring.take(c.acquiring, nil)
		c.work.Go(func() { c.b.acquire(t.Context(), "orders", list) })
		cancel()
		c.work.Wait()
		if uncertain := errors.Is(g.err, port.ErrUncertain); uncertain == (g.lease.Token > 0) || g.err != nil && !uncertain {
			t.Errorf("token %d, %v", g.lease.Token, g.err)
		}
	}
}

func TestAFullMemoryRefusesNewLeasesAndNotThoseThatAreHeld(t *testing.T) {
	c := newCrowding(t)
	c.b.acquiring.mu.Lock()
	delete(c.b.acquiring.of, "orders")
	c.b.acquiring.mu.Unlock()
	_, err := c.b.Acquire(t.Context(), port.Lease{Name: "orders.held", Owner: "o", Nonce: "n"}, time.Hour)
	c.must(err)
	c.hold()
	fresh := c.acquire(t.Context(), port.Lease{Name: "orders.new", Owner: "o", Nonce: "n"}, 0)
	held := c.acquire(t.Context(), port.Lease{Name: "orders.held", Owner: "o", Nonce: "n"}, 1)
	direct(t, c.b, "CONFIG", "SET", "maxmemory", "1")
	c.resume()
	direct(t, c.b, "CONFIG", "SET", "maxmemory", "0")
	if !errors.Is(fresh.err, port.ErrUnavailable) || errors.Is(fresh.err, port.ErrUncertain) || held.err != nil {
		t.Errorf("the new one: %v; the one that is held: %v", fresh.err, held.err)
	}
}
