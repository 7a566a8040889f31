package memory

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/musterhq/muster/port"
)

// Get sees the parts of a step that is not finished.
func (b *Backend) Get(ctx context.Context, keys ...string) ([]port.Value, error) {
	return b.values(ctx, "get", keys, false)
}

// GetTTL costs what Get does.
func (b *Backend) GetTTL(ctx context.Context, keys ...string) ([]port.Value, error) {
	return b.values(ctx, "getttl", keys, true)
}

func (b *Backend) values(ctx context.Context, name string, keys []string, withTTL bool) ([]port.Value, error) {
	for _, key := range keys {
		if err := port.CheckKey("key", key); err != nil {
			return nil, fmt.Errorf("memory: %s: %w", name, err)
		}
	}
	return do(ctx, b, name, func(c call) ([]port.Value, error) {
		s := b.space
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.now()
		values := make([]port.Value, len(keys))
		for i, key := range keys {
			values[i] = s.keys.show(key, withTTL, now)
		}
		return values, nil
	})
}

// Apply makes the changes under one lock. A refused change leaves its fence's token unseen.
func (b *Backend) Apply(ctx context.Context, changes ...port.Change) ([]port.Applied, error) {
	for i := range changes {
		if err := changes[i].Check(b.caps); err != nil {
			return nil, fmt.Errorf("memory: apply: %w", err)
		}
	}
	return do(ctx, b, "apply", func(c call) ([]port.Applied, error) {
		applied := make([]port.Applied, len(changes))
		errs := c.eachOf(len(changes), func(i int, now moment) (err error) {
			applied[i], err = c.apply(&changes[i], now)
			return err
		})
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		return applied, nil
	})
}

// apply makes one change. Its error is a fault's.
func (c call) apply(ch *port.Change, now moment) (port.Applied, error) {
	s := c.b.space
	if len(s.steps) > 0 {
		if err := c.clear(func(st *step) bool { return st.hasKey(ch.Key) }); err != nil {
			return port.Applied{}, err
		}
		now = s.now()
	}
	a := port.Applied{Was: port.Value{Key: ch.Key}}
	fences := c.fencing()
	if a.Err = fences.pass(ch.Fence, port.Family(ch.Key)); a.Err != nil {
		return a, nil //nolint:nilerr // the refusal is this change's answer, not the call's
	}
	if a.Done = s.keys.holds(ch, now); !a.Done {
		c.b.counts.conflicts++
		a.Was = s.keys.show(ch.Key, false, now)
		return a, nil
	}
	fences.commit()
	if ch.Delete {
		a.Was.Found = s.keys.get(ch.Key, now) != nil
	}
	s.keys.change(ch, now)
	return a, nil
}

// Add takes what strconv.ParseInt takes for a number.
func (b *Backend) Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if err := port.CheckKey("key", key); err != nil {
		return 0, fmt.Errorf("memory: add: %w", err)
	}
	if err := port.CheckTTL(b.caps, strconv.Quote(key), ttl, true); err != nil {
		return 0, fmt.Errorf("memory: add: %w", err)
	}
	return do(ctx, b, "add", func(c call) (int64, error) { return c.add(key, delta, ttl) })
}

func (c call) add(key string, delta int64, ttl time.Duration) (int64, error) {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) > 0 {
		if err := c.clear(func(st *step) bool { return st.hasKey(key) }); err != nil {
			return 0, err
		}
	}
	now := s.now()
	s.keys.expire(now)
	v := s.keys.get(key, now)
	sum, end := int64(0), never
	switch {
	case v != nil:
		end = v.end
		var err error
		if sum, err = strconv.ParseInt(string(v.bytes), 10, 64); err != nil {
			return 0, fmt.Errorf("memory: add: the value of key %q is no 64-bit decimal number: %w", key, port.ErrInvalid)
		}
	case ttl > 0:
		end = now.after(ttl)
	}
	if delta > 0 && sum > math.MaxInt64-delta || delta < 0 && sum < math.MinInt64-delta {
		return 0, fmt.Errorf("memory: add: key %q: %d and %d leave the range of 64 bits: %w", key, sum, delta, port.ErrInvalid)
	}
	sum += delta
	s.keys.set(v, key, strconv.AppendInt(nil, sum, 10), end)
	return sum, nil
}

// Keys asks once, for what exists when the loop starts.
func (b *Backend) Keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := port.CheckPattern(pattern); err != nil {
			yield("", fmt.Errorf("memory: keys: %w", err))
			return
		}
		list, err := do(ctx, b, "keys", func(c call) ([]string, error) { return b.space.keyNames(), nil })
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range list {
			if !port.Match(pattern, key) {
				continue
			}
			if err := (call{b: b, ctx: ctx, name: "keys"}).alive(); err != nil {
				yield("", err)
				return
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (s *space) keyNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.keys.expire(now)
	list := make([]string, 0, len(s.keys.values))
	for key := range s.keys.values {
		list = append(list, key)
	}
	return list
}

// Clear is refused unless Config.AllowClear is set.
func (b *Backend) Clear(ctx context.Context) (int, error) {
	if !b.conf.AllowClear {
		return 0, fmt.Errorf("memory: clear: open with Config.AllowClear to allow it: %w", port.ErrUnsupported)
	}
	return do(ctx, b, "clear", func(c call) (int, error) {
		s := b.space
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := c.clear(func(st *step) bool { return len(st.batch.Changes) > 0 }); err != nil {
			return 0, err
		}
		s.keys.expire(s.now())
		n := len(s.keys.values)
		s.keys = keys{values: map[string]*value{}}
		return n, nil
	})
}
