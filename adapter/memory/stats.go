package memory

import (
	"context"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

// counts are the counters of one handle, named as port.Stats says. Those of signals have no lock around them, the others that of the
// space.
type counts struct {
	written, duplicates       int64
	fetched, redelivered      int64
	acked, returned, released int64
	stale, conflicts          int64
	signals, gapsToldAbout    atomic.Int64
}

// Stats counts what went through this handle since it was opened. It is no operation for Fault.
func (b *Backend) Stats(ctx context.Context) (port.Stats, error) {
	if err := (call{b: b, ctx: ctx, name: "stats"}).alive(); err != nil {
		return port.Stats{}, err
	}
	c := &b.counts
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	return port.Stats{Counters: map[string]int64{
		"written":     c.written,
		"duplicates":  c.duplicates,
		"fetched":     c.fetched,
		"redelivered": c.redelivered,
		"acked":       c.acked,
		"returned":    c.returned,
		"released":    c.released,
		"stale":       c.stale,
		"conflicts":   c.conflicts,
		"signals":     c.signals.Load(),
		"gaps":        c.gapsToldAbout.Load(),
	}}, nil
}
