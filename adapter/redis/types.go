package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// typeOf is the type that the server has for the keys of a kind, the first word of a key behind its namespace.
func typeOf(kind string) string {
	switch kind {
	case "kv", "janitor":
		return "string"
	case "families", "topics", "steps", "known", "done", "held":
		return "set"
	case "topic", "fences", "group", "state", "own", "lent", "leases":
		return "hash"
	case "later", "loans", "wait":
		return "zset"
	case "log":
		return "stream"
	default:
		return ""
	}
}

// misplaced asks which of the keys holds a value of another type than it should: the server's own error does not name it. "" when
// it is not to be found out.
func (b *Backend) misplaced(ctx context.Context, keys []string) string {
	ask := make([]rueidis.Completed, len(keys))
	for i, k := range keys {
		ask[i] = b.client.B().Type().Key(k).Build()
	}
	for i, r := range b.client.DoMulti(ctx, ask...) {
		is, err := r.ToString()
		if err != nil {
			return ""
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(keys[i], b.space.prefix), ":")
		if should := typeOf(kind); is != "none" && is != should {
			return fmt.Sprintf("the key %q is a %s and should be a %s", keys[i], is, should)
		}
	}
	return ""
}
