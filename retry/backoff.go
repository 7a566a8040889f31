package retry

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrInvalid is matched by what Check reports.
var ErrInvalid = errors.New("invalid")

const (
	defaultTries  = 5
	defaultFirst  = 100 * time.Millisecond
	defaultMax    = 30 * time.Second
	defaultFactor = 2
	defaultJitter = 0.1
)

// Backoff says how often something is tried and how long the waits between the tries are: First after the first
// failure, Factor times more after each further one, never more than Max.
//
// The zero value is in force with the defaults: five tries, and waits of 100, 200, 400 and 800 ms, each give or take a tenth.
type Backoff struct {
	Tries  int           // how often in all; negative: for ever; default 5
	First  time.Duration // the first wait; negative: none, nor any later; default 100 ms, or Max if that is less
	Max    time.Duration // the longest wait, jitter included; negative: no limit; default 30 s
	Factor float64       // how much longer each wait is than the one before, at least 1; default 2
	Jitter float64       // by what part a wait is longer or shorter at random, at most 1; negative: none; default 0.1
}

// Check reports what is wrong with b: an error that matches ErrInvalid, or nil.
func (b Backoff) Check() error {
	f := b.filled()
	switch {
	case !(f.Factor >= 1) || math.IsInf(f.Factor, 0):
		return fmt.Errorf("backoff: %w: factor %v is not a number from 1 up", ErrInvalid, b.Factor)
	case !(f.Jitter <= 1):
		return fmt.Errorf("backoff: %w: jitter %v is more than 1", ErrInvalid, b.Jitter)
	case f.First > f.Max:
		return fmt.Errorf("backoff: %w: the first wait %v is longer than the longest %v", ErrInvalid, f.First, f.Max)
	}
	return nil
}

// Spent reports whether so many failures have used up Tries.
func (b Backoff) Spent(failures int) bool {
	f := b.filled()
	return f.Tries > 0 && failures >= f.Tries
}

// Delay returns how long to wait after the failure of the given attempt; the first attempt is 1, and what is less
// counts as 1. rnd is a random number from 0 up to 1 and chooses a point of the jitter: 0 is the shortest wait, 0.5 the wait
// itself, 1 the longest. Near Max the span is cut at Max, so that the waits stay spread instead of gathering there.
//
// Delay is a pure function. It is never negative and never more than Max, whatever the fields hold.
func (b Backoff) Delay(attempt int, rnd float64) time.Duration {
	f := b.filled()
	limit := float64(f.Max)
	base := min(float64(f.First)*math.Pow(f.Factor, float64(max(attempt, 1)-1)), limit)
	low, high := base*(1-f.Jitter), min(base*(1+f.Jitter), limit)
	d := low + (high-low)*rnd
	switch {
	case !(d > 0): // NaN too
		return 0
	case d >= limit: // float64(math.MaxInt64) does not fit an int64
		return f.Max
	}
	return time.Duration(d)
}

// filled returns b with the defaults in place of zeros, and the values that mean "none" in place of negative ones.
func (b Backoff) filled() Backoff {
	switch {
	case b.Max == 0:
		b.Max = defaultMax
	case b.Max < 0:
		b.Max = math.MaxInt64
	}
	switch {
	case b.First == 0:
		b.First = min(defaultFirst, b.Max)
	case b.First < 0:
		b.First = 0
	}
	if b.Tries == 0 {
		b.Tries = defaultTries
	}
	if b.Factor == 0 {
		b.Factor = defaultFactor
	}
	switch {
	case b.Jitter == 0:
		b.Jitter = defaultJitter
	case b.Jitter < 0:
		b.Jitter = 0
	}
	return b
}
