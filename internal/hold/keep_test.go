package hold

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Ten seconds of lease, in round numbers: renewed every 2 s, valid for 10 s, stepped down after 8 s.
func config() Config {
	return Config{Lease: 10 * time.Second, Period: 2 * time.Second, Drain: 2 * time.Second, Jitter: -1, Rate: -1, Granularity: -1}
}

const (
	stepDown = 8 * time.Second
	drain    = 2 * time.Second
)

var errNet = errors.New("connection refused")

func renewed(context.Context) error     { return nil }
func unreachable(context.Context) error { return errNet }

// hangs is a renewal whose answer never comes.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// untilLost is a function that stops as soon as its ctx ends.
func untilLost(ctx context.Context, _ *Hold) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAHoldThatIsRenewedLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		calls := 0
		out, err := Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error { calls++; return nil },
			func(ctx context.Context, h *Hold) error {
				for range 3600 {
					<-time.After(time.Second)
					if !h.Held() || ctx.Err() != nil || time.Until(h.Until()) < stepDown {
						t.Fatalf("held %v until %v, ctx %v", h.Held(), h.Until(), ctx.Err())
					}
				}
				return nil
			})
		if err != nil || out != (Outcome{}) {
			t.Fatalf("%+v, %v", out, err)
		}
		if calls < 1799 || calls > 1800 { // rueidislock's fault: renewals that call for renewals
			t.Fatalf("%d renewals in an hour, want one per period of 2 s", calls)
		}
	})
}

func TestTheFunctionsErrorIsReturned(t *testing.T) {
	c := config()
	want := errors.New("work failed")
	var kept *Hold
	out, err := Keep(t.Context(), c, c.Clock.Now(), renewed, func(_ context.Context, h *Hold) error {
		kept = h
		return want
	})
	if err != want || out != (Outcome{}) {
		t.Fatalf("%+v, %v", out, err)
	}
	if kept.Held() || !kept.Until().IsZero() {
		t.Fatal("held after the end")
	}
}

// Rule 4: a renewal that hangs for ever delays nothing.
func TestAHangingRenewalDelaysNothing(t *testing.T) {
	for name, renew := range map[string]func(context.Context) error{"until its time is up": hangs, "and does not heed its ctx": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				release := make(chan struct{})
				if renew == nil {
					renew = func(context.Context) error { <-release; return nil }
				}
				start := time.Now()
				out, err := Keep(t.Context(), c, c.Clock.Now(), renew, func(ctx context.Context, h *Hold) error {
					defer close(release)
					return untilLost(ctx, h)
				})
				if d := time.Since(start); d != stepDown || !errors.Is(err, ErrLost) || out.Lost != err || out.Overran {
					t.Fatalf("after %v: %+v, %v; want ErrLost after %v", d, out, err, stepDown)
				}
			})
		})
	}
}

// COORDINATION's table, rueidislock with NoLoopTracking: the deadline was counted from the receipt.
func TestTheDeadlineIsCountedFromTheSendAndNotFromTheReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		start := time.Now()
		var sent time.Duration
		calls := 0
		_, err := Keep(t.Context(), c, c.Clock.Now(), func(ctx context.Context) error {
			if calls++; calls > 1 {
				return errNet
			}
			sent = time.Since(start)
			<-time.After(1900 * time.Millisecond) // the answer is slow
			return nil
		}, untilLost)
		if got, want := time.Since(start), sent+stepDown; got != want {
			t.Fatalf("stepped down %v after the start, want %v after the send at %v", got, stepDown, sent)
		}
		if !errors.Is(err, ErrLost) || !errors.Is(err, errNet) {
			t.Fatalf("cause is %v, want ErrLost and what went wrong", err)
		}
	})
}

// Rule 1: never extended by an unknown outcome.
func TestAnUnknownOutcomeExtendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		start := time.Now()
		_, err := Keep(t.Context(), c, c.Clock.Now(), unreachable, untilLost)
		if d := time.Since(start); d != stepDown || !errors.Is(err, ErrLost) {
			t.Fatalf("%v after %v, want ErrLost after %v", err, d, stepDown)
		}
	})
}

