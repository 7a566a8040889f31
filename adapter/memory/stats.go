package memory

import (
	"context"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

// counts are the counters of one handle, named as port.Stats says.
type counts struct {
	written, duplicates                      atomic.Int64
	fetched, redelivered                     atomic.Int64
	acked, returned, released                atomic.Int64
	stale, conflicts, signals, gapsToldAbout atomic.Int64
}

// Stats counts what went through this handle since it was opened. It is no operation for Fault.
func (b *Backend) Stats(ctx context.Context) (port.Stats, error) {
	if err := (call{b: b, ctx: ctx, name: "stats"}).alive(); err != nil {
		return port.Stats{}, err
	}
	c := &b.counts
	return port.Stats{Counters: map[string]int64{
		"written":     c.written.Load(),
		"duplicates":  c.duplicates.Load(),
		"fetched":     c.fetched.Load(),
		"redelivered": c.redelivered.Load(),
		"acked":       c.acked.Load(),
		"returned":    c.returned.Load(),
		"released":    c.released.Load(),
		"stale":       c.stale.Load(),
		"conflicts":   c.conflicts.Load(),
		"signals":     c.signals.Load(),
		"gaps":        c.gapsToldAbout.Load(),
	}}, nil
}
