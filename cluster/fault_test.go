package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// Each test here is a fault that was measured in a library in wide use, which its comment names, and fails with that library's approach.

// client-go's leader election, ReleaseOnCancel: the lease was released before the leading context was cancelled.
func TestNothingIsReleasedWhileTheFunctionRuns(t *testing.T) {
	for name, end := range map[string]func(c *counter, stop func()){
		"the caller's ctx ends": func(_ *counter, stop func()) { stop() },
		"the term is lost":      func(c *counter, _ func()) { c.set(down("renew")) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *memory.Backend) {
				handle, c := watched(b)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var running atomic.Bool
				overlaps, terms := 0, 0
				background(t, func(context.Context) {
					<-time.After(ms)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					err := Lock(ctx, b, Hold{Name: "x", TTL: 3 * time.Second, Log: quiet}, func(context.Context, Term) error {
						terms++
						if running.Load() {
							overlaps++
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				})
				err := Lock(ctx, handle, Hold{Name: "x", TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error {
					running.Store(true)
					<-time.After(time.Second)
					end(c, stop)
					<-ctx.Done()
					<-time.After(590 * ms) // most of the drain budget
					running.Store(false)
					return nil
				})
				synctest.Wait()
				if lost := errors.Is(err, port.ErrLost); lost != (name == "the term is lost") {
					t.Error(err)
				}
				if overlaps != 0 || terms != 1 {
					t.Errorf("%d overlaps of %d terms", overlaps, terms)
				}
			})
		})
	}
}

// rueidislock with NoLoopTracking: the deadline of an extension was counted from when its answer came.
func TestATermCountsFromBeforeTheRenewalWasSent(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		var sent time.Time
		c.set(func(op memory.Op) memory.Fault {
			switch {
			case op.Name != "renew":
				return memory.Fault{}
			case op.Point == memory.Before && sent.IsZero():
				sent = time.Now()
				return memory.Fault{}
			case op.Point == memory.After && op.N < 10:
				return memory.Fault{Delay: 2 * time.Second}
			}
			return memory.Fault{Err: errNet}
		})
		_ = Lock(t.Context(), handle, Hold{Name: "x", TTL: 10 * time.Second, Log: quiet}, func(ctx context.Context, term Term) error {
			<-ctx.Done()
			held, err := b.Holders(t.Context(), "")
			if err != nil || len(held) != 1 || held[0].TTL < 2*time.Second {
				t.Errorf("%v after the renewal was sent the lease has %v left, %v", time.Since(sent), held, err)
			}
			if took := time.Since(sent); took != 7899*ms || term.Held() {
				t.Errorf("the ctx ended %v after the renewal was sent, held %v", took, term.Held())
			}
			return nil
		})
	})
}

