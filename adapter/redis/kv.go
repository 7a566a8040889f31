package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

func checkKeys(what string, keys []string) error {
	for _, k := range keys {
		if err := port.CheckKey("key", k); err != nil {
			return fmt.Errorf("redis: %s: %w", what, err)
		}
	}
	return nil
}

// Get is one GET for each key.
func (b *Backend) Get(ctx context.Context, keys ...string) ([]port.Value, error) {
	if err := checkKeys("get", keys); err != nil {
		return nil, err
	}
	if err := b.alive(ctx, "get"); err != nil {
		return nil, err
	}
	values := make([]port.Value, len(keys))
	if len(keys) == 1 {
		values[0].Key = keys[0]
		return values, b.value(ctx, &values[0], b.pipeline.do(ctx, keys[0], b.client.B().Get().Key(b.space.key(keys[0])).Build()))
	}
	ask := make([]rueidis.Completed, len(keys))
	for i, k := range keys {
		values[i].Key = k
		ask[i] = b.client.B().Get().Key(b.space.key(k)).Build()
	}
	for i, r := range b.several(ctx, ask, func(i int) string { return keys[i] }) {
		if err := b.value(ctx, &values[i], r); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// several sends commands, each of one key. In a cluster those of several families are for several servers, and go straight.
func (b *Backend) several(ctx context.Context, commands []rueidis.Completed, key func(int) string) []rueidis.RedisResult {
	if len(commands) == 0 || b.clustered() && len(byFamily(len(commands), key)) > 1 {
		return b.client.DoMulti(ctx, commands...)
	}
	return b.pipeline.doAll(ctx, key(0), commands)
}

func (b *Backend) value(ctx context.Context, v *port.Value, r rueidis.RedisResult) error {
	m, err := r.ToMessage()
	if m.IsNil() {
		return nil
	}
	if err != nil {
		return b.fail(ctx, "get key "+strconv.Quote(v.Key), err, false)
	}
	v.Found = true
	v.Bytes, err = m.AsBytes()
	return b.fail(ctx, "get key "+strconv.Quote(v.Key), err, false)
}

// GetTTL is one script for the keys of each family.
func (b *Backend) GetTTL(ctx context.Context, keys ...string) ([]port.Value, error) {
	if err := checkKeys("get", keys); err != nil {
		return nil, err
	}
	if err := b.alive(ctx, "get"); err != nil {
		return nil, err
	}
	values := make([]port.Value, len(keys))
	for _, part := range byFamily(len(keys), func(i int) string { return keys[i] }) {
		names := make([]string, len(part))
		for k, i := range part {
			names[k] = b.space.key(keys[i])
		}
		m, err := b.runPiped(ctx, "get with time to live", keys[part[0]], b.scripts.get, names, nil)
		if err != nil {
			return nil, err
		}
		r := reply{list: m}
		for _, i := range part {
			values[i].Key = keys[i]
			one := reply{list: r.next()}
			if one.list.IsInt64() || r.err != nil {
				continue
			}
			text := one.next()
			values[i].Found = true
			values[i].Bytes, err = text.AsBytes()
			one.note(err)
			// A key in its last millisecond has 0 left, which would be no end.
			if ms := one.int(); ms >= 0 {
				values[i].TTL = time.Duration(max(ms, 1)) * time.Millisecond
			}
			r.note(one.err)
		}
		if r.err != nil {
			return nil, b.fail(ctx, "get with time to live", r.err, false)
		}
	}
	return values, nil
}

// byFamily are the indices of n names in groups of one family each, in the order of their first.
func byFamily(n int, name func(int) string) [][]int {
	var parts [][]int
	places := map[string]int{}
	for i := range n {
		family := port.Family(name(i))
		at, ok := places[family]
		if !ok {
			at = len(parts)
			places[family] = at
			parts = append(parts, nil)
		}
		parts[at] = append(parts[at], i)
	}
	return parts
}

// Apply pipelines changes without condition and fence, as one SET or DEL each, and runs the others one by one. When one fails after
// others were made, the error is [port.ErrUncertain].
func (b *Backend) Apply(ctx context.Context, changes ...port.Change) ([]port.Applied, error) {
	for _, c := range changes {
		if err := c.Check(b.caps); err != nil {
			return nil, fmt.Errorf("redis: apply: %w", err)
		}
	}
	if err := b.alive(ctx, "apply"); err != nil {
		return nil, err
	}
	out := make([]port.Applied, len(changes))
	for from := 0; from < len(changes); {
		to := from
		for to < len(changes) && plain(&changes[to]) {
			to++
		}
		var err error
		done := 0
		if to == from {
			to++
			err = b.change(ctx, &changes[from], &out[from])
		} else {
			done, err = b.plain(ctx, changes[from:to], out[from:to])
		}
		if err != nil {
			return nil, partly(from+done, err)
		}
		from = to
	}
	return out, nil
}

func plain(c *port.Change) bool { return c.If == port.Always && c.Fence.IsZero() }

// plain makes changes, and tells how many were made before one failed; one behind it may have been made too.
func (b *Backend) plain(ctx context.Context, changes []port.Change, out []port.Applied) (done int, err error) {
	if len(changes) == 1 {
		return 0, b.applied(ctx, &changes[0], &out[0], b.pipeline.do(ctx, changes[0].Key, b.command(&changes[0])))
	}
	commands := make([]rueidis.Completed, len(changes))
	for i := range changes {
		commands[i] = b.command(&changes[i])
	}
	for i, r := range b.several(ctx, commands, func(i int) string { return changes[i].Key }) {
		e := b.applied(ctx, &changes[i], &out[i], r)
		if e == nil {
			done++
		}
		err = cmp.Or(err, e)
	}
	return done, err
}

func (b *Backend) command(c *port.Change) rueidis.Completed {
	key := b.space.key(c.Key)
	if c.Delete {
		return b.client.B().Del().Key(key).Build()
	}
	set := b.client.B().Set().Key(key).Value(string(c.Value))
	switch c.TTL {
	case 0:
		return set.Build()
	case port.KeepTTL:
		return set.Keepttl().Build()
	default:
		return set.PxMilliseconds(port.Millis(c.TTL)).Build()
	}
}

func (b *Backend) applied(ctx context.Context, c *port.Change, a *port.Applied, r rueidis.RedisResult) error {
	m, err := r.ToMessage()
	if err != nil {
		return b.fail(ctx, "change key "+strconv.Quote(c.Key), err, true)
	}
	a.Done, a.Was.Key = true, c.Key
	if c.Delete {
		n, err := m.AsInt64()
		a.Was.Found = n > 0
		return b.fail(ctx, "change key "+strconv.Quote(c.Key), err, true)
	}
	return nil
}

// change makes one change that has a condition or a fence.
func (b *Backend) change(ctx context.Context, c *port.Change, a *port.Applied) error {
	if b.newer && c.If == port.Absent && c.Fence.IsZero() && c.TTL != port.KeepTTL {
		return b.claim(ctx, c, a)
	}
	keys := []string{b.space.key(c.Key), b.space.fences(port.Family(c.Key))}
	args := []string{
		flag(c.Delete), string(c.Value), strconv.Itoa(int(c.If)), string(c.Old), ttl(c.TTL),
		c.Fence.Name, strconv.FormatUint(c.Fence.Token, 10),
	}
	a.Was.Key = c.Key
	m, err := b.runPiped(ctx, "change key "+strconv.Quote(c.Key), c.Key, b.scripts.change, keys, args)
	if err != nil {
		return b.alone(a, err)
	}
	r := reply{list: m}
	switch r.int() {
	case 1:
		a.Done = true
		a.Was.Found = c.Delete && r.int() == 1
	case 0:
		b.counts.conflicts.Add(1)
		a.Was.Found = r.int() == 1
		text := r.next()
		if a.Was.Found {
			a.Was.Bytes, err = text.AsBytes()
			r.note(err)
		}
	default:
		b.counts.conflicts.Add(1)
		a.Err = &port.FenceError{Name: c.Fence.Name, Token: c.Fence.Token, Seen: uint64(r.int())}
	}
	return b.fail(ctx, "change key "+strconv.Quote(c.Key), r.err, true)
}

// alone keeps with the one change what is wrong with its key alone: a value of another type.
func (b *Backend) alone(a *port.Applied, err error) error {
	if errors.Is(err, port.ErrInvalid) {
		a.Err = err
		return nil
	}
	return err
}

// claim sets what is absent, or tells what is there, in one command.
func (b *Backend) claim(ctx context.Context, c *port.Change, a *port.Applied) error {
	a.Was.Key = c.Key
	set := b.client.B().Set().Key(b.space.key(c.Key)).Value(string(c.Value)).Nx().Get()
	command := set.Build
	if c.TTL != 0 {
		command = set.PxMilliseconds(port.Millis(c.TTL)).Build
	}
	m, err := b.pipeline.do(ctx, c.Key, command()).ToMessage()
	switch {
	case m.IsNil():
		a.Done = true
		return nil
	case err != nil:
		return b.alone(a, b.fail(ctx, "change key "+strconv.Quote(c.Key), err, true))
	}
	b.counts.conflicts.Add(1)
	a.Was.Found = true
	a.Was.Bytes, err = m.AsBytes()
	return b.fail(ctx, "change key "+strconv.Quote(c.Key), err, true)
}

// Add is one script around INCRBY.
func (b *Backend) Add(ctx context.Context, key string, delta int64, life time.Duration) (int64, error) {
	if err := checkKeys("add", []string{key}); err != nil {
		return 0, err
	}
	what := "add to key " + strconv.Quote(key)
	if err := port.CheckTTL(b.caps, what, life, true); err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	m, err := b.runPiped(ctx, what, key, b.scripts.add, []string{b.space.key(key)}, []string{number(delta), ttl(life)})
	if err != nil {
		for _, sign := range []string{"not an integer", "would overflow"} {
			if strings.Contains(err.Error(), sign) {
				return 0, fmt.Errorf("redis: %s: the value is no 64-bit decimal number, or the sum would be none: %w", what, port.ErrInvalid)
			}
		}
		return 0, err
	}
	n, err := m.AsInt64()
	return n, b.fail(ctx, what, err, true)
}
