package once_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/once"
	"github.com/musterhq/muster/port"
)

func ledger(kv port.KV) once.Ledger { return once.Ledger{KV: kv, Keep: 24 * time.Hour} }

func answers[T any](v T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, nil }
}

// C6: get-then-set ran ten times.
func TestTenConcurrentCallersRunItOnceAndAllGetItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var runs, ran, recorded atomic.Int32
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				v, outcome, err := once.Do(t.Context(), ledger(b), "charge:1", func(context.Context) (string, error) {
					<-time.After(3 * time.Second)
					return fmt.Sprintf("receipt %d", runs.Add(1)), nil
				})
				if v != "receipt 1" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
				switch outcome {
				case once.Ran:
					ran.Add(1)
				case once.Recorded:
					recorded.Add(1)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 || ran.Load() != 1 || recorded.Load() != 9 {
			t.Errorf("ran %d times, told so %d callers and %d of a record", runs.Load(), ran.Load(), recorded.Load())
		}
	})
}

// C12: a result that is nil or false was taken for "not done".
func TestNilFalseAndZeroAreResults(t *testing.T) {
	b := memory.New(memory.Config{})
	for range 2 {
		if v, _, err := once.Do(t.Context(), ledger(b), "nil", answers[*int](nil)); v != nil || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
		if v, _, err := once.Do(t.Context(), ledger(b), "false", answers(false)); v || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
	}
	for _, key := range []string{"nil", "false"} {
		if _, outcome, err := once.Do(t.Context(), ledger(b), key, answers[any](1)); outcome != once.Recorded || err != nil {
			t.Errorf("%s: a third call: %v, %v", key, outcome, err)
		}
	}
}

func TestAnErrorRecordsNothingAndFreesTheKey(t *testing.T) {
	b := memory.New(memory.Config{})
	broke := errors.New("broke")
	_, outcome, err := once.Do(t.Context(), ledger(b), "k", func(context.Context) (int, error) { return 7, broke })
	if !errors.Is(err, broke) || outcome != once.Ran {
		t.Errorf("got %v, %v", outcome, err)
	}
	v, outcome, err := once.Do(t.Context(), ledger(b), "k", answers(8))
	if v != 8 || outcome != once.Ran || err != nil {
		t.Errorf("after a failure: %v, %v, %v", v, outcome, err)
	}
}

func TestAPanicGoesOnAndFreesTheKey(t *testing.T) {
	b := memory.New(memory.Config{})
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, _, err := once.Do(t.Context(), ledger(b), "k", func(context.Context) (int, error) { panic("boom") })
		t.Errorf("it returned %v", err)
	}()
	l := ledger(b)
	l.NoWait = true
	if v, _, err := once.Do(t.Context(), l, "k", answers(8)); v != 8 || err != nil {
		t.Errorf("after a panic: %v, %v", v, err)
	}
}

func TestTheClaimOfADeadOwnerIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		var cut atomic.Bool
		dying := store.Open(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Cut: cut.Load()} }})
		_, _, err := once.Do(t.Context(), ledger(dying), "k", func(context.Context) (int, error) {
			cut.Store(true) // from here on this process is gone
			return 1, nil
		})
		if !errors.Is(err, port.ErrUncertain) {
			t.Errorf("the dead owner: %v", err)
		}
		start := time.Now()
		v, outcome, err := once.Do(t.Context(), ledger(store), "k", answers(2))
		if v != 2 || outcome != once.Ran || err != nil {
			t.Errorf("take-over: %v, %v, %v", v, outcome, err)
		}
		if waited := time.Since(start); waited > 31*time.Second {
			t.Errorf("taken over after %v, the lease is 30 s", waited)
		}
	})
}

func TestTheRecordOfAnOwnerWhoseClaimPassedOnIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		var paused atomic.Bool
		zombie := store.Open(memory.Config{Fault: func(memory.Op) memory.Fault {
			if paused.Load() {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, outcome, err := once.Do(t.Context(), ledger(zombie), "k", func(ctx context.Context) (string, error) {
				paused.Store(true)
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), port.ErrLost) {
					t.Errorf("the ctx ended by %v", context.Cause(ctx))
				}
				<-time.After(time.Minute)
				paused.Store(false)
				return "zombie", nil
			})
			if outcome != once.Ran || !errors.Is(err, port.ErrLost) {
				t.Errorf("the zombie: %v, %v", outcome, err)
			}
		})
		<-time.After(time.Second)
		if v, _, err := once.Do(t.Context(), ledger(store), "k", answers("next")); v != "next" || err != nil {
			t.Errorf("the next: %v, %v", v, err)
		}
		wg.Wait()
		if v, outcome, _ := once.Do(t.Context(), ledger(store), "k", answers("third")); v != "next" || outcome != once.Recorded {
			t.Errorf("on record: %v, %v", v, outcome)
		}
	})
}

