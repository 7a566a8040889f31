package nats

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// Get reads all keys at one moment.
func (b *Backend) Get(ctx context.Context, keys ...string) ([]port.Value, error) {
	return b.values(ctx, "get", keys, false)
}

// GetTTL reads as Get does; the end of a key stands in its record.
func (b *Backend) GetTTL(ctx context.Context, keys ...string) ([]port.Value, error) {
	return b.values(ctx, "get", keys, true)
}

func (b *Backend) values(ctx context.Context, what string, keys []string, withTTL bool) ([]port.Value, error) {
	for _, key := range keys {
		if err := port.CheckKey("key", key); err != nil {
			return nil, fmt.Errorf("nats: %s: %w", what, err)
		}
	}
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	subjects := make([]string, 0, len(keys))
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if s := b.space.key(key); !seen[s] {
			seen[s] = true
			subjects = append(subjects, s)
		}
	}
	found, err := b.cells(ctx, subjects)
	if err != nil {
		return nil, b.fail(ctx, what, err, false)
	}
	values := make([]port.Value, len(keys))
	for i, key := range keys {
		values[i] = port.Value{Key: key}
		r := found[b.space.key(key)]
		if r == nil || r.gone || r.end > 0 && r.end <= b.sinceEarly() {
			continue
		}
		values[i].Found, values[i].Bytes = true, r.data
		if withTTL && r.end > 0 {
			values[i].TTL = b.left(r.end)
		}
	}
	return values, nil
}

// left is how long it is until the records' time end, at most, in whole milliseconds and at least one.
func (b *Backend) left(end int64) time.Duration {
	_, late := b.clock.now()
	return max(time.Duration(end-millis(late))*time.Millisecond, time.Millisecond)
}

// Apply makes one change after the other.
func (b *Backend) Apply(ctx context.Context, changes ...port.Change) ([]port.Applied, error) {
	for i := range changes {
		if err := changes[i].Check(b.caps); err != nil {
			return nil, fmt.Errorf("nats: apply: %w", err)
		}
	}
	if err := b.alive(ctx, "apply"); err != nil {
		return nil, err
	}
	applied := make([]port.Applied, len(changes))
	for i := range changes {
		if err := b.roomLeft("apply"); err != nil && !changes[i].Delete {
			return nil, err
		}
		var err error
		if applied[i], err = b.apply(ctx, changes[i]); err != nil {
			return nil, err
		}
	}
	return applied, nil
}

func (b *Backend) apply(ctx context.Context, ch port.Change) (port.Applied, error) {
	var a port.Applied
	o := &op{what: "apply", writes: true, weight: 2, bytes: len(ch.Value), decide: func(t *tx) error {
		a = port.Applied{Was: port.Value{Key: ch.Key}}
		fences, err := t.fences(&port.Batch{Changes: []port.Change{ch}})
		if isFence(err) {
			a.Err = err
			return nil
		}
		if err != nil {
			return err
		}
		c, err := t.key(&ch)
		if ch.Delete && ch.If == port.Always {
			c, err = t.get(b.space.key(ch.Key))
			c = b.living(c)
		}
		if err != nil {
			return err
		}
		if a.Done = holds(&ch, c); !a.Done {
			a.Was.Found, a.Was.Bytes = c.found, c.data
			return nil
		}
		if fences != nil {
			fences()
		}
		if ch.Delete {
			if a.Was.Found = c.found; !c.found {
				return nil
			}
		}
		t.set(&ch, c)
		return nil
	}}
	// Where each record is synced, many share an atomic batch; elsewhere a record by itself is far cheaper than a batch.
	take := b.alone
	if b.host.synced() {
		take = b.lane("keys", "").do
	}
	if err := take(ctx, o); err != nil {
		return port.Applied{}, err
	}
	if !a.Done && a.Err == nil {
		b.counts.conflicts.Add(1)
	}
	return a, nil
}

