package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// Loader gets a value from where it really lives. port.ErrNotFound says that there is none, which Config.Negative may keep.
type Loader[T any] func(ctx context.Context, key string) (T, error)

// mostLoads is how often a value is loaded that is invalidated whenever it is loaded.
const mostLoads = 3

// Load is Get that, where there is no value, has load make it and keeps it, with the tags, for the fleet. Callers of one key in one
// process share one load; with Config.OneLoader those of the whole fleet do.
//
// A value that was invalidated while it was loaded is not kept: it is loaded again, up to three times. An error of load is returned
// and not kept. A value beside an error is right, and was not kept.
func (c *Cache[T]) Load(ctx context.Context, key string, load Loader[T], tags ...string) (T, error) {
	if l := c.hit(key); l != nil {
		return l.answer(key)
	}
	a, err := c.load(ctx, key, load, tags)
	return a.Value, err
}

func (c *Cache[T]) load(ctx context.Context, key string, load Loader[T], tags []string) (Answer[T], error) {
	if err := c.check(key); err != nil {
		return Answer[T]{}, err
	}
	if err := c.checkTags(tags); err != nil {
		return Answer[T]{}, err
	}
	c.count.misses.Add(1)
	return c.share(ctx, flightKey{key: key, load: true}, func() (Answer[T], error) {
		for tries := 1; ; tries++ {
			a, again, err := c.loadOnce(ctx, key, load, tags, tries == mostLoads)
			if !again {
				return a, err
			}
		}
	})
}

// loadOnce looks, and loads where there is nothing. Again is true when the value was invalidated meanwhile, unless it is the last try.
func (c *Cache[T]) loadOnce(ctx context.Context, key string, load Loader[T], tags []string, last bool) (a Answer[T], again bool, err error) {
	v, err := c.look(ctx, key, tags)
	if err != nil {
		return a, false, err
	}
	if v.live {
		a, err = c.take(&v)
		return a, false, err
	}
	if c.conf.OneLoader {
		mine, free, err := c.await(ctx, &v, tags)
		if err != nil {
			return a, false, err
		}
		defer free()
		if !mine {
			a, err = c.take(&v)
			return a, false, err
		}
	}
	value, err := load(ctx, key)
	r := record{kind: holds, seq: v.seq, tags: v.tags}
	switch {
	case errors.Is(err, port.ErrNotFound) && c.conf.Negative > 0:
		r.kind = nothing
	case err != nil:
		return a, false, fmt.Errorf("cache %s: load %q: %w", c.node.name, key, err)
	default:
		a.Value = value
	}
	a.Age = v.ticket.taken.since(c.near.watch.now())
	kept, failed := c.fill(ctx, &v, r, value)
	if failed == nil && !kept && !last {
		return a, true, nil
	}
	return a, false, errors.Join(err, failed)
}

// fill keeps what was loaded after v, if nothing happened to the key since. It is no entry of the log: nobody has a copy of a
// key without a record that counts.
func (c *Cache[T]) fill(ctx context.Context, v *view, r record, value T) (kept bool, err error) {
	if v.ticket.taken.since(c.near.watch.now()) > c.conf.Keep/2 {
		return false, fmt.Errorf("cache %s: %q took longer to load than half of Keep %v, so what was deleted meanwhile is not known: not kept: %w",
			c.node.name, v.key, c.conf.Keep, port.ErrStale)
	}
	if err := c.ready(ctx); err != nil {
		return false, err
	}
	r.version = c.node.version(v.record.version.Clock)
	ttl := c.lifetime(r.kind)
	ch, err := c.change(v, &r, value, ttl)
	if err != nil {
		return false, err
	}
	t, sent := v.ticket, c.near.watch.now()
	b := port.Batch{ID: r.version.Op, Changes: []port.Change{ch}}
	if err := c.write(ctx, b, func() { c.near.forget(v.key) }); err != nil {
		if errors.Is(err, port.ErrConflict) {
			return false, nil
		}
		return false, err
	}
	if v.timed {
		c.keep(v.key, t, c.written(&r, v.own, value, ttl, sent))
	}
	return true, nil
}

// change is the write of r over what v has shown.
func (c *Cache[T]) change(v *view, r *record, value T, ttl time.Duration) (port.Change, error) {
	if r.kind == holds {
		payload, err := c.conf.Codec.Append(nil, value)
		if err != nil {
			return port.Change{}, fmt.Errorf("cache %s: the value for %q cannot be encoded: %w: %w", c.node.name, v.key, port.ErrInvalid, err)
		}
		r.payload = payload
	}
	return v.condition(port.Change{Key: c.valueKey(v.key), Value: r.bytes(), TTL: ttl}), nil
}

// written is the near copy of a record that this node has written.
func (c *Cache[T]) written(r *record, refs []tagRef, value T, ttl time.Duration, sent instant) *local[T] {
	l := &local[T]{value: value, kind: r.kind, version: r.version, seq: r.seq, tags: refs, expires: never(), filled: sent}
	if ttl > 0 {
		l.expires = sent.plus(less(ttl))
	}
	return l
}

// await takes the fleet's lease on loading the key, or waits until whoever has it has made the value: then v shows it, and mine is
// false. It waits no longer than Config.LoadWait. After it was granted the store is looked at again, so that a value that came
// meanwhile is not loaded a second time.
func (c *Cache[T]) await(ctx context.Context, v *view, tags []string) (mine bool, free func(), err error) {
	sum := sha256.Sum256([]byte(v.key))
	want := port.Lease{Name: c.node.cache + ".load." + hex.EncodeToString(sum[:16]), Owner: c.node.id, Nonce: c.node.op()}
	free = func() {}
	began := c.near.watch.now()
	for tries := 1; ; tries++ {
		got, err := c.b.Acquire(ctx, want, max(c.conf.LoadWait, c.b.Caps().MinTTL))
		switch {
		case err == nil:
			free = func() { c.release(ctx, got) }
		case !errors.Is(err, port.ErrHeld) && !errors.Is(err, port.ErrUncertain): // after the latter the same nonce asks again
			return false, free, fmt.Errorf("cache %s: lease on loading %q: %w", c.node.name, v.key, err)
		}
		looked, lookErr := c.look(ctx, v.key, tags)
		if lookErr != nil {
			free()
			return false, func() {}, lookErr
		}
		*v = looked
		if v.live {
			return false, free, nil
		}
		if err == nil || began.since(c.near.watch.now()) >= c.conf.LoadWait {
			return true, free, nil
		}
		if err := pause(ctx, loadWaits.Delay(tries, c.node.rnd())); err != nil {
			return false, free, fmt.Errorf("cache %s: waiting for another node's load of %q: %w", c.node.name, v.key, err)
		}
	}
}

// loadWaits is how often a node looks whether another one's load is done.
var loadWaits = retry.Backoff{Tries: -1, First: 5 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 1.5}

// release gives the lease on loading back. That it cannot be given back delays the next load of the key until it runs out.
func (c *Cache[T]) release(ctx context.Context, l port.Lease) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), c.conf.Bound)
	defer stop()
	if err := c.b.Release(ctx, l)[0]; err != nil && !errors.Is(err, port.ErrLost) {
		c.follow.note(fmt.Errorf("lease %q could not be given back and runs out within %v: %w", l.Name, c.conf.LoadWait, err))
	}
}
