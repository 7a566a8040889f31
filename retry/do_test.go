package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/retry"
)

var errDown = errors.New("down")

// exact is the default policy without jitter, so that virtual time can be compared.
var exact = retry.Policy{Backoff: retry.Backoff{Jitter: -1}}

// counter is a function that fails with err until it has been called often enough.
type counter struct {
	calls, succeedAt int
	err              error
	at               []time.Duration
	start            time.Time
}

func (c *counter) fn(context.Context) error {
	if c.calls == 0 {
		c.start = time.Now()
	}
	c.calls++
	c.at = append(c.at, time.Since(c.start))
	if c.calls == c.succeedAt {
		return nil
	}
	return c.err
}

func TestDoRetriesUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{succeedAt: 4, err: errDown}
		if err := retry.Do(t.Context(), exact, c.fn); err != nil {
			t.Fatal(err)
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 100 * ms, 300 * ms, 700 * ms}; !slices.Equal(c.at, want) {
			t.Fatalf("tries at %v, want %v", c.at, want)
		}
	})
}

func TestTheLastErrorIsReturnedWhenTheTriesAreUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{err: errDown}
		err := retry.Do(t.Context(), retry.Policy{}, c.fn)
		if c.calls != 5 || !errors.Is(err, errDown) || !errors.Is(err, retry.ErrRetried) {
			t.Fatalf("%d calls, then %v", c.calls, err)
		}
		if err.Error() != "after 5 tries: down" {
			t.Fatalf("message is %q", err)
		}
	})
}

func TestASingleTryReturnsTheErrorAsItIs(t *testing.T) {
	c := counter{err: errDown}
	if err := retry.Do(t.Context(), retry.Policy{Backoff: retry.Backoff{Tries: 1}}, c.fn); err != errDown || c.calls != 1 {
		t.Fatalf("%d calls, then %v", c.calls, err)
	}
}

func TestNegativeTriesGoOnUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{succeedAt: 1000, err: errDown}
		if err := retry.Do(t.Context(), retry.Policy{Backoff: retry.Backoff{Tries: -1}}, c.fn); err != nil || c.calls != 1000 {
			t.Fatalf("%d calls, then %v", c.calls, err)
		}
	})
}

func TestThereIsAlwaysAtLeastOneTry(t *testing.T) {
	stopping := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopping)
	c := counter{succeedAt: 1}
	if err := retry.Do(ctx, retry.Policy{}, c.fn); err != nil || c.calls != 1 {
		t.Fatalf("%d calls, then %v; want success in one", c.calls, err)
	}
	c = counter{err: errDown}
	err := retry.Do(ctx, retry.Policy{}, c.fn)
	if c.calls != 1 || !errors.Is(err, errDown) || !errors.Is(err, stopping) || errors.Is(err, retry.ErrRetried) {
		t.Fatalf("%d calls, then %v", c.calls, err)
	}
	if err.Error() != "stopped after 1 try: stopping: down" {
		t.Fatalf("message is %q", err)
	}
}

func TestTheEndOfTheContextCutsTheWaitAndJoinsItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := errors.New("stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(150*time.Millisecond, func() { cancel(stopping) })
		start := time.Now()
		c := counter{err: errDown}
		err := retry.Do(ctx, exact, c.fn)
		if d := time.Since(start); d != 150*time.Millisecond || c.calls != 2 {
			t.Errorf("%d calls in %v, want 2 in 150ms", c.calls, d)
		}
		if !errors.Is(err, errDown) || !errors.Is(err, stopping) || err.Error() != "stopped after 2 tries: stopping: down" {
			t.Errorf("returned %v", err)
		}
	})
}

func TestATryThatReturnsTheCauseItselfDoesNotRepeatIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := retry.Do(ctx, retry.Policy{}, func(ctx context.Context) error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) || err.Error() != "stopped after 1 try: context canceled" {
		t.Fatalf("returned %q", err)
	}
}

func TestATryEndsAfterItsTimeAndTheNextOneFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := exact
		p.PerTry = time.Second
		start, calls := time.Now(), 0
		err := retry.Do(t.Context(), p, func(ctx context.Context) error {
			if calls++; calls == 3 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if want := 2*time.Second + 300*time.Millisecond; err != nil || time.Since(start) != want {
			t.Fatalf("%v after %v, want success after %v", err, time.Since(start), want)
		}
	})
}

func TestTheContextOfATryIsReleasedWithIt(t *testing.T) {
	var kept context.Context
	err := retry.Do(t.Context(), retry.Policy{PerTry: time.Hour}, func(ctx context.Context) error {
		kept = ctx
		return nil
	})
	if err != nil || kept.Err() == nil {
		t.Fatalf("%v, and the ctx of the try has ended: %v", err, kept.Err())
	}
}

func TestAPermanentErrorIsNotRetried(t *testing.T) {
	c := counter{err: fmt.Errorf("handler: %w", retry.Permanent(errDown))}
	err := retry.Do(t.Context(), retry.Policy{Again: true}, c.fn)
	if c.calls != 1 || !errors.Is(err, errDown) || !retry.IsPermanent(err) || err.Error() != "handler: down" {
		t.Fatalf("%d calls, then %v", c.calls, err)
	}
}

