package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// audit compares samples of what was served from memory with what the store has.
type audit[T any] struct {
	wanted  atomic.Bool // the next hit is to be compared
	seen    chan sample[T]
	checked atomic.Int64
	behind  atomic.Int64
	worst   atomic.Int64 // nanoseconds
}

// sample is a hit.
type sample[T any] struct {
	key  string
	copy *local[T]
	at   instant
}

// take makes a hit the sample, unless another one was faster.
func (a *audit[T]) take(key string, l *local[T], at instant) {
	if a.wanted.CompareAndSwap(true, false) {
		select {
		case a.seen <- sample[T]{key, l, at}:
		default:
		}
	}
}

// auditAll asks for a sample at each interval, and compares it, until ctx ends.
func (c *Cache[T]) auditAll(ctx context.Context) {
	tick := time.NewTicker(c.conf.Audit)
	defer tick.Stop()
	defer c.audit.wanted.Store(false)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.audit.wanted.Store(true)
		case s := <-c.audit.seen:
			if err := c.compare(ctx, s); err != nil && ctx.Err() == nil {
				c.follow.note(fmt.Errorf("audit of %q: %w", s.key, err))
			}
		}
	}
}

// compare asks the store for what was served. When the store has a newer write, the sample was behind by the time from that write to the hit,
// as far as the writer's clock and this node's agree; a key that was written several times since may have been behind for longer.
func (c *Cache[T]) compare(ctx context.Context, s sample[T]) error {
	got, err := c.b.Get(ctx, c.valueKey(s.key))
	if err != nil {
		return err
	}
	c.audit.checked.Add(1)
	if !got[0].Found {
		return nil
	}
	r, err := parseRecord(got[0].Bytes)
	if err != nil {
		return err
	}
	if r.version.Compare(s.copy.version) <= 0 {
		return nil
	}
	late := time.Unix(0, s.at.wall).Sub(r.version.Time())
	if late <= 0 { // written after the hit
		return nil
	}
	c.audit.behind.Add(1)
	for {
		worst := c.audit.worst.Load()
		if int64(late) <= worst || c.audit.worst.CompareAndSwap(worst, int64(late)) {
			return nil
		}
	}
}