func TestAClaimThatLapsedUntakenIsStillRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		var away atomic.Bool
		b := store.Open(memory.Config{Fault: func(memory.Op) memory.Fault {
			if away.Load() {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		_, outcome, err := once.Do(t.Context(), ledger(b), "k", func(context.Context) (int, error) {
			away.Store(true)
			<-time.After(time.Hour)
			away.Store(false)
			return 5, nil
		})
		if outcome != once.Ran || err != nil {
			t.Errorf("got %v, %v", outcome, err)
		}
		if v, outcome, _ := once.Do(t.Context(), ledger(store), "k", answers(6)); v != 5 || outcome != once.Recorded {
			t.Errorf("on record: %v, %v", v, outcome)
		}
	})
}

func TestALongRunKeepsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		l := ledger(b)
		l.NoWait = true
		_, _, err := once.Do(t.Context(), l, "k", func(ctx context.Context) (int, error) {
			for range 100 {
				<-time.After(10 * time.Second)
				if _, _, err := once.Do(ctx, l, "k", answers(2)); !errors.Is(err, once.ErrInProgress) {
					t.Errorf("a second caller: %v", err)
				}
			}
			return 1, context.Cause(ctx)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestLostRepliesNeitherRunTwiceNorBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := false
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Point == memory.After {
				if lose = !lose; lose {
					return memory.Fault{Err: port.ErrUncertain}
				}
			}
			return memory.Fault{}
		}})
		start := time.Now()
		runs := 0
		for range 5 {
			v, _, err := once.Do(t.Context(), ledger(b), "k", func(context.Context) (int, error) { runs++; return runs, nil })
			if v != 1 || err != nil {
				t.Errorf("got %v, %v", v, err)
			}
			if seen, err := once.Seen(t.Context(), b, envelope.NewID(), time.Hour); seen || err != nil {
				t.Errorf("a new id: %v, %v", seen, err)
			}
		}
		if runs != 1 || time.Since(start) > 5*time.Second {
			t.Errorf("ran %d times in %v", runs, time.Since(start))
		}
	})
}

func TestAWaiterEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		_, _, err := once.Do(t.Context(), ledger(b), "k", func(ctx context.Context) (int, error) {
			ctx, end := context.WithTimeout(ctx, time.Second)
			defer end()
			if _, _, err := once.Do(ctx, ledger(b), "k", answers(2)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the waiter: %v", err)
			}
			return 1, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTheKeyOfTheMessageIsTheDefaultAndReachesTheFunction(t *testing.T) {
	b := memory.New(memory.Config{})
	ctx := envelope.WithIdempotencyKey(t.Context(), "orders/billing/7")
	key, _, err := once.Do(ctx, ledger(b), "", func(ctx context.Context) (string, error) { return envelope.IdempotencyKey(ctx), nil })
	if key != "orders/billing/7" || err != nil {
		t.Errorf("got %q, %v", key, err)
	}
	if _, _, err := once.Do(t.Context(), ledger(b), "", answers(1)); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("without a message: %v", err)
	}
}

func TestWhatCannotBeKeptIsRefused(t *testing.T) {
	b := memory.New(memory.Config{})
	for name, l := range map[string]once.Ledger{
		"no KV":                {Keep: time.Hour},
		"no Keep":              {KV: b},
		"Keep under the lease": {KV: b, Keep: time.Second},
	} {
		if _, outcome, err := once.Do(t.Context(), l, "k", answers(1)); !errors.Is(err, port.ErrInvalid) || outcome != 0 {
			t.Errorf("%s: %v, %v", name, outcome, err)
		}
	}
	if _, _, err := once.Do(t.Context(), ledger(b), "f", answers(func() {})); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a result that does not encode: %v", err)
	}
	if _, _, err := once.Do(t.Context(), ledger(b), "f", answers(1)); err != nil {
		t.Errorf("its key is not free: %v", err)
	}
	if _, _, err := once.Do(t.Context(), ledger(b), "f", answers("text")); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a record of another type: %v", err)
	}
	if _, err := b.Apply(t.Context(), port.Change{Key: "once.other", Value: []byte("plain")}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := once.Do(t.Context(), ledger(b), "other", answers(1)); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a key of others: %v", err)
	}
}

func TestABackendThatIsAwayIsToldAtOnce(t *testing.T) {
	b := memory.New(memory.Config{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, outcome, err := once.Do(t.Context(), ledger(b), "k", answers(1)); !errors.Is(err, port.ErrClosed) || outcome != 0 {
		t.Errorf("got %v, %v", outcome, err)
	}
	if _, err := once.Seen(t.Context(), b, "id", time.Hour); !errors.Is(err, port.ErrClosed) {
		t.Errorf("seen: %v", err)
	}
}

// C12, C6: of all who ask, one is first.
func TestAnIDIsSeenByAllButTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var first atomic.Int32
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				seen, err := once.Seen(t.Context(), b, "id", time.Hour)
				if err != nil {
					t.Error(err)
				}
				if !seen {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if first.Load() != 1 {
			t.Errorf("%d were first", first.Load())
		}
		<-time.After(time.Hour + time.Second)
		if seen, _ := once.Seen(t.Context(), b, "id", time.Hour); seen {
			t.Error("seen after its time")
		}
		if _, err := once.Seen(t.Context(), b, "", time.Hour); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("no id: %v", err)
		}
	})
}

func TestOutcomesHaveNames(t *testing.T) {
	for o, want := range map[once.Outcome]string{once.Ran: "ran", once.Recorded: "recorded", 0: "nothing"} {
		if o.String() != want {
			t.Errorf("%d is %q", o, o.String())
		}
	}
}
