package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// InvalidatePattern makes every value invalid, on every node, whose key matches the glob (see port.Match). It is one step, however
// many keys there are: values are recognised as invalid when they are looked at, and [Cache.Sweep] removes them from the store. A load that
// is under way loses against it.
//
// The last 1,024 patterns are kept, each for as long as a value may live; with one more, everything is invalid.
func (c *Cache[T]) InvalidatePattern(ctx context.Context, glob string) error {
	if c.invalid != nil {
		return c.invalid
	}
	if err := port.CheckPattern(glob); err != nil {
		return fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	return c.invalidate(ctx, Op{Kind: OpPattern, Names: []string{glob}})
}

// Clear makes every value invalid, on every node. It is one step, as [Cache.InvalidatePattern] is.
func (c *Cache[T]) Clear(ctx context.Context) error {
	return c.invalidate(ctx, Op{Kind: OpClear})
}

// invalidate makes the next mark.
func (c *Cache[T]) invalidate(ctx context.Context, op Op) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	for range mostConflicts {
		err := c.invalidateOnce(ctx, op)
		if !errors.Is(err, port.ErrConflict) {
			return err
		}
		c.count.conflicts.Add(1)
	}
	return fmt.Errorf("cache %s: %s: others have invalidated %d times meanwhile: %w", c.node.name, op.Kind, mostConflicts, port.ErrConflict)
}

func (c *Cache[T]) invalidateOnce(ctx context.Context, op Op) error {
	got, err := c.b.Get(ctx, c.digestKey(), c.marksKey())
	if err != nil {
		return fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	top, err := parseDigest(got[0])
	if err != nil {
		return err
	}
	whole, err := parseMarks(got[1])
	if err != nil && op.Kind != OpClear { // a clear mends what is lost
		return err
	}
	if whole == nil || whole.Top != top {
		if op.Kind != OpClear {
			return fmt.Errorf("cache %s: the marks have changed while they were read: %w", c.node.name, port.ErrConflict)
		}
		whole = &marks{Top: max(top, c.near.marks.Load().Top)}
	}
	glob := ""
	if op.Kind == OpPattern {
		glob = op.Names[0]
	}
	next := whole.add(glob, op.Kind == OpClear, c.markLife())
	op.Seq, op.Prev = next.Top, whole.Top
	if next.Clear == next.Top {
		op.Kind, op.Names = OpClear, nil
	}
	op.Version = c.node.version(0)
	m, err := op.message(c.follow.topic.Name)
	if err != nil {
		return err
	}
	before := view{found: got[0].Found, raw: got[0].Bytes}
	b := port.Batch{
		ID: op.Version.Op,
		Changes: []port.Change{
			before.condition(port.Change{Key: c.digestKey(), Value: next.digest()}),
			{Key: c.marksKey(), Value: next.whole()},
		},
		Messages: []port.Message{m},
	}
	if err := c.write(ctx, b, c.near.reset); err != nil {
		return err
	}
	c.near.mark(next)
	return nil
}

// InvalidateTag makes every value invalid, on every node, that was set or loaded with one of the tags. It is one step, as
// [Cache.InvalidatePattern] is; at most 200 tags.
func (c *Cache[T]) InvalidateTag(ctx context.Context, tags ...string) error {
	if len(tags) == 0 {
		return c.invalid
	}
	if err := c.checkTags(tags); err != nil {
		return err
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	op := Op{Kind: OpTag, Names: tags, Version: c.node.version(0)}
	m, err := op.message(c.follow.topic.Name)
	if err != nil {
		return err
	}
	b := port.Batch{ID: op.Version.Op, Messages: []port.Message{m}}
	for _, tag := range tags {
		b.Changes = append(b.Changes, port.Change{Key: c.tagKey(tag), Value: []byte(op.Version.Op), TTL: c.markLife()})
	}
	drop := func() {
		for _, tag := range tags {
			c.near.dropTag(tag)
		}
	}
	if err := c.write(ctx, b, drop); err != nil {
		return err
	}
	drop()
	return nil
}

// maxTags is how many tags a value may have, and how many are invalidated at once.
const maxTags = 200

func (c *Cache[T]) checkTags(tags []string) error {
	if c.invalid != nil {
		return c.invalid
	}
	if len(tags) > maxTags {
		return fmt.Errorf("cache %s: %d tags, at most %d are allowed: %w", c.node.name, len(tags), maxTags, port.ErrInvalid)
	}
	for i, tag := range tags {
		if tag == "" {
			return fmt.Errorf("cache %s: a tag is empty: %w", c.node.name, port.ErrInvalid)
		}
		if err := port.CheckKey("cache "+c.node.name+": tag in the store", c.tagKey(tag)); err != nil {
			return err
		}
		if slices.Contains(tags[:i], tag) {
			return fmt.Errorf("cache %s: tag %q is given twice: %w", c.node.name, tag, port.ErrInvalid)
		}
	}
	return nil
}