// Rule 3: retries back off from R/8, never past the step-down.
func TestRetriesBackOffAndEndBeforeTheStepDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		start := time.Now()
		var at []time.Duration
		_, _ = Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error {
			at = append(at, time.Since(start))
			return errNet
		}, untilLost)
		ms := time.Millisecond
		want := []time.Duration{2000 * ms, 2250 * ms, 2750 * ms, 3750 * ms, 5750 * ms, 6875 * ms, 7437500 * time.Microsecond, 7718750 * time.Microsecond, 7859375 * time.Microsecond}
		if !slices.Equal(at, want) {
			t.Fatalf("attempts at %v, want %v", at, want)
		}
	})
}

func TestARenewalAfterFailuresKeepsTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		calls := 0
		out, err := Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error {
			if calls++; calls%5 == 0 {
				return nil
			}
			return errNet
		}, func(ctx context.Context, h *Hold) error {
			<-time.After(time.Hour)
			return ctx.Err()
		})
		if err != nil || out.Lost != nil {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

func TestADefiniteRefusalEndsTheHoldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := errors.New("taken over")
		c := config()
		c.Lost = taken
		start := time.Now()
		out, err := Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error {
			return errors.Join(errors.New("store"), taken)
		}, untilLost)
		if d := time.Since(start); d != c.Period || !errors.Is(err, taken) || errors.Is(err, ErrLost) || out.Overran {
			t.Fatalf("%v after %v, want %v at the first renewal", err, d, taken)
		}
	})
}

// COORDINATION's table, client-go's ReleaseOnCancel: the release ran before the leading context was cancelled.
func TestNothingIsReleasedBeforeTheFunctionHasReturned(t *testing.T) {
	t.Run("when the caller's ctx ends, it is held until the function has drained", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			stopping := errors.New("stopping")
			ctx, cancel := context.WithCancelCause(t.Context())
			c := config()
			drained := false
			out, err := Keep(ctx, c, c.Clock.Now(), func(ctx context.Context) error { return ctx.Err() },
				func(ctx context.Context, h *Hold) error {
					cancel(stopping)
					<-ctx.Done()
					for range 60 {
						<-time.After(time.Second)
						if !h.Held() {
							t.Fatal("not held while the function drains")
						}
					}
					drained = true
					return context.Cause(ctx)
				})
			if !drained || err != stopping || out != (Outcome{}) {
				t.Fatalf("drained %v: %+v, %v", drained, out, err)
			}
		})
	})
	t.Run("on loss the mark goes first, then the ctx, then the wait for the function", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := config()
			returned := false
			out, _ := Keep(t.Context(), c, c.Clock.Now(), unreachable, func(ctx context.Context, h *Hold) error {
				<-ctx.Done()
				if h.Held() {
					t.Error("the ctx ended while it was still held")
				}
				<-time.After(drain - time.Millisecond)
				returned = true
				return nil
			})
			if !returned || out.Lost == nil || out.Overran {
				t.Fatalf("returned %v: %+v", returned, out)
			}
		})
	})
}

// Rule 5: if D passes, let the lease expire and report the overrun.
func TestAFunctionThatOverrunsIsReportedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		start := time.Now()
		var reported []time.Duration
		c.Overran = func() { reported = append(reported, time.Since(start)) }
		out, err := Keep(t.Context(), c, c.Clock.Now(), unreachable, func(context.Context, *Hold) error {
			<-time.After(time.Hour)
			return nil
		})
		if err != nil || out.Lost == nil || !out.Overran {
			t.Fatalf("%+v, %v", out, err)
		}
		if !slices.Equal(reported, []time.Duration{stepDown + drain}) {
			t.Fatalf("reported at %v, want once at %v", reported, stepDown+drain)
		}
	})
}

func TestAnOverrunThatOnlyTheClockShowsIsReported(t *testing.T) {
	for name, seen := range map[string]bool{"after the loss was noticed": true, "before it was": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				c.Clock.Jump = new(Jump)
				out, _ := Keep(t.Context(), c, c.Clock.Now(), unreachable, func(ctx context.Context, h *Hold) error {
					if seen {
						<-ctx.Done()
					}
					c.Clock.Jump.Stopped(c.Lease)
					return nil
				})
				if out.Lost == nil || !out.Overran {
					t.Fatalf("%+v, want a loss and an overrun", out)
				}
			})
		})
	}
}

