package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// Answer is a value and how old it may be.
type Answer[T any] struct {
	Value T
	// Age is how long ago, at most, Value was known to be current.
	Age time.Duration
	// Stale is true for a near copy that had run out, or that may have been changed without this node hearing of it.
	Stale bool
	// Why is what kept a newer value from being had; nil unless Stale, and where the copy is being refreshed.
	Why error
}

// Stale is which answers beyond the bound a caller takes.
type Stale struct {
	IfError         time.Duration // a copy of at most this age when the store or the loader fails; default none
	WhileRevalidate time.Duration // a copy that ran out at most this long ago, while Follow loads it anew; default none
}

// LoadStale is [Cache.Load] for callers who would rather have an old value than wait or fail, and who look at its age. A value that this
// node knows to be invalidated is not among the answers, however old a value may be.
func (c *Cache[T]) LoadStale(ctx context.Context, key string, s Stale, load Loader[T], tags ...string) (Answer[T], error) {
	if c.invalid != nil {
		return Answer[T]{}, c.invalid
	}
	if s.IfError < 0 || s.WhileRevalidate < 0 {
		return Answer[T]{}, fmt.Errorf("cache %s: load %q: an age of %+v is negative; 0 is none: %w", c.node.name, key, s, port.ErrInvalid)
	}
	heard := c.follow.heard.Load()
	old, now := c.old(key)
	if old != nil && heard.hears(now) {
		if !old.expires.due(now) {
			v, err := old.answer(key)
			return Answer[T]{Value: v, Age: old.age(&heard.from, now)}, err
		}
		if ago := old.expires.since(now); ago <= s.WhileRevalidate && c.refresh.add(revalidation[T]{key, load, tags}) {
			v, err := old.answer(key)
			return Answer[T]{Value: v, Age: old.age(&heard.from, now), Stale: true}, err
		}
	}
	a, err := c.load(ctx, key, load, tags)
	if err == nil || errors.Is(err, port.ErrNotFound) || errors.Is(err, port.ErrInvalid) {
		return a, err
	}
	if old, now = c.old(key); old != nil {
		if age := old.age(c.follow.last.Load(), now); age <= s.IfError {
			v, nothing := old.answer(key)
			return Answer[T]{Value: v, Age: age, Stale: true, Why: err}, nothing
		}
	}
	return a, err
}

// old is the near copy of key that nothing known here has invalidated, even if it has run out or nothing is heard.
func (c *Cache[T]) old(key string) (*local[T], instant) {
	l, ok := c.near.held.GetIfPresent(key)
	now := c.near.watch.now()
	if !ok || !c.near.valid(key, l) {
		return nil, now
	}
	return l, now
}

// refreshes are the loads that Follow makes for others: those of copies that had run out and were served once more.
type refreshes[T any] struct {
	mu      sync.Mutex
	waiting map[string]revalidation[T]
	wake    chan struct{} // while Follow runs: has room for one
}

type revalidation[T any] struct {
	key  string
	load Loader[T]
	tags []string
}

// maxRefreshes is how many refreshes may wait, and how many run at once.
const (
	maxRefreshes     = 1000
	refreshesAtATime = 8
)

// add reports whether the refresh will be made: not while nobody follows, nor when too many wait.
func (r *refreshes[T]) add(v revalidation[T]) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake == nil {
		return false
	}
	if _, ok := r.waiting[v.key]; ok {
		return true
	}
	if len(r.waiting) >= maxRefreshes {
		return false
	}
	r.waiting[v.key] = v
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

// open makes room for refreshes, close ends that.
func (r *refreshes[T]) open() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.wake = map[string]revalidation[T]{}, make(chan struct{}, 1)
	return r.wake
}

func (r *refreshes[T]) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.wake = nil, nil
}

// some are refreshes that wait. Each is taken off when it is done.
func (r *refreshes[T]) some() []revalidation[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var some []revalidation[T]
	for _, v := range r.waiting {
		if some = append(some, v); len(some) == refreshesAtATime {
			break
		}
	}
	return some
}

func (r *refreshes[T]) done(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, key)
}

// refreshAll makes refreshes until ctx ends.
func (c *Cache[T]) refreshAll(ctx context.Context) {
	wake := c.refresh.open()
	defer c.refresh.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		for some := c.refresh.some(); len(some) > 0 && ctx.Err() == nil; some = c.refresh.some() {
			var wg sync.WaitGroup
			for _, v := range some {
				wg.Go(func() {
					defer c.refresh.done(v.key)
					if _, err := c.load(ctx, v.key, v.load, v.tags); err != nil && ctx.Err() == nil && !errors.Is(err, port.ErrNotFound) {
						c.follow.note(fmt.Errorf("refresh of %q: %w", v.key, err))
					}
				})
			}
			wg.Wait()
		}
	}
}
