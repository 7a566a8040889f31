package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ErrRetried is matched by the errors that Do returns after more than one try. A Do around it passes such an error on at
// once, so that layers of retrying do not multiply: five tries in five tries are five calls, not twenty-five.
var ErrRetried = errors.New("retried in vain")

// Policy is how Do goes about it. The zero value retries by the default Backoff.
type Policy struct {
	Backoff
	PerTry  time.Duration                                    // how long the ctx of one try lasts; default no limit
	OnRetry func(attempt int, wait time.Duration, err error) // called before each wait with the try that failed; default none
	Again   bool                                             // also retry what a Do inside has retried in vain; default false
}

// Check reports what is wrong with p: an error that matches ErrInvalid, or nil.
func (p Policy) Check() error {
	if p.PerTry < 0 {
		return fmt.Errorf("retry: %w: the time per try %v is negative", ErrInvalid, p.PerTry)
	}
	if err := p.Backoff.Check(); err != nil {
		return fmt.Errorf("retry: %w", err)
	}
	return nil
}

// Do calls fn until it returns nil, and waits by p in between. There is always at least one try, even if ctx has ended;
// only an invalid policy is refused before it, with ErrInvalid.
//
// Do gives up, with fn's last error, when
//   - the tries are used up;
//   - the error is Permanent;
//   - the error matches ErrRetried, and p.Again is false;
//   - ctx has ended: then ctx's cause is joined to it. The wait ends with ctx, a running try by heeding its own ctx.
//
// What Do returns after more than one try matches ErrRetried and says how many tries there were. An error marked by
// [After] sets the wait in place of the Backoff, even beyond Max and without jitter.
//
// The ctx of a try ends after p.PerTry with context.DeadlineExceeded, which is an error like any other: the next try
// follows. Do runs fn on the caller's goroutine, so it lasts as long as fn does, and a panic passes through.
func Do(ctx context.Context, p Policy, fn func(context.Context) error) error {
	if err := p.Check(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := try(ctx, p.PerTry, fn)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return gaveUp(attempt, err, context.Cause(ctx))
		}
		if IsPermanent(err) || p.Spent(attempt) || errors.Is(err, ErrRetried) && !p.Again {
			return gaveUp(attempt, err, nil)
		}
		wait, given := AfterDelay(err)
		if !given {
			wait = p.Delay(attempt, rand.Float64())
		}
		if p.OnRetry != nil {
			p.OnRetry(attempt, wait, err)
		}
		if cause := pause(ctx, wait); cause != nil {
			return gaveUp(attempt, err, cause)
		}
	}
}

func try(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	if limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	return fn(ctx)
}

// pause returns nil after d, or the cause of ctx's end if that comes first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure is what is left after the last try.
type failure struct {
	tries int
	last  error
	cause error // of ctx's end; nil if it had not ended
}

func gaveUp(tries int, last, cause error) error {
	if tries == 1 && cause == nil {
		return last
	}
	return &failure{tries: tries, last: last, cause: cause}
}

func (f *failure) Error() string {
	switch {
	case f.cause == nil:
		return fmt.Sprintf("after %d tries: %v", f.tries, f.last)
	case errors.Is(f.last, f.cause):
		return fmt.Sprintf("stopped after %s: %v", tries(f.tries), f.last)
	}
	return fmt.Sprintf("stopped after %s: %v: %v", tries(f.tries), f.cause, f.last)
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

func (f *failure) Unwrap() []error {
	errs := []error{f.last}
	if f.cause != nil {
		errs = append(errs, f.cause)
	}
	if f.tries > 1 {
		errs = append(errs, ErrRetried)
	}
	return errs
}