// COORDINATION's table, a context alone after SIGSTOP: goroutines run before the timer does.
func TestAfterAStopTheClockSaysThatItIsNotHeldBeforeTheContextDoes(t *testing.T) {
	for name, stop := range map[string]func(*Jump, time.Duration){
		"the process was stopped":          (*Jump).Stopped,
		"the machine was suspended":        (*Jump).Suspended,
		"the wall clock was set far ahead": (*Jump).WallSet,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				c.Clock.Jump = new(Jump)
				out, err := Keep(t.Context(), c, c.Clock.Now(), renewed, func(ctx context.Context, h *Hold) error {
					<-time.After(time.Second)
					stop(c.Clock.Jump, c.Lease)
					if ctx.Err() != nil {
						t.Error("the ctx ended first: nothing is shown")
					}
					if h.Held() {
						t.Error("held after the lease ended")
					}
					ran := false
					if err := h.Guard(func() error { ran = true; return nil }); !errors.Is(err, ErrLost) || ran {
						t.Errorf("Guard ran %v: %v", ran, err)
					}
					back := time.Now()
					<-ctx.Done()
					if d := time.Since(back); d > drain/4 {
						t.Errorf("the ctx ended %v after the stop, want a quarter of Drain at most", d)
					}
					return context.Cause(ctx)
				})
				if !errors.Is(err, ErrLost) || out.Lost == nil {
					t.Fatalf("%+v, %v", out, err)
				}
			})
		})
	}
}

func TestASuspensionIsSeenEvenIfTheWallClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		start := time.Now()
		_, err := Keep(t.Context(), c, c.Clock.Now(), hangs, func(ctx context.Context, h *Hold) error {
			c.Clock.Jump.WallSet(-time.Hour)
			c.Clock.Jump.Suspended(stepDown - time.Second)
			<-ctx.Done()
			if h.Held() {
				t.Error("held after the step-down")
			}
			return context.Cause(ctx)
		})
		if d := time.Since(start); d > 1100*time.Millisecond || !errors.Is(err, ErrLost) {
			t.Fatalf("%v after %v, want ErrLost after 1s", err, d)
		}
	})
}

func TestAWallClockThatIsSetBackProlongsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		start := time.Now()
		_, err := Keep(t.Context(), c, c.Clock.Now(), unreachable, func(ctx context.Context, h *Hold) error {
			c.Clock.Jump.WallSet(-time.Hour)
			return untilLost(ctx, h)
		})
		if d := time.Since(start); d != stepDown || !errors.Is(err, ErrLost) {
			t.Fatalf("%v after %v", err, d)
		}
	})
}

