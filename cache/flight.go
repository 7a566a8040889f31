package cache

import (
	"context"
	"fmt"
	"sync"
)

// flights are the reads and loads that are under way, one for each key and kind.
type flights[T any] struct {
	mu    sync.Mutex
	under map[flightKey]*flight[T]
}

type flightKey struct {
	key  string
	load bool
}

// flight is one read or load that others may wait for. Its fields but the first two are set before done is closed.
type flight[T any] struct {
	done   chan struct{}
	ticket ticket

	answer  Answer[T]
	err     error
	aborted bool // it ended with its caller's ctx, or in a panic: that is no answer for others
}

// share runs fn, or waits for one that runs already. A flight that began before something was invalidated is not joined, nor, while
// this node cannot hear, one that is as old as the bound.
//
// The order matters, as it does in hit: what h has heard of was applied before the ticket was taken. With a ticket from before,
// what the flight has missed could be applied in between, and h would vouch for it.
func (c *Cache[T]) share(ctx context.Context, k flightKey, fn func() (Answer[T], error)) (Answer[T], error) {
	for {
		h := c.follow.heard.Load()
		t := c.near.ticket(k.key)
		hears := h.hears(t.taken)
		f, mine := c.flights.board(k, t, func(f *flight[T]) bool {
			return f.ticket.same(t) && (hears || f.ticket.taken.since(t.taken) < less(c.conf.Bound))
		})
		if mine {
			return c.flights.fly(ctx, k, f, fn)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Answer[T]{}, fmt.Errorf("cache %s: waiting for %q: %w", c.node.name, k.key, context.Cause(ctx))
		}
		if !f.aborted {
			return f.answer, f.err
		}
	}
}

// board returns the flight under way that fits, or a new one in its place.
func (fs *flights[T]) board(k flightKey, t ticket, fits func(*flight[T]) bool) (f *flight[T], mine bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.under[k]; f != nil && fits(f) {
		return f, false
	}
	if fs.under == nil {
		fs.under = map[flightKey]*flight[T]{}
	}
	f = &flight[T]{done: make(chan struct{}), ticket: t}
	fs.under[k] = f
	return f, true
}

// fly runs fn for f.
func (fs *flights[T]) fly(ctx context.Context, k flightKey, f *flight[T], fn func() (Answer[T], error)) (Answer[T], error) {
	f.aborted = true
	defer func() {
		fs.mu.Lock()
		if fs.under[k] == f {
			delete(fs.under, k)
		}
		fs.mu.Unlock()
		close(f.done)
	}()
	answer, err := fn()
	f.answer, f.err = answer, err
	f.aborted = err != nil && ctx.Err() != nil
	return answer, err
}
