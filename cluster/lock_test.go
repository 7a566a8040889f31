package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestAnUncontendedLockIsTwoRequests(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		err := Lock(t.Context(), handle, Hold{Name: "x", ID: "a", Log: quiet}, func(_ context.Context, term Term) error {
			if got := holders(t, b, ""); len(got) != 1 || got[0] != "lock.x=a" || !term.Held() {
				t.Errorf("held are %v", got)
			}
			return nil
		})
		if err != nil || c.all() != 2 {
			t.Errorf("%v after %v", err, c.count)
		}
	})
}

func TestALockIsForOneAtATimeAndPassesOnAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		var inside, most, token atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 10 {
			wg.Go(func() {
				err := Lock(t.Context(), b.Open(memory.Config{}), Hold{Name: "x", ID: fmt.Sprint(i), Log: quiet}, func(_ context.Context, term Term) error {
					if n := inside.Add(1); n > most.Load() {
						most.Store(n)
					}
					if last := token.Swap(int64(term.Token)); last >= int64(term.Token) {
						t.Errorf("token %d after %d", term.Token, last)
					}
					<-time.After(time.Second)
					inside.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); most.Load() != 1 || took != 10*time.Second {
			t.Errorf("%d at once, all after %v", most.Load(), took)
		}
	})
}

// A release whose hint got lost is found within a period.
func TestPollingIsTheTruthWhereHintsGetLost(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		c.set(down("watchleases"))
		background(t, func(ctx context.Context) {
			err := Lock(ctx, b, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error {
				<-time.After(7 * time.Second)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		err := Lock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took < 7*time.Second || took > 13*time.Second {
			t.Errorf("%v after %v, want within a period of 5 s of the release at 7 s", err, took)
		}
		if n := c.of("acquire"); n > 5 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestALockThatIsLostSaysSoBesideTheFunctionsError(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		work := errors.New("work failed")
		for _, result := range []error{nil, work} {
			handle, c := watched(b)
			err := Lock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(ctx context.Context, _ Term) error {
				c.set(down("renew"))
				<-ctx.Done()
				return result
			})
			if !errors.Is(err, port.ErrLost) || result != nil && !errors.Is(err, result) || !strings.Contains(err.Error(), `lock "x"`) {
				t.Errorf("%v: %v", result, err)
			}
		}
		handle, c := watched(b)
		err := Lock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(ctx context.Context, _ Term) error {
			c.set(down("renew"))
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if !errors.Is(err, port.ErrLost) || strings.Count(err.Error(), "not renewed in time") != 1 {
			t.Errorf("the cause is told not once: %v", err)
		}
	})
}

func TestWaitingEndsWithCtxAndNamesTheHolder(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		err := Lock(t.Context(), b, Hold{Name: "x", ID: "a", Log: quiet}, func(context.Context, Term) error {
			gone := errors.New("gone")
			ctx, stop := context.WithTimeoutCause(t.Context(), time.Minute, gone)
			defer stop()
			err := Lock(ctx, b, Hold{Name: "x", Log: quiet}, never(t))
			if !errors.Is(err, gone) || !strings.Contains(err.Error(), `held by "a"`) {
				t.Errorf("waiting: %v", err)
			}
			err = TryLock(t.Context(), b, Hold{Name: "x", Log: quiet}, never(t))
			if !errors.Is(err, port.ErrHeld) || !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("trying: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		ran := false
		err = TryLock(t.Context(), b, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { ran = true; return nil })
		if err != nil || !ran {
			t.Errorf("trying a free one: %v, ran %v", err, ran)
		}
		handle, c := watched(b)
		c.set(down())
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := Lock(ctx, handle, Hold{Name: "x", Log: quiet}, never(t)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), errNet.Error()) {
			t.Errorf("waiting for a backend: %v", err)
		}
	})
}

func TestWhatIsNoLockIsRefusedBeforeAnyRequest(t *testing.T) {
	b := memory.New(memory.Config{})
	handle, c := watched(b)
	for want, h := range map[string]Hold{
		"the name is empty":           {},
		"Slots 3 is for a semaphore":  {Name: "x", Slots: 3},
		"lease -1ns is not positive":  {Name: "x", TTL: -1},
		`character "/" is not one of`: {Name: "a/b"},
	} {
		for what, lock := range map[string]func(context.Context, port.Leases, Hold, func(context.Context, Term) error) error{"Lock": Lock, "TryLock": TryLock} {
			if err := lock(t.Context(), handle, h, never(t)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
	}
	for want, h := range map[string]Hold{
		"the name is empty":          {},
		"-1 slots, 1 to 1000":        {Name: "x", Slots: -1},
		"1001 slots, 1 to 1000":      {Name: "x", Slots: 1001},
		"lease -1ns is not positive": {Name: "x", TTL: -1},
	} {
		if err := Semaphore(t.Context(), handle, h, never(t)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Semaphore: %v, want %q", err, want)
		}
	}
	if c.all() != 0 {
		t.Errorf("the backend was asked: %v", c.count)
	}
}

// Rule 8: an acquire whose outcome is unknown is never "held": it is repeated with the same nonce, or given back by it.
func TestAnAcquireOfUnknownOutcomeIsRepeatedOrGivenBack(t *testing.T) {
	lost := func(op memory.Op) memory.Fault {
		if op.Name == "acquire" && op.Point == memory.After {
			return memory.Fault{Err: errNet}
		}
		return memory.Fault{}
	}
	t.Run("repeated", func(t *testing.T) {
		bubble(t, func(t *testing.T, b *memory.Backend) {
			handle, c := watched(b)
			c.set(lost)
			background(t, func(ctx context.Context) {
				<-time.After(time.Second)
				c.set(nil)
			})
			ran, start := false, time.Now()
			err := Lock(t.Context(), handle, Hold{Name: "x", ID: "a", Log: quiet}, func(_ context.Context, term Term) error {
				ran = term.Held()
				return nil
			})
			if err != nil || !ran || time.Since(start) > 4*time.Second {
				t.Errorf("%v, ran %v", err, ran)
			}
		})
	})
	t.Run("given back when ctx ends", func(t *testing.T) {
		bubble(t, func(t *testing.T, b *memory.Backend) {
			handle, c := watched(b)
			c.set(lost)
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			if err := Lock(ctx, handle, Hold{Name: "x", Log: quiet}, never(t)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, port.ErrUncertain) {
				t.Error(err)
			}
			if held := holders(t, b, ""); held != nil {
				t.Errorf("held are %v", held)
			}
		})
	})
	t.Run("given back by TryLock", func(t *testing.T) {
		bubble(t, func(t *testing.T, b *memory.Backend) {
			handle, c := watched(b)
			c.set(lost)
			if err := TryLock(t.Context(), handle, Hold{Name: "x", Log: quiet}, never(t)); !errors.Is(err, errNet) || c.of("acquire") != 2 {
				t.Errorf("%v after %v", err, c.count)
			}
			if held := holders(t, b, ""); held != nil {
				t.Errorf("held are %v", held)
			}
		})
	})
	t.Run("told where it cannot be given back", func(t *testing.T) {
		bubble(t, func(t *testing.T, b *memory.Backend) {
			handle, c := watched(b)
			c.set(func(op memory.Op) memory.Fault {
				if op.Name == "release" {
					return memory.Fault{Err: errNet}
				}
				return lost(op)
			})
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			err := Lead(ctx, handle, Candidate{TTL: 3 * time.Second, Log: quiet}, never(t))
			if !errors.Is(err, port.ErrUncertain) || !strings.Contains(err.Error(), "ends by itself within 3s") {
				t.Error(err)
			}
			<-time.After(3 * time.Second)
			if held := holders(t, b, ""); held != nil {
				t.Errorf("an acquire of unknown outcome holds for longer than the lease: %v", held)
			}
		})
	})
}

// A backend that has to see for the length of the lease that nobody renews answers late, and its grant is old by then.
func TestAGrantThatTookLongIsConfirmedBeforeItCounts(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		slow := true
		c.set(func(op memory.Op) memory.Fault {
			if op.Name == "acquire" && op.Point == memory.Before && slow {
				slow = false
				return memory.Fault{Delay: 15 * time.Second}
			}
			return memory.Fault{}
		})
		err := Lock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(_ context.Context, term Term) error {
			if !term.Held() || time.Until(term.Until()) < 14*time.Second || c.of("acquire") != 2 {
				t.Errorf("held %v until in %v after %v", term.Held(), time.Until(term.Until()), c.count)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestALeaseThatCannotBeGivenBackEndsByItself(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		err := Lock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error {
			c.set(down("release"))
			return nil
		})
		if err != nil {
			t.Errorf("what was done while it was held is done: %v", err)
		}
		if held := holders(t, b, ""); len(held) != 1 {
			t.Errorf("held are %v", held)
		}
		<-time.After(15 * time.Second)
		if held := holders(t, b, ""); held != nil {
			t.Errorf("held are %v", held)
		}
	})
}

func TestASemaphoreIsForSoManyAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		var inside, most atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range 30 {
			wg.Go(func() {
				err := Semaphore(t.Context(), b.Open(memory.Config{}), Hold{Name: "x", Slots: 3, Log: quiet}, func(_ context.Context, term Term) error {
					n := inside.Add(1)
					for {
						if was := most.Load(); n <= was || most.CompareAndSwap(was, n) {
							break
						}
					}
					if !strings.HasPrefix(term.Fence().Name, "slot.x.") {
						t.Errorf("fence %v", term.Fence())
					}
					<-time.After(time.Second)
					inside.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); most.Load() != 3 || took != 10*time.Second {
			t.Errorf("%d at once, all after %v", most.Load(), took)
		}
		if held := holders(t, b, ""); held != nil {
			t.Errorf("held are %v", held)
		}
	})
}

func TestASlotIsTakenOverWhenItsHolderIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		// Somebody with another idea of the number of slots, one with a longer name, and two that have crashed.
		for name, ttl := range map[string]time.Duration{"slot.x.7": time.Hour, "slot.x.0.1": time.Hour, "slot.x.0": 4 * time.Second, "slot.x.1": 2 * time.Second} {
			if _, err := b.Acquire(t.Context(), port.Lease{Name: name, Owner: "gone", Nonce: "n"}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		handle, c := watched(b)
		c.set(down("watchleases"))
		err := Semaphore(t.Context(), handle, Hold{Name: "x", Slots: 2, Log: quiet}, func(_ context.Context, term Term) error {
			if took := time.Since(start); took < 2*time.Second || took > 2400*ms || term.Fence().Name != "slot.x.1" {
				t.Errorf("%v after %v", term.Fence(), took)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestASlotOfUnknownOutcomeIsAskedForAloneUntilItIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "slot.x.0", Owner: "other", Nonce: "n"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		handle, c := watched(b)
		lost := 4 // the first answer is that slot 0 is held
		c.set(func(op memory.Op) memory.Fault {
			if op.Name == "acquire" && op.Point == memory.After && lost > 0 {
				if lost--; lost < 3 {
					return memory.Fault{Err: errNet}
				}
			}
			return memory.Fault{}
		})
		h := Hold{Name: "x", Slots: 5, Log: quiet, world: world{random: func() float64 { return 0 }}}
		err := Semaphore(t.Context(), handle, h, func(context.Context, Term) error {
			if held := holders(t, b, ""); len(held) != 2 || c.of("holders") != 1 {
				t.Errorf("held are %v, asked %v", held, c.count)
			}
			return nil
		})
		if err != nil || lost != 0 {
			t.Errorf("%v, %d left", err, lost)
		}
		if held := holders(t, b, ""); len(held) != 1 {
			t.Errorf("held are %v", held)
		}
	})
}

func TestASemaphoreThatCannotBeListedIsAskedOn(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "slot.x.0", Owner: "gone", Nonce: "n"}, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		handle, c := watched(b)
		c.set(down("holders"))
		background(t, func(context.Context) {
			<-time.After(20 * time.Second)
			c.set(nil)
		})
		start := time.Now()
		err := Semaphore(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took < 20*time.Second || took > 26*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := Semaphore(ctx, b, Hold{Name: "x", Log: quiet}, never(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended ctx: %v", err)
		}
	})
}

func TestWhoHoldsWhatGoesByANameIsListed(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		background(t, func(ctx context.Context) {
			_ = Lead(ctx, b, Candidate{Election: "x", ID: "a", Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		background(t, func(ctx context.Context) {
			_ = Lock(ctx, b, Hold{Name: "x", ID: "b", Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		background(t, func(ctx context.Context) {
			_ = Lock(ctx, b, Hold{Name: "xx", ID: "c", Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		})
		for _, slot := range []string{"slot.x.4", "slot.x.y.4", "slot.xx.4"} {
			if _, err := b.Acquire(t.Context(), port.Lease{Name: slot, Owner: "d", Nonce: "n", Data: []byte("no note")}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		all, err := Who(t.Context(), b, "x")
		if err != nil {
			t.Fatal(err)
		}
		l := newLines()
		for _, h := range all {
			l.add("%s %d %s %s %v %v", h.Kind, h.Slot, h.Name, h.Holder, h.Token > 0, h.Since.IsZero())
		}
		l.want(t, "lead 0 x a true false", "lock 0 x b true false", "slot 4 x d true true")
		if _, err := Who(t.Context(), b, ""); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("no name: %v", err)
		}
		handle, c := watched(b)
		c.set(down())
		if _, err := Who(t.Context(), handle, "x"); !errors.Is(err, errNet) {
			t.Errorf("an outage: %v", err)
		}
	})
}

// vague is a backend that cannot tell how long a lease still lasts.
type vague struct{ port.Leases }

func (v vague) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	got, err := v.Leases.Acquire(ctx, want, ttl)
	if err != nil {
		got.TTL = 0
	}
	return got, err
}

func TestABackendThatCannotTellHowLongItLastsIsNotAskedAllTheTime(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "lock.x", Owner: "gone", Nonce: "n"}, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		handle, c := watched(b)
		start := time.Now()
		err := Lock(t.Context(), vague{handle}, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took > 16*time.Second || c.of("acquire") > 27 {
			t.Errorf("%v after %v and %v", err, took, c.count)
		}
	})
}
