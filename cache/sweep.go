package cache

import (
	"context"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Sweep removes from the store what invalidations by pattern, tag or clear have left there, and tells how much. It changes nothing for anyone
// who reads; without it such values go when their time to live ends. A value that is written meanwhile stays.
func (c *Cache[T]) Sweep(ctx context.Context) (int, error) {
	if c.invalid != nil {
		return 0, c.invalid
	}
	swept := 0
	var part []string
	for key, err := range c.b.Keys(ctx, glob(c.valueKey(""))+"*") {
		if err != nil {
			return swept, fmt.Errorf("cache %s: sweep: %w", c.node.name, err)
		}
		if part = append(part, key); len(part) == 200 {
			n, err := c.sweep(ctx, part)
			if swept += n; err != nil {
				return swept, err
			}
			part = part[:0]
		}
	}
	n, err := c.sweep(ctx, part)
	return swept + n, err
}

func (c *Cache[T]) sweep(ctx context.Context, keys []string) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	got, err := c.b.Get(ctx, append(slices.Clone(keys), c.digestKey())...)
	if err != nil {
		return 0, fmt.Errorf("cache %s: sweep: %w", c.node.name, err)
	}
	top, err := c.known(ctx, got[len(keys)])
	if err != nil {
		return 0, err
	}
	var changes []port.Change
	for i, key := range keys {
		v := view{key: key[len(c.valueKey("")):], seq: top}
		if err := c.judge(ctx, &v, got[i]); err != nil {
			return 0, err
		}
		if v.found && !v.live && v.record.kind != deleted {
			changes = append(changes, port.Change{Key: key, Delete: true, If: port.Equals, Old: v.raw})
		}
	}
	if len(changes) == 0 {
		return 0, nil
	}
	applied, err := c.b.Apply(ctx, changes...)
	if err != nil {
		return 0, fmt.Errorf("cache %s: sweep: %w", c.node.name, err)
	}
	n := 0
	for _, a := range applied {
		if a.Done {
			n++
		}
	}
	return n, nil
}

// glob is a pattern that matches s alone.
func glob(s string) string {
	var b []byte
	for i := range len(s) {
		switch s[i] {
		case '*', '?', '[', ']', '\\', '^', '-':
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(b)
}
