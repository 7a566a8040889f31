package hold

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Hold is what a function that runs under Keep can ask about what is held. It is safe for concurrent use.
type Hold struct {
	terms Terms
	term  atomic.Pointer[term] // nil: nothing is held
	first term                 // the one that most have alone
}

// term is the time from one successful renewal on.
type term struct {
	sent  Instant
	wall  int64        // sent, in nanoseconds since 1970
	limit atomic.Int64 // nanoseconds since sent, by the clocks that glance reads: held until then
}

// passed is glance().Sub(sent) of a Clock that nothing jumps, at the price of reading the time.
func (t *term) passed() time.Duration {
	now := time.Now()
	return max(now.Sub(t.sent.at), time.Duration(now.UnixNano()-t.wall))
}

// Held reports whether it is held now. It compares the clock itself and needs nobody to tell it: it is false in time even if
// the process was stopped and the ctx has not ended yet. It costs one reading of the clock and does not allocate.
//
// While it is false, ctx may still go on: after the keeper was not scheduled for more than half of Drain (it looks four
// times per Drain, and is late from a quarter on), nothing counts as held until a renewal succeeds.
func (h *Hold) Held() bool {
	t := h.term.Load()
	if t == nil {
		return false
	}
	limit := time.Duration(t.limit.Load())
	if h.terms.Clock.Jump != nil {
		return h.terms.Clock.glance().Sub(t.sent) < limit
	}
	return t.passed() < limit
}

// Until returns the moment until which nobody else can hold, as far as the last renewal goes; the zero time when nothing
// is held any more. It is for display: only Held compares all clocks.
func (h *Hold) Until() time.Time {
	t := h.term.Load()
	if t == nil {
		return time.Time{}
	}
	return t.sent.Time().Add(h.terms.Valid)
}

// Guard runs fn if it is held, and checks again afterwards. An error that matches Config.Lost means that fn was not run, or,
// joined to fn's own error, that fn may have done something after the loss.
func (h *Hold) Guard(fn func() error) error {
	if !h.Held() {
		return fmt.Errorf("hold: not held, so not done: %w", h.terms.Lost)
	}
	err := fn()
	if !h.Held() {
		return errors.Join(err, fmt.Errorf("hold: not held any more when it was done: %w", h.terms.Lost))
	}
	return err
}