// Add reads and writes under the condition that nothing came between, until it is so.
func (b *Backend) Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if err := port.CheckKey("key", key); err != nil {
		return 0, fmt.Errorf("nats: add: %w", err)
	}
	if err := port.CheckTTL(b.caps, strconv.Quote(key), ttl, true); err != nil {
		return 0, fmt.Errorf("nats: add: %w", err)
	}
	var sum int64
	var refused error
	o := &op{what: "add", writes: true, decide: func(t *tx) error {
		c, err := t.get(b.space.key(key))
		if err != nil {
			return err
		}
		c = b.living(c)
		ch := port.Change{Key: key, TTL: port.KeepTTL}
		sum, refused = 0, nil
		if !c.found {
			ch.TTL = ttl
		} else if sum, err = strconv.ParseInt(string(c.data), 10, 64); err != nil {
			refused = fmt.Errorf("nats: add: the value of key %q is no 64-bit decimal number: %w", key, port.ErrInvalid)
			return nil //nolint:nilerr // the refusal is the caller's answer; what else is in the round goes on
		}
		if delta > 0 && sum > math.MaxInt64-delta || delta < 0 && sum < math.MinInt64-delta {
			refused = fmt.Errorf("nats: add: key %q: %d and %d leave the range of 64 bits: %w", key, sum, delta, port.ErrInvalid)
			return nil
		}
		sum += delta
		ch.Value = strconv.AppendInt(nil, sum, 10)
		t.set(&ch, c)
		return nil
	}}
	if err := b.lane(addLane(key), "").do(ctx, o); err != nil {
		return 0, err
	}
	if refused != nil {
		return 0, refused
	}
	return sum, nil
}

// addLane gathers those who add to one key at the same time; a few keys share a lane.
func addLane(key string) string {
	h := hashOf(key)
	return "add " + number(uint64(h[0]%32))
}

func isFence(err error) bool {
	_, ok := errors.AsType[*port.FenceError](err)
	return ok
}

// Keys lists the subjects first; what it yields was there after that.
func (b *Backend) Keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := port.CheckPattern(pattern); err != nil {
			yield("", fmt.Errorf("nats: keys: %w", err))
			return
		}
		if err := b.alive(ctx, "keys"); err != nil {
			yield("", err)
			return
		}
		var subjects []string
		prefix := strings.TrimSuffix(b.space.keys(), ">")
		seen := map[string]bool{}
		err := b.subjects(ctx, b.space.keys(), func(s string) bool {
			key, ok := decodeKey(strings.TrimPrefix(s, prefix))
			if ok && port.Match(pattern, key) && !seen[s] {
				seen[s] = true
				subjects = append(subjects, s)
			}
			return true
		})
		for len(subjects) > 0 && err == nil {
			part := subjects[:min(len(subjects), multiSubjects)]
			subjects = subjects[len(part):]
			var found map[string]*record
			if found, err = b.cells(ctx, part); err != nil {
				break
			}
			for _, s := range part {
				r := found[s]
				if r == nil || r.gone || r.end > 0 && r.end <= b.sinceEarly() {
					continue
				}
				if err := b.alive(ctx, "keys"); err != nil {
					yield("", err)
					return
				}
				key, _ := decodeKey(strings.TrimPrefix(s, prefix))
				if !yield(key, nil) {
					return
				}
			}
		}
		if err != nil {
			yield("", b.fail(ctx, "keys", err, false))
		}
	}
}

// Clear is refused unless Config.AllowClear is set. It counts the keys first, so one that comes meanwhile may be cleared and not
// counted.
func (b *Backend) Clear(ctx context.Context) (int, error) {
	if !b.conf.AllowClear {
		return 0, fmt.Errorf("nats: clear: open with Config.AllowClear to allow it: %w", port.ErrUnsupported)
	}
	n := 0
	for _, err := range b.Keys(ctx, "*") {
		if err != nil {
			return 0, err
		}
		n++
	}
	if err := b.purge(ctx, b.space.keys(), 0); err != nil {
		return 0, b.fail(ctx, "clear", err, true)
	}
	return n, nil
}
