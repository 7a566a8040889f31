package once

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// Seen reports whether id was seen before, and marks it as seen for ttl, in one atomic step: of all who ask, one is told false.
// It is the plain de-duplication of what may be lost: who is told false and dies has seen it. For work that must be done, use
// [Do].
//
// port.ErrInvalid for an empty id or a ttl that is not positive. An outcome that stays unknown is port.ErrUncertain: it may be
// marked.
func Seen(ctx context.Context, kv port.KV, id string, ttl time.Duration) (bool, error) {
	if id == "" || ttl <= 0 {
		return false, fmt.Errorf("once: id %q is empty or ttl %v is not positive: %w", id, ttl, port.ErrInvalid)
	}
	c := newClaim(Ledger{KV: kv, Prefix: "seen."}, id)
	first, _, err := c.change(ctx, port.Change{Value: c.bytes, If: port.Absent, TTL: ttl})
	if err != nil {
		return false, fmt.Errorf("once: seen %q: %w", id, err)
	}
	return !first, nil
}
