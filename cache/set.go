package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// mostConflicts is how often a change looks again because others were faster.
const mostConflicts = 100

// Set gives key a value, with tags, on every node. It says that v is the key's value now; what may be out of date by now (because it
// was read from its source before) belongs into [Cache.Load], which loses against invalidations.
//
// Where the store has a value, Config.Resolver decides, and a [ConflictError] tells that nothing was set. After port.ErrUncertain it
// may be set. An invalidation by pattern or tag that comes while Set runs may invalidate what it sets.
func (c *Cache[T]) Set(ctx context.Context, key string, v T, tags ...string) error {
	if err := c.check(key); err != nil {
		return err
	}
	if err := c.checkTags(tags); err != nil {
		return err
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	first, err := c.look(ctx, key, tags)
	if err != nil {
		return err
	}
	// The version, the marks and the tags are those of the first look: what comes after it is concurrent with this call.
	version := c.node.version(first.record.version.Clock)
	for now, tries := &first, 1; ; tries++ {
		value, r, err := c.resolve(now, Versioned[T]{v, version})
		if err != nil {
			return err
		}
		r.seq, r.tags = first.seq, first.tags
		err = c.set(ctx, now, &r, first.own, value)
		if !errors.Is(err, port.ErrConflict) {
			return err
		}
		c.count.conflicts.Add(1)
		if tries == mostConflicts {
			return fmt.Errorf("cache %s: set %q: others have changed it %d times meanwhile: %w", c.node.name, key, tries, port.ErrConflict)
		}
		next, err := c.look(ctx, key, nil)
		if err != nil {
			return err
		}
		now = &next
	}
}

// resolve decides between what v has shown and a Set, and returns what to write.
func (c *Cache[T]) resolve(v *view, set Versioned[T]) (T, record, error) {
	r := record{kind: holds, version: set.Version}
	lost := func(reason string) (T, record, error) {
		c.count.lost.Add(1)
		return set.Value, r, &ConflictError{Key: v.key, Reason: reason, Version: set.Version, Stored: v.record.version}
	}
	switch stored := v.record.version; {
	case !v.found:
	case v.record.kind == deleted && stored.Compare(set.Version) > 0:
		return lost("it was deleted after that: " + difference(stored, set.Version))
	case v.live && v.record.kind == holds:
		l, err := c.local(v)
		if err != nil {
			return set.Value, r, err
		}
		switch d := c.conf.Resolver.Resolve(Versioned[T]{l.value, stored}, set); d.Verdict {
		case Replace:
		case Combine:
			set.Value = d.Value
		default:
			return lost(d.Reason)
		}
	}
	// Versions of one key only grow, whatever the resolver says: near copies are compared by them.
	if v.found && r.version.Compare(v.record.version) < 0 {
		r.version.Clock = c.node.clock.next(v.record.version.Clock)
	}
	return set.Value, r, nil
}

// set writes r over what v has shown, with its entry of the log.
func (c *Cache[T]) set(ctx context.Context, v *view, r *record, refs []tagRef, value T) error {
	ttl := c.lifetime(holds)
	ch, err := c.change(v, r, value, ttl)
	if err != nil {
		return err
	}
	m, err := Op{Kind: OpSet, Names: []string{v.key}, Version: r.version}.message(c.follow.topic.Name)
	if err != nil {
		return err
	}
	t, sent := c.near.ticket(v.key), c.near.watch.now()
	b := port.Batch{ID: r.version.Op, Changes: []port.Change{ch}, Messages: []port.Message{m}}
	if err := c.write(ctx, b, func() { c.near.forget(v.key) }); err != nil {
		return err
	}
	c.near.drop(v.key, r.version)
	c.keep(v.key, t, c.written(r, refs, value, ttl, sent))
	return nil
}

// Delete removes the keys on every node. Their tombstones, kept for Config.Keep, see to it that no load that is under way anywhere brings an
// older value back. A deletion comes after whatever it finds, so it loses to nothing. Many keys are deleted in portions of 200, each
// one step.
func (c *Cache[T]) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := c.check(key); err != nil {
			return err
		}
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	for part := range slices.Chunk(keys, 200) {
		if err := c.delete(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache[T]) delete(ctx context.Context, keys []string) error {
	for range mostConflicts {
		err := c.deleteOnce(ctx, keys)
		if !errors.Is(err, port.ErrConflict) {
			return err
		}
		c.count.conflicts.Add(1)
	}
	return fmt.Errorf("cache %s: delete %d keys from %q on: others have changed one of them %d times meanwhile: %w", c.node.name, len(keys), keys[0], mostConflicts, port.ErrConflict)
}

func (c *Cache[T]) deleteOnce(ctx context.Context, keys []string) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = c.valueKey(key)
	}
	got, err := c.b.Get(ctx, names...)
	if err != nil {
		return fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	var seen uint64
	for _, g := range got {
		if r, err := parseRecord(g.Bytes); err == nil { // what is no record is deleted, too
			seen = max(seen, r.version.Clock)
		}
	}
	r := record{kind: deleted, version: c.node.version(seen)}
	b := port.Batch{ID: r.version.Op}
	for i, g := range got {
		v := view{found: g.Found, raw: g.Bytes}
		b.Changes = append(b.Changes, v.condition(port.Change{Key: names[i], Value: r.bytes(), TTL: c.lifetime(deleted)}))
	}
	m, err := Op{Kind: OpDelete, Names: keys, Version: r.version}.message(c.follow.topic.Name)
	if err != nil {
		return err
	}
	b.Messages = []port.Message{m}
	err = c.write(ctx, b, func() {
		for _, key := range keys {
			c.near.forget(key)
		}
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		c.near.drop(key, r.version)
	}
	return nil
}
