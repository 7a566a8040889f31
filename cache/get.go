package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Get returns the value of key: the near copy while the log is heard, else what the store has. port.ErrNotFound when there is none,
// or none that counts any more. Values that are answered from memory are shared: whoever changes what a T refers to changes
// it for all.
func (c *Cache[T]) Get(ctx context.Context, key string) (T, error) {
	if l := c.hit(key); l != nil {
		return l.answer(key)
	}
	a, err := c.read(ctx, key)
	return a.Value, err
}

// hit is the near copy of key that may be served now, or nil.
//
// The order matters: what was heard of by h has been applied before h was there, so a copy that is found after h was loaded was
// current when h.from was, or later; and the clock is read last.
func (c *Cache[T]) hit(key string) *local[T] {
	if c.invalid != nil {
		return nil
	}
	h := c.follow.heard.Load()
	if h == nil {
		return nil
	}
	l, ok := c.near.held.GetIfPresent(key)
	if !ok {
		return nil
	}
	now := c.near.watch.now()
	if !h.hears(now) || l.expires.due(now) || !c.near.valid(key, l) {
		return nil
	}
	if c.audit.wanted.Load() {
		c.audit.take(key, l, now)
	}
	return l
}

// answer is what a copy says.
func (l *local[T]) answer(key string) (T, error) {
	if l.kind == nothing {
		return l.value, notFound(key)
	}
	return l.value, nil
}

func notFound(key string) error { return fmt.Errorf("cache: %q: %w", key, port.ErrNotFound) }

// read asks the store, with others who ask for the same key.
func (c *Cache[T]) read(ctx context.Context, key string) (Answer[T], error) {
	if err := c.check(key); err != nil {
		return Answer[T]{}, err
	}
	c.count.misses.Add(1)
	return c.share(ctx, flightKey{key: key}, func() (Answer[T], error) {
		v, err := c.look(ctx, key, nil)
		if err != nil {
			return Answer[T]{}, err
		}
		if !v.live {
			return Answer[T]{}, notFound(key)
		}
		return c.take(&v)
	})
}

// take makes a live view a near copy, where that is allowed, and an answer.
func (c *Cache[T]) take(v *view) (Answer[T], error) {
	l, err := c.local(v)
	if err != nil {
		return Answer[T]{}, err
	}
	if v.timed {
		c.keep(v.key, v.ticket, l)
	}
	value, err := l.answer(v.key)
	return Answer[T]{Value: value, Age: l.filled.since(c.near.watch.now())}, err
}

// keep inserts a near copy, and counts whether it could.
func (c *Cache[T]) keep(key string, t ticket, l *local[T]) {
	if c.near.insert(key, t, l) {
		c.count.fills.Add(1)
	} else {
		c.count.refused.Add(1)
	}
}

// GetMany returns those of the keys that have a value. What is not near is read from the store in portions.
func (c *Cache[T]) GetMany(ctx context.Context, keys ...string) (map[string]T, error) {
	found := make(map[string]T, len(keys))
	var rest []string
	for _, key := range keys {
		if l := c.hit(key); l == nil {
			rest = append(rest, key)
		} else if v, err := l.answer(key); err == nil {
			found[key] = v
		}
	}
	slices.Sort(rest)
	for part := range slices.Chunk(slices.Compact(rest), 200) {
		if err := c.readMany(ctx, part, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (c *Cache[T]) readMany(ctx context.Context, keys []string, found map[string]T) error {
	views := make([]view, len(keys))
	names := make([]string, 0, len(keys)+1)
	heard := c.follow != nil && c.follow.heard.Load() != nil
	for i, key := range keys {
		if err := c.check(key); err != nil {
			return err
		}
		views[i] = view{key: key, ticket: c.near.ticket(key), timed: heard, expires: never()}
		names = append(names, c.valueKey(key))
	}
	c.count.misses.Add(int64(len(keys)))
	get := c.b.Get
	if heard {
		get = c.b.GetTTL
	}
	got, err := get(ctx, append(names, c.digestKey())...)
	if err != nil {
		return fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	top, err := c.known(ctx, got[len(keys)])
	if err != nil {
		return err
	}
	for i := range views {
		v := &views[i]
		v.seq = top
		if err := c.judge(ctx, v, got[i]); err != nil {
			return err
		}
		if !v.live {
			continue
		}
		a, err := c.take(v)
		if errors.Is(err, port.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		found[v.key] = a.Value
	}
	return nil
}

// check answers port.ErrInvalid for a key that no store takes, and for what was wrong with the arguments of New.
func (c *Cache[T]) check(key string) error {
	if c.invalid != nil {
		return c.invalid
	}
	if key == "" {
		return fmt.Errorf("cache %s: the key is empty: %w", c.node.name, port.ErrInvalid)
	}
	return port.CheckKey("cache "+c.node.name+": key in the store", c.valueKey(key))
}
