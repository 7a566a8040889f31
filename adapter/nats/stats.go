package nats

import (
	"context"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

// counts are the counters of one backend.
type counts struct {
	written, duplicates, fetched, acked, returned, released, redelivered, stale, conflicts, signals, gaps atomic.Int64
}

// Stats asks the server nothing.
func (b *Backend) Stats(ctx context.Context) (port.Stats, error) {
	if err := b.alive(ctx, "stats"); err != nil {
		return port.Stats{}, err
	}
	c := &b.counts
	return port.Stats{Counters: map[string]int64{
		"written":     c.written.Load(),
		"duplicates":  c.duplicates.Load(),
		"fetched":     c.fetched.Load(),
		"acked":       c.acked.Load(),
		"returned":    c.returned.Load(),
		"released":    c.released.Load(),
		"redelivered": c.redelivered.Load(),
		"stale":       c.stale.Load(),
		"conflicts":   c.conflicts.Load(),
		"signals":     c.signals.Load(),
		"gaps":        c.gaps.Load(),
	}}, nil
}
