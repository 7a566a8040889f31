package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// Keys of the store.
func (c *Cache[T]) valueKey(key string) string { return c.node.cache + "/v/" + key }
func (c *Cache[T]) tagKey(tag string) string   { return c.node.cache + "/t/" + tag }
func (c *Cache[T]) digestKey() string          { return c.node.cache + "/top" }
func (c *Cache[T]) marksKey() string           { return c.node.cache + "/marks" }

// view is what one look at the store has shown of a key.
type view struct {
	key     string
	found   bool
	raw     []byte // for the condition of a write
	record  record // of raw
	live    bool   // the record is a value, or says that there is none, and no invalidation hits it
	seq     uint64 // of the marks, for a record that is written after this look
	tags    []tagMark
	refs    []tagRef // of the record's tags
	own     []tagRef // of the tags that were asked for
	ticket  ticket
	timed   bool // expires is known: the view may become a near copy
	expires instant
}

// look reads a key with all that decides whether its record counts, and the marks of tags that it is to be written with.
func (c *Cache[T]) look(ctx context.Context, key string, tags []string) (view, error) {
	v := view{key: key, ticket: c.near.ticket(key), own: c.near.refs(tags), expires: never()}
	keys := make([]string, 0, 2+len(tags))
	keys = append(keys, c.valueKey(key), c.digestKey())
	for _, t := range tags {
		keys = append(keys, c.tagKey(t))
	}
	get := c.b.Get
	if v.timed = c.follow.heard.Load() != nil; v.timed {
		get = c.b.GetTTL
	}
	got, err := get(ctx, keys...)
	if err != nil {
		return v, fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	for i, t := range tags {
		v.tags = append(v.tags, tagMark{t, string(got[2+i].Bytes)})
	}
	if v.seq, err = c.known(ctx, got[1]); err != nil {
		return v, err
	}
	return v, c.judge(ctx, &v, got[0])
}

// known makes sure that this node knows the marks up to the store's digest, and returns that.
func (c *Cache[T]) known(ctx context.Context, digest port.Value) (uint64, error) {
	top, err := parseDigest(digest)
	if err != nil || top <= c.near.marks.Load().Top {
		return top, err
	}
	got, err := c.b.Get(ctx, c.marksKey())
	if err != nil {
		return 0, fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	whole, err := parseMarks(got[0])
	if err != nil {
		return 0, err
	}
	if whole.Top < top {
		return 0, fmt.Errorf("cache %s: the store has lost key %q, of which %q is the digest: Clear the cache: %w", c.node.name, c.marksKey(), c.digestKey(), port.ErrInvalid)
	}
	c.near.mark(whole)
	return top, nil
}

// judge reads the record of a value and finds whether it counts.
func (c *Cache[T]) judge(ctx context.Context, v *view, got port.Value) error {
	if v.found = got.Found; !v.found {
		return nil
	}
	var err error
	if v.record, err = parseRecord(got.Bytes); err != nil {
		return badRecord(got.Key, err)
	}
	v.raw = got.Bytes
	if got.TTL > 0 {
		v.expires = v.ticket.taken.plus(less(got.TTL))
	}
	r := &v.record
	if r.kind == deleted {
		return nil
	}
	if r.seq > v.seq {
		// It was written after the marks were read, or the store has lost them.
		digest, err := c.b.Get(ctx, c.digestKey())
		if err != nil {
			return fmt.Errorf("cache %s: %w", c.node.name, err)
		}
		if top, err := c.known(ctx, digest[0]); err != nil || r.seq > top {
			return err
		}
	}
	if c.near.marks.Load().hits(v.key, r.seq, r.seq) {
		return nil
	}
	v.live, err = c.tagsHold(ctx, v)
	return err
}

// tagsHold reports whether each of the record's tags is as it was when the record was written.
func (c *Cache[T]) tagsHold(ctx context.Context, v *view) (bool, error) {
	if len(v.record.tags) == 0 {
		return true, nil
	}
	if slices.Equal(v.record.tags, v.tags) {
		v.refs = v.own
		return true, nil
	}
	var names, keys []string
	for _, t := range v.record.tags {
		names = append(names, t.tag)
		keys = append(keys, c.tagKey(t.tag))
	}
	v.refs = c.near.refs(names)
	got, err := c.b.Get(ctx, keys...)
	if err != nil {
		return false, fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	for i, t := range v.record.tags {
		if string(got[i].Bytes) != t.mark {
			return false, nil
		}
	}
	return true, nil
}

// local is the view's record as a near copy.
func (c *Cache[T]) local(v *view) (*local[T], error) {
	l := &local[T]{kind: v.record.kind, version: v.record.version, seq: v.record.seq, tags: v.refs, expires: v.expires, filled: v.ticket.taken}
	if l.kind != holds {
		return l, nil
	}
	if err := c.conf.Codec.Decode(v.record.payload, &l.value); err != nil {
		return nil, fmt.Errorf("cache %s: the value of %q is no %T: %w: %w", c.node.name, v.key, l.value, port.ErrInvalid, err)
	}
	return l, nil
}

// condition is that the key still holds what the view has shown.
func (v *view) condition(ch port.Change) port.Change {
	if v.found {
		ch.If, ch.Old = port.Equals, v.raw
	} else {
		ch.If = port.Absent
	}
	return ch
}

// write makes a step, and makes it again while its outcome is unknown. After each answer that is not certain forget is called, so
// that nothing is served here that the step may have changed; the error is port.ErrUncertain only when it stays unknown.
func (c *Cache[T]) write(ctx context.Context, b port.Batch, forget func()) error {
	c.count.pending.Add(1)
	defer c.count.pending.Add(-1)
	for tries := 1; ; tries++ {
		err := c.b.Write(ctx, b)
		switch {
		case err == nil, errors.Is(err, port.ErrConflict):
			return err
		case errors.Is(err, port.ErrUnavailable) && tries == 1, errors.Is(err, port.ErrInvalid), errors.Is(err, port.ErrUnsupported):
			return fmt.Errorf("cache %s: %w", c.node.name, err)
		case errors.Is(err, port.ErrClosed):
			forget()
			return fmt.Errorf("cache %s: %w", c.node.name, err)
		}
		forget()
		if tries == mostWrites || ctx.Err() != nil || pause(ctx, waits.Delay(tries, c.node.rnd())) != nil {
			return fmt.Errorf("cache %s: it is unknown whether the change was made: %w: %w", c.node.name, port.ErrUncertain, err)
		}
	}
}

const mostWrites = 5

// lifetime is a time to live for a record of kind k.
func (c *Cache[T]) lifetime(k kind) time.Duration {
	ttl := c.conf.TTL
	switch k {
	case deleted:
		return c.conf.Keep
	case nothing:
		ttl = c.conf.Negative
	}
	if ttl < 0 {
		return 0
	}
	ttl -= time.Duration(float64(ttl) * c.conf.Jitter * c.node.rnd())
	return max(ttl, c.b.Caps().MinTTL, time.Millisecond)
}

// markLife is how long an invalidation must be remembered: longer than any record that was written without knowing of it. 0: for
// ever.
func (c *Cache[T]) markLife() time.Duration {
	if c.conf.TTL < 0 {
		return 0
	}
	return max(c.conf.TTL, c.conf.Negative) + 2*c.conf.Keep
}
