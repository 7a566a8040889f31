package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

// counters count what this node did since New.
type counters struct {
	misses, fills, refused, conflicts, lost, pending atomic.Int64
}

// Status is how this node and the fleet stand.
type Status struct {
	Node    string
	Leader  string   // the member that has followed longest; "" when nobody follows
	Members []Member // the leader first

	Hears     bool          // near copies are served now
	Heard     time.Duration // how long ago the log was last heard to its end; negative: never
	Bound     time.Duration // Config.Bound, and what the backend adds at a fail-over
	Lag       int64         // entries of the log that are not applied here yet; at most about 10,000 are counted; after a gap, all there are
	Pending   int64         // changes of this node that are under way
	History   int64         // entries that the log keeps
	Conflicts int64         // changes that were made again because others were faster
	Lost      int64         // Sets that the resolver, or a newer tombstone, refused
	Gaps      int64         // how often everything near was dropped because entries were missed
	Ahead     time.Duration // how far a clock of another node was ahead of this one's at most; over 500 ms it is not followed
	Fault     error         // what last went wrong while following; nil: nothing yet

	Misses  int64 // reads that asked the store
	Fills   int64 // values that became near copies
	Refused int64 // values that did not, because something was invalidated meanwhile
	Copies  int   // near copies; an estimate

	Audited   int64         // hits that were compared with the store
	Behind    int64         // of these, hits on what had been overwritten
	Staleness time.Duration // for how long at most it had been
}

// Status asks the backend for the members and the log. Where it does not answer, what this node knows by itself is returned beside the error.
func (c *Cache[T]) Status(ctx context.Context) (Status, error) {
	if c.invalid != nil {
		return Status{Node: c.node.id}, c.invalid
	}
	now := c.near.watch.now()
	s := Status{
		Node: c.node.id, Hears: c.follow.heard.Load().hears(now), Heard: -1, Bound: c.conf.Bound + c.b.Caps().FailoverGap,
		Pending: c.count.pending.Load(), Conflicts: c.count.conflicts.Load(), Lost: c.count.lost.Load(), Ahead: c.node.clock.skew(),
		Misses: c.count.misses.Load(), Fills: c.count.fills.Load(), Refused: c.count.refused.Load(), Copies: c.near.held.EstimatedSize(),
		Audited: c.audit.checked.Load(), Behind: c.audit.behind.Load(), Staleness: time.Duration(c.audit.worst.Load()),
	}
	if last := c.follow.last.Load(); last != nil {
		s.Heard = last.since(now)
	}
	s.Gaps, s.Fault = c.follow.faults()
	var err error
	if s.Members, err = c.members(ctx); err != nil {
		return s, err
	}
	if len(s.Members) > 0 {
		s.Leader = s.Members[0].Node
	}
	s.Lag, s.History, err = c.follow.lag(ctx)
	return s, err
}

// Hears reports whether near copies are served now.
func (c *Cache[T]) Hears() bool {
	return c.invalid == nil && c.follow.heard.Load().hears(c.near.watch.now())
}

func (f *follower) faults() (gaps int64, last error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gaps, f.fault
}

// at is up to where the log was applied.
func (f *follower) at() port.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place
}

// lag counts the entries of the log that are not applied, and those that it keeps.
func (f *follower) lag(ctx context.Context) (behind, kept int64, err error) {
	for info, err := range f.b.Inspect(ctx, f.topic.Name) {
		if err != nil {
			return 0, 0, fmt.Errorf("cache %s: log: %w", f.node.name, err)
		}
		kept = info.Count
	}
	for at := f.at(); behind < 10_000; {
		list, err := f.b.Read(ctx, port.Range{Topic: f.topic.Name, After: at, Max: 500})
		if errors.Is(err, port.ErrGap) { // what is missed is not there to be counted
			return kept, kept, nil
		}
		if err != nil || len(list) == 0 {
			return behind, kept, err
		}
		behind += int64(len(list))
		at = list[len(list)-1].Offset
	}
	return behind, kept, nil
}