// Rule 7: a scheduling gap larger than D/2 counts as lost until a renewal succeeds.
func TestASchedulingGapCountsAsLostUntilARenewalSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		var calls atomic.Int64
		out, err := Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error {
			calls.Add(1)
			<-time.After(100 * time.Millisecond)
			return nil
		}, func(ctx context.Context, h *Hold) error {
			<-time.After(900 * time.Millisecond) // between two looks of the keeper
			c.Clock.Jump.Stopped(drain/2 + time.Millisecond)
			if h.Held() {
				t.Error("held right after the gap")
			}
			<-time.After(150 * time.Millisecond) // the keeper has noticed, the renewal is under way
			if h.Held() || calls.Load() != 1 {
				t.Errorf("held %v after %d renewals, before any was answered", h.Held(), calls.Load())
			}
			<-time.After(100 * time.Millisecond)
			if !h.Held() {
				t.Error("not held after the renewal")
			}
			return ctx.Err()
		})
		if err != nil || out != (Outcome{}) {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

func TestARenewalThatWasSentBeforeTheGapDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		var calls atomic.Int64
		_, err := Keep(t.Context(), c, c.Clock.Now(), func(context.Context) error {
			calls.Add(1)
			<-time.After(700 * time.Millisecond)
			return nil
		}, func(ctx context.Context, h *Hold) error {
			<-time.After(2100 * time.Millisecond) // the first renewal is under way since 2 s
			c.Clock.Jump.Stopped(drain/2 + time.Millisecond)
			<-time.After(650 * time.Millisecond) // it has been answered at 2.7 s
			if h.Held() || calls.Load() != 2 {
				t.Errorf("held %v after %d renewals, want a second one first", h.Held(), calls.Load())
			}
			<-time.After(700 * time.Millisecond)
			if !h.Held() {
				t.Error("not held after the second renewal")
			}
			return ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestAFunctionThatReturnsInTheGapHasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		out, err := Keep(t.Context(), c, c.Clock.Now(), renewed, func(context.Context, *Hold) error {
			c.Clock.Jump.Stopped(drain)
			return nil
		})
		if err != nil || !errors.Is(out.Lost, ErrLost) || out.Overran {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

func TestAGrantThatArrivesAfterItsStepDownRunsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		sent := c.Clock.Now()
		<-time.After(stepDown)
		out, err := Keep(t.Context(), c, sent, renewed, func(context.Context, *Hold) error {
			t.Error("ran")
			return nil
		})
		if !errors.Is(err, ErrLost) || out.Lost != err || out.Overran {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

func TestAnInvalidConfigRunsNothing(t *testing.T) {
	out, err := Keep(t.Context(), Config{}, Clock{}.Now(), renewed, func(context.Context, *Hold) error {
		t.Error("ran")
		return nil
	})
	if !errors.Is(err, ErrInvalid) || out != (Outcome{}) {
		t.Fatalf("%+v, %v", out, err)
	}
}

func TestAPanicOfTheFunctionPassesThroughAndEndsTheRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		var kept *Hold
		defer func() {
			if v := recover(); v != "oh" || kept.Held() {
				t.Errorf("recovered %v, held %v", v, kept.Held())
			}
		}()
		_, _ = Keep(t.Context(), c, c.Clock.Now(), hangs, func(_ context.Context, h *Hold) error {
			kept = h
			<-time.After(3 * time.Second)
			panic("oh")
		})
	})
}

func TestGuardChecksBeforeAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		work := errors.New("work failed")
		_, _ = Keep(t.Context(), c, c.Clock.Now(), unreachable, func(ctx context.Context, h *Hold) error {
			if err := h.Guard(func() error { return nil }); err != nil {
				t.Errorf("Guard while held: %v", err)
			}
			if err := h.Guard(func() error { return work }); err != work {
				t.Errorf("Guard while held: %v, want the function's error", err)
			}
			err := h.Guard(func() error { <-ctx.Done(); return work })
			if !errors.Is(err, ErrLost) || !errors.Is(err, work) || !strings.Contains(err.Error(), "not held any more") {
				t.Errorf("Guard over the loss: %v", err)
			}
			return nil
		})
	})
}

// A store that grants from the moment at which a request reaches it, behind a network that delays, loses and hangs by a seed.
// Whatever happens: what is held is granted, and the ctx ends a drain before the grant does.
func TestWhatIsHeldIsGrantedUnderAnyScheduleOfFaults(t *testing.T) {
	losses := 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			c := config()
			c.Jitter = 0.15
			start := time.Now()
			var granted atomic.Int64 // until when, since start
			grant := func() { granted.Store(int64(time.Since(start) + c.Lease)) }
			pause := func(ctx context.Context, most time.Duration) error {
				select {
				case <-time.After(time.Duration(r.Int64N(int64(most)))):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			renew := func(ctx context.Context) error {
				fault := r.IntN(14)
				if fault == 0 {
					return hangs(ctx)
				}
				if err := pause(ctx, 200*time.Millisecond); err != nil || fault < 2 {
					return errors.Join(errNet, err) // the request is lost
				}
				grant()
				if err := pause(ctx, 600*time.Millisecond); err != nil || fault < 5 {
					return errors.Join(errNet, err) // the answer is lost
				}
				return nil
			}
			sent := c.Clock.Now()
			grant()
			out, _ := Keep(t.Context(), c, sent, renew, func(ctx context.Context, h *Hold) error {
				for time.Since(start) < 90*time.Second {
					select {
					case <-ctx.Done():
						if left := time.Duration(granted.Load()) - time.Since(start); left < drain || h.Held() {
							t.Errorf("seed %d: the ctx ended %v before the grant did, held %v", seed, left, h.Held())
						}
						return nil
					case <-time.After(113 * time.Millisecond):
						if h.Held() && time.Since(start) >= time.Duration(granted.Load()) {
							t.Fatalf("seed %d: held at %v, granted until %v", seed, time.Since(start), time.Duration(granted.Load()))
						}
					}
				}
				return nil
			})
			if out.Lost != nil {
				losses++
			}
		})
	}
	t.Logf("%d of 60 schedules ended in a loss", losses)
	if losses == 0 || losses == 60 {
		t.Errorf("%d of 60 schedules ended in a loss: the faults are too few or too many to show anything", losses)
	}
}
