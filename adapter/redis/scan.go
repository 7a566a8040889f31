package redis

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// portion is how many keys of the server one SCAN looks at.
const portion = 1000

// Keys scans the whole database of the server, in portions, and keeps the keys that it has yielded in memory until the loop ends.
func (b *Backend) Keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := port.CheckPattern(pattern); err != nil {
			yield("", fmt.Errorf("redis: keys: %w", err))
			return
		}
		seen := map[string]bool{}
		err := b.scan(ctx, "keys", b.glob(pattern), func(keys []string) (bool, error) {
			for _, key := range keys {
				name := b.space.keyName(key)
				if seen[name] || !port.Match(pattern, name) {
					continue
				}
				seen[name] = true
				if !yield(name, nil) {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			yield("", err)
		}
	}
}

// glob is a pattern of the server that matches at least what pattern does: the literal text at its head goes along.
func (b *Backend) glob(pattern string) string {
	head := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		head = pattern[:i]
	}
	key := b.space.key(head)
	if !strings.ContainsAny(head, "./") && head != pattern {
		key = strings.TrimSuffix(key, "}") // the family may go on
		if head == "" {
			key = b.space.prefix + "kv:"
		}
	}
	if head != pattern {
		return escape(key) + "*"
	}
	return escape(key)
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// Clear scans as Keys does, and unlinks in portions.
func (b *Backend) Clear(ctx context.Context) (int, error) {
	if !b.clear {
		return 0, fmt.Errorf("redis: clear: this backend was opened without Config.AllowClear: %w", port.ErrUnsupported)
	}
	count := 0
	err := b.scan(ctx, "clear", escape(b.space.prefix+"kv:")+"*", func(keys []string) (bool, error) {
		unlink := make([]rueidis.Completed, len(keys))
		for i, k := range keys {
			unlink[i] = b.client.B().Unlink().Key(k).Build()
		}
		for _, r := range b.client.DoMulti(ctx, unlink...) {
			n, err := r.AsInt64()
			if err != nil {
				return false, b.fail(ctx, "clear", err, true)
			}
			count += int(n)
		}
		return true, nil
	})
	return count, err
}
