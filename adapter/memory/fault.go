package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/musterhq/muster/port"
)

// Op is a point in an operation at which Config.Fault is asked. It is asked outside of every lock, so it may use other handles
// of the store.
type Op struct {
	Handle int    // which open of the store, from 1
	N      int    // which question to this handle, from 1: each point of each operation has a number of its own
	Name   string // the method's in lower case, as in "settle" and "watchleases"
	Point  Point
}

// Point is where in an operation.
type Point int

const (
	Before  Point = iota // nothing is applied yet
	Between              // some of it is applied: see [Fault]
	After                // it is applied, and not answered
)

// String is "before", "between" or "after".
func (p Point) String() string {
	switch p {
	case Before:
		return "before"
	case Between:
		return "between"
	case After:
		return "after"
	default:
		return "unknown point"
	}
}

// Fault is what goes wrong at a point. The zero Fault is nothing. Delay comes first, then Cut, then Err.
//
// Between is asked between the settlements of one Settle, the holds of one Extend, the changes of one Apply and the leases of
// one Renew or Release, which are each whole on their own. Where the backend is Stepwise it is also asked after a step of
// several parts was decided and before each of its parts, and between the parts of another's step that are finished on the way.
// What a loop over Keys or Inspect asks for is one operation. Caps, Stats, Close and the news of a Listen are none.
type Fault struct {
	Delay time.Duration // waits, at most until the ctx of the call or the handle ends
	// Err is answered instead. Before: nothing is applied, and it matches ErrUnavailable unless it matches another error of
	// package port. Between: nothing more is applied by this call, and what is left is answered with it and ErrUncertain.
	// After: all of it is applied, and it matches ErrUncertain.
	Err error
	// Twice carries the operation out a second time after the first, as a network that repeats a request. The answer is the
	// second one's. The second time asks for no faults.
	Twice bool
	// Cut ends the handle as if its process were gone: this call and all others answer ErrClosed from now on. Its loans
	// and leases stay, and run out.
	Cut bool
}

// none is the answer of an operation that answers nothing.
type none = struct{}

// call is one operation on its way through a handle.
type call struct {
	b      *Backend
	ctx    context.Context
	name   string
	faults *faults // nil where nobody asks for faults
}

type faults struct{ twice, quiet bool }

// do carries out op with faults around it.
func do[T any](ctx context.Context, b *Backend, name string, op func(call) (T, error)) (T, error) {
	c := call{b: b, ctx: ctx, name: name}
	var zero T
	if err := c.alive(); err != nil {
		return zero, err
	}
	if b.conf.Fault == nil {
		return op(c)
	}
	c.faults = &faults{}
	if err := c.ask(Before); err != nil {
		return zero, err
	}
	v, err := op(c)
	if lost := c.ask(After); lost != nil {
		return zero, lost
	}
	if c.faults.twice {
		c.faults.quiet = true
		return op(c)
	}
	return v, err
}

// each is do for an operation that answers n errors.
func each(ctx context.Context, b *Backend, name string, n int, op func(call) []error) []error {
	errs, err := do(ctx, b, name, func(c call) ([]error, error) { return op(c), nil })
	if err != nil {
		return all(n, err)
	}
	return errs
}

// all is err n times.
func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// alive is nil while neither the handle nor the ctx has ended.
func (c call) alive() error {
	if c.b.isClosed() {
		return fmt.Errorf("memory: %s: %w", c.name, port.ErrClosed)
	}
	if c.ctx.Err() != nil {
		return fmt.Errorf("memory: %s: %w", c.name, context.Cause(c.ctx))
	}
	return nil
}

// ask asks for a fault at p, and carries it out.
func (c call) ask(p Point) error {
	b := c.b
	if c.faults == nil || c.faults.quiet || b.isClosed() {
		return nil
	}
	f := b.conf.Fault(Op{Handle: b.handle, N: int(b.points.Add(1)), Name: c.name, Point: p})
	c.faults.twice = c.faults.twice || f.Twice
	if f.Delay > 0 {
		c.sleep(int64(f.Delay), nil)
		if err := c.alive(); err != nil {
			return c.failed(p, err)
		}
	}
	if f.Cut {
		b.leave()
		return c.failed(p, c.alive())
	}
	if f.Err != nil {
		return c.failed(p, fmt.Errorf("memory: %s: %w", c.name, f.Err))
	}
	return nil
}

// failed is err as an answer at p. It is certain before anything was applied, and only then.
func (c call) failed(p Point, err error) error {
	switch {
	case p != Before && errors.Is(err, port.ErrUnavailable):
		return fmt.Errorf("%w: %s", port.ErrUncertain, err.Error()) // to wrap it would promise that nothing happened
	case p != Before:
		return fmt.Errorf("%w: %w", port.ErrUncertain, err)
	case says(err) || c.ctx.Err() != nil:
		return err
	default:
		return fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
}

// says reports whether err matches an error of package port.
func says(err error) bool {
	for _, known := range []error{
		port.ErrNotFound, port.ErrConflict, port.ErrDuplicate, port.ErrHeld, port.ErrLost, port.ErrStale, port.ErrGap,
		port.ErrInvalid, port.ErrUnsupported, port.ErrUnavailable, port.ErrUncertain, port.ErrClosed,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// between asks for a fault between two parts. The space is locked when it is called and when it returns, and not while
// it asks, so whatever was looked up before has to be looked up again.
func (c call) between() error {
	if c.faults == nil || c.faults.quiet {
		return nil
	}
	return c.unlocked()
}

// unlocked is between for a step that others may see the middle of: it lets go of the lock even when nobody asks.
func (c call) unlocked() error {
	s := c.b.space
	s.mu.Unlock()
	defer s.mu.Lock()
	if err := c.ask(Between); err != nil {
		return err
	}
	if err := c.alive(); err != nil {
		return c.failed(Between, err)
	}
	return nil
}

// never is the time of what does not come, in nanoseconds.
const never = int64(math.MaxInt64)

// sleep returns when ns have passed, wake is signalled, or the ctx or the handle ends.
func (c call) sleep(ns int64, wake <-chan none) {
	var alarm <-chan time.Time
	if ns != never {
		t := time.NewTimer(time.Duration(ns))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-wake:
	case <-alarm:
	case <-c.ctx.Done():
	case <-c.b.closed:
	}
}