// rueidislock by default: a holder's own extension invalidated itself, some 10,000 extensions a second for each lock.
func TestAHolderAndThoseWhoWaitAskOnceAPeriodEach(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		holder, held := watched(b)
		other, waits := watched(b)
		background(t, func(ctx context.Context) {
			_ = Lead(ctx, holder, Candidate{TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		synctest.Wait()
		background(t, func(ctx context.Context) {
			_ = Lead(ctx, other, Candidate{TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		<-time.After(time.Second)
		held.reset()
		waits.reset()
		<-time.After(60 * time.Second) // 60 periods
		if n := held.all(); n < 45 || n > 75 {
			t.Errorf("the holder asked %d times in 60 periods: %v", n, held.count)
		}
		if n := waits.all(); n < 30 || n > 120 {
			t.Errorf("the one who waits asked %d times in 60 periods: %v", n, waits.count)
		}
	})
}

// etcd's Session: Done was armed when the answer came and looked at once a second, so it overlapped with the next by up to half a second.
func TestTheCtxEndsAtTheStepDownAndNotAtSomeLaterLook(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		for _, hang := range []time.Duration{0, 1000 * time.Hour} { // refused at once, or hanging for ever
			c.set(func(op memory.Op) memory.Fault {
				if op.Name == "renew" {
					return memory.Fault{Delay: hang, Err: errNet}
				}
				return memory.Fault{}
			})
			start := time.Now()
			_ = Lock(t.Context(), handle, Hold{Name: "x", TTL: 10 * time.Second, Drain: 2 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error {
				<-ctx.Done()
				if took := time.Since(start); took != 10*time.Second-100*ms-ms-2*time.Second {
					t.Errorf("the ctx ended after %v", took)
				}
				return nil
			})
		}
	})
}

// turncoat is a store that forgets everything at a fail-over: from then on it is another one.
type turncoat struct {
	port.Leases
	mu  sync.Mutex
	now port.Leases
}

func (f *turncoat) store() port.Leases {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *turncoat) failOver(to port.Leases) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = to
}

func (f *turncoat) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	return f.store().Acquire(ctx, want, ttl)
}

func (f *turncoat) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	return f.store().Renew(ctx, ttl, held...)
}

func (f *turncoat) Release(ctx context.Context, held ...port.Lease) []error {
	return f.store().Release(ctx, held...)
}

// Redis at a fail-over: 50 of 50 acknowledged locks were granted again, and a token by INCR went from 60 back to 11.
func TestTokensGrowAlsoWhereTheStoreForgotEverything(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		store := &turncoat{Leases: b, now: b}
		var resource Gate
		err := Lock(t.Context(), store, Hold{Name: "x", ID: "a", Log: quiet}, func(ctx context.Context, past Term) error {
			if err := resource.Admit(past.Fence()); err != nil {
				t.Error(err)
			}
			<-time.After(ms) // longer than clocks differ
			store.failOver(memory.New(memory.Config{}))
			err := Lock(t.Context(), store, Hold{Name: "x", ID: "b", Log: quiet}, func(_ context.Context, term Term) error {
				if term.Token <= past.Token {
					t.Errorf("token %d came after %d", term.Token, past.Token)
				}
				if err := resource.Admit(term.Fence()); err != nil {
					t.Error(err)
				}
				if err := resource.Admit(past.Fence()); !errors.Is(err, port.ErrStale) {
					t.Errorf("the past holder acts: %v", err)
				}
				<-ctx.Done() // it hears of it at its next renewal
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			return nil
		})
		if !errors.Is(err, port.ErrLost) {
			t.Errorf("the past holder was not told: %v", err)
		}
	})
}

// And where the clock of the store that took over is behind, a candidate that has seen a token gets a larger one all the same.
func TestACandidateTellsTheStoreTheLargestTokenThatItHasSeen(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		store := &turncoat{Leases: b, now: b}
		future := uint64(time.Now().Add(1000 * time.Hour).UnixMicro())
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "lead.default", Owner: "a", Nonce: "n", Seen: future}, time.Minute); err != nil {
			t.Fatal(err)
		}
		background(t, func(context.Context) {
			<-time.After(time.Second)
			store.failOver(memory.New(memory.Config{}))
		})
		err := Lead(t.Context(), store, Candidate{Log: quiet}, func(_ context.Context, term Term) error {
			if term.Token <= future {
				t.Errorf("token %d, after %d was seen", term.Token, future)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// NATS KV: Update drops a key's TTL without a word, so a lease that was renewed never ended.
func TestARenewedLeaseEndsWhenItsHolderIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		background(t, func(ctx context.Context) {
			_ = Lock(ctx, handle, Hold{Name: "x", TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		<-time.After(time.Minute)
		if c.of("renew") < 50 {
			t.Errorf("renewed %d times", c.of("renew"))
		}
		c.set(func(memory.Op) memory.Fault { return memory.Fault{Cut: true} })
		start := time.Now()
		err := Lock(t.Context(), b, Hold{Name: "x", TTL: 3 * time.Second, Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took > 4*time.Second {
			t.Errorf("%v after %v, want within TTL and a period", err, took)
		}
	})
}

// A context alone: after SIGSTOP a worker acted after the end in 17 of 30 runs, because goroutines run before the timer does.
func TestAProcessThatWasStoppedDoesNothingThoughItsCtxHasNotEndedYet(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		jump := new(hold.Jump)
		err := Lock(t.Context(), b, Hold{Name: "x", TTL: 3 * time.Second, Log: quiet, world: world{clock: hold.Clock{Jump: jump}}}, func(ctx context.Context, term Term) error {
			<-time.After(500 * ms)
			jump.Stopped(3 * time.Second) // no timer has fired yet
			if ctx.Err() != nil {
				t.Error("the ctx has ended: nothing is shown")
			}
			err := term.Guard(func() error { t.Error("it acted"); return nil })
			if !errors.Is(err, port.ErrLost) || term.Held() {
				t.Errorf("guarded by %v, held %v", err, term.Held())
			}
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, port.ErrLost) {
			t.Error(err)
		}
	})
}

// Rule 5: never release while the function runs. If the drain budget passes, the lease ends by itself, and the overrun is reported.
func TestAFunctionThatDoesNotStopIsReportedAndTheLeaseIsLeftToEnd(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		log := newLines()
		err := Lock(t.Context(), handle, Hold{Name: "x", TTL: 3 * time.Second, Log: log.logger()}, func(ctx context.Context, _ Term) error {
			c.set(down("renew"))
			<-ctx.Done()
			<-time.After(time.Minute)
			return nil
		})
		if !errors.Is(err, port.ErrLost) || c.of("release") != 0 {
			t.Errorf("%v, asked %v", err, c.count)
		}
		log.want(t, "the function has not returned in time after its term was lost; the next holder does not wait for it")
	})
}
