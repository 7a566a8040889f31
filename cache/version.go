package cache

import (
	"cmp"
	"sync"
	"time"
)

// maxAhead is how far a version from elsewhere may pull this node's clock beyond its own time.
const maxAhead = 500 * time.Millisecond

// Version orders the writes of one key: by Clock, then Priority, then Node, then Op. No two writes have the same one.
type Version struct {
	Clock    uint64 `json:"clock"`              // hybrid logical clock: 48 bits of Unix milliseconds, 16 of counter
	Priority uint8  `json:"priority,omitempty"` // of the writing node: Config.Priority
	Node     string `json:"node"`               // the writing node: Config.Node
	Op       string `json:"op"`                 // of this write alone
}

// Compare is -1 when v is older than w, 1 when it is newer, and 0 when both are the same write.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Clock, w.Clock), cmp.Compare(v.Priority, w.Priority), cmp.Compare(v.Node, w.Node), cmp.Compare(v.Op, w.Op))
}

// Time is the wall time in the version's clock, by the writer's clock or ahead of it, in milliseconds.
func (v Version) Time() time.Time { return time.UnixMilli(int64(v.Clock >> 16)) }

// hybrid is a hybrid logical clock (Kulkarni, Demirbas and others, "Logical Physical Clocks", 2014): it never goes back, it
// follows the wall clock, and it passes what it has seen.
type hybrid struct {
	mu    sync.Mutex
	wall  func() time.Time // default time.Now
	last  uint64
	ahead time.Duration // the most that a version from elsewhere was ahead of this node's wall clock
}

// next is a clock value over each that was given out before and over seen. A seen value that is ahead of the wall clock by more than
// maxAhead is passed, too, but it pulls this clock no further than that: a key that a node with a wrong clock has written
// stays writable, and the other keys do not inherit the error.
func (h *hybrid) next(seen uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	wall := time.Now
	if h.wall != nil {
		wall = h.wall
	}
	now := wall()
	own := uint64(now.UnixMilli()) << 16
	limit := uint64(now.Add(maxAhead).UnixMilli()) << 16
	if seen > own {
		h.ahead = max(h.ahead, time.UnixMilli(int64(seen>>16)).Sub(now))
	}
	h.last = max(h.last+1, own, min(seen+1, limit))
	return max(h.last, seen+1)
}

// skew is how far a version from elsewhere was ahead of this node at most.
func (h *hybrid) skew() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ahead
}