func TestAfterSetsTheWaitEvenBeyondMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{succeedAt: 2, err: fmt.Errorf("api: %w", retry.After(time.Hour, errDown))}
		if err := retry.Do(t.Context(), retry.Policy{}, c.fn); err != nil || c.at[1] != time.Hour {
			t.Fatalf("%v, tries at %v; want the second after 1h", err, c.at)
		}
	})
}

func TestPermanentGoesBeforeAfter(t *testing.T) {
	c := counter{err: retry.After(time.Hour, retry.Permanent(errDown))}
	if err := retry.Do(t.Context(), retry.Policy{}, c.fn); c.calls != 1 || !errors.Is(err, errDown) {
		t.Fatalf("%d calls, then %v", c.calls, err)
	}
}

func TestOnRetryIsToldBeforeEachWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		p := exact
		p.Tries = 3
		p.OnRetry = func(attempt int, wait time.Duration, err error) {
			got = append(got, fmt.Sprint(time.Since(start), attempt, wait, err))
		}
		c := counter{err: errDown}
		_ = retry.Do(t.Context(), p, c.fn)
		if want := []string{"0s 1 100ms down", "100ms 2 200ms down"}; !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
	})
}

// C8: two retry layers that multiply (5 x 5).
func TestNestedRetriesDoNotMultiply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{err: errDown}
		err := retry.Do(t.Context(), retry.Policy{}, func(ctx context.Context) error {
			if err := retry.Do(ctx, retry.Policy{}, c.fn); err != nil {
				return fmt.Errorf("inner: %w", err)
			}
			return nil
		})
		if c.calls != 5 || !errors.Is(err, errDown) || err.Error() != "inner: after 5 tries: down" {
			t.Fatalf("%d calls, then %v; want 5", c.calls, err)
		}
	})
}

// C8, where it is the time of the outer try that ends the inner retries.
func TestNestedRetriesDoNotMultiplyWhenTheOuterTryTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{err: errDown}
		p := exact
		p.PerTry = 500 * time.Millisecond
		err := retry.Do(t.Context(), p, func(ctx context.Context) error { return retry.Do(ctx, exact, c.fn) })
		if c.calls != 3 || !errors.Is(err, errDown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d calls, then %v; want 3", c.calls, err)
		}
	})
}

func TestAnOuterRetryThatIsAskedToTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{err: errDown}
		err := retry.Do(t.Context(), retry.Policy{Again: true}, func(ctx context.Context) error {
			return retry.Do(ctx, retry.Policy{}, c.fn)
		})
		if c.calls != 25 || err.Error() != "after 5 tries: after 5 tries: down" {
			t.Fatalf("%d calls, then %v; want 25", c.calls, err)
		}
	})
}

func TestAnInnerSingleTryLeavesTheRetryingToTheOuter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter{err: errDown}
		_ = retry.Do(t.Context(), retry.Policy{}, func(ctx context.Context) error {
			return retry.Do(ctx, retry.Policy{Backoff: retry.Backoff{Tries: 1}}, c.fn)
		})
		if c.calls != 5 {
			t.Fatalf("%d calls, want 5", c.calls)
		}
	})
}

func TestAnInvalidPolicyIsRefusedBeforeTheFirstTry(t *testing.T) {
	for want, p := range map[string]retry.Policy{
		"retry: invalid: the time per try -1s is negative": {PerTry: -time.Second},
		"retry: backoff: invalid: jitter 2 is more than 1": {Backoff: retry.Backoff{Jitter: 2}},
	} {
		c := counter{err: errDown}
		err := retry.Do(t.Context(), p, c.fn)
		if c.calls != 0 || !errors.Is(err, retry.ErrInvalid) || err.Error() != want {
			t.Errorf("%d calls, then %v; want %q", c.calls, err, want)
		}
	}
}

func TestAMarkOfNoErrorIsNoError(t *testing.T) {
	if retry.Permanent(nil) != nil || retry.After(time.Second, nil) != nil {
		t.Fatal("a mark made an error of nil")
	}
}

func TestAMarkChangesNeitherTheMessageNorTheMatches(t *testing.T) {
	for _, err := range []error{retry.Permanent(errDown), retry.After(time.Second, errDown)} {
		if err.Error() != "down" || !errors.Is(err, errDown) {
			t.Errorf("%v does not read and match like what it marks", err)
		}
	}
}

func TestAfterDelayReadsTheMarkThroughWrapping(t *testing.T) {
	for _, c := range []struct {
		err  error
		want time.Duration
		ok   bool
	}{
		{nil, 0, false},
		{errDown, 0, false},
		{fmt.Errorf("api: %w", retry.After(time.Second, errDown)), time.Second, true},
		{retry.After(-time.Second, errDown), 0, true},
		{retry.After(time.Second, retry.After(time.Minute, errDown)), time.Second, true},
	} {
		if d, ok := retry.AfterDelay(c.err); d != c.want || ok != c.ok {
			t.Errorf("AfterDelay(%v) is %v, %v; want %v, %v", c.err, d, ok, c.want, c.ok)
		}
	}
	if retry.IsPermanent(nil) || retry.IsPermanent(errDown) {
		t.Error("an unmarked error is permanent")
	}
}
