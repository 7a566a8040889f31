package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

func TestASlowHandlerKeepsItsLoanForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		runs := 0
		slow := func(ctx context.Context, m bus.Message[order]) error {
			runs++
			<-time.After(3 * time.Hour)
			return context.Cause(ctx)
		}
		one := subscribe(t, b, orders, bus.Group{Name: "g", Loan: time.Minute}, slow)
		two := subscribe(t, b, orders, bus.Group{Name: "g", Loan: time.Minute}, slow)
		publish(t, b, orders, order{ID: "1"})
		<-time.After(4 * time.Hour)
		one.end()
		two.end()
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
		empty(t, b, orders.Name, "g")
	})
}

// away makes the backend of one process answer nothing while it is on.
func away(store *memory.Backend) (*memory.Backend, *atomic.Bool) {
	var on atomic.Bool
	return store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
		if on.Load() {
			return memory.Fault{Err: port.ErrUnavailable}
		}
		return memory.Fault{}
	}}), &on
}

func TestAnOutageShorterThanTheLoanIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		b, off := away(store)
		runs := 0
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(context.Context, bus.Message[order]) error {
			runs++
			off.Store(true)
			return nil
		})
		publish(t, store, orders, order{ID: "1"})
		<-time.After(20 * time.Second)
		off.Store(false)
		<-time.After(20 * time.Second)
		publish(t, store, orders, order{ID: "2"})
		<-time.After(time.Second)
		off.Store(false)
		<-time.After(time.Minute)
		s.end()
		if runs != 2 {
			t.Errorf("%d runs", runs)
		}
		empty(t, store, orders.Name, "g")
	})
}

// P3: a lost loan is no failure; P2: the first settlement wins.
func TestAProcessThatCannotExtendItsLoanStopsItsHandlerAndTheNextOneTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		b, off := away(store)
		var l log
		zombie := subscribe(t, b, orders, bus.Group{Name: "g", Workers: 1, Log: quiet}, func(ctx context.Context, m bus.Message[order]) error {
			off.Store(true)
			bus.Emit(m, shipped, shipment{"zombie"})
			<-ctx.Done()
			l.add("zombie %v", errors.Is(context.Cause(ctx), port.ErrLost))
			<-time.After(time.Minute)
			off.Store(false)
			return nil // it believes that it is done
		})
		two := []bus.Out[order]{{Payload: order{ID: "1"}}, {Payload: order{ID: "2"}}} // the second one waits in the zombie's hand
		if _, err := orders.PublishAll(t.Context(), store, two...); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		next := subscribe(t, store, orders, bus.Group{Name: "g", Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			l.add("next %s/%d", m.Payload.ID, m.Attempt)
			bus.Emit(m, shipped, shipment{"next"})
			return nil
		})
		<-time.After(10 * time.Minute)
		zombie.end()
		next.end()
		if got := l.all(); len(got) != 3 || got[0] != "zombie true" {
			t.Errorf("%q", got)
		}
		out, err := store.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 10})
		if len(out) != 2 || err != nil {
			t.Errorf("%d came out, %v", len(out), err)
		}
		empty(t, store, orders.Name, "g")
	})
}

func TestSuspectsAreHandledOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		lost := port.Group{Topic: orders.Name, Name: "g", Consumer: "died", Loan: time.Second}
		if err := b.Join(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			publish(t, b, orders, order{ID: fmt.Sprint(i)})
		}
		if ds, err := b.Fetch(t.Context(), lost, 10); len(ds) != 5 || err != nil {
			t.Fatal(len(ds), err)
		}
		for i := range 5 {
			publish(t, b, orders, order{ID: fmt.Sprint("new ", i)})
		}
		var running, most, fresh atomic.Int32
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[order]) error {
			if len(m.Payload.ID) > 1 {
				fresh.Add(1)
				return nil
			}
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			return nil
		})
		<-time.After(time.Minute)
		s.end()
		if most.Load() != 1 || fresh.Load() != 5 {
			t.Errorf("%d suspects at a time, %d others", most.Load(), fresh.Load())
		}
		empty(t, b, orders.Name, "g")
	})
}

func TestASuspectIsNotBegunBeforeItsStartIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		died := port.Group{Topic: orders.Name, Name: "g", Consumer: "died", Loan: time.Second}
		if err := store.Join(t.Context(), died); err != nil {
			t.Fatal(err)
		}
		publish(t, store, orders, order{ID: "1"})
		if _, err := store.Fetch(t.Context(), died, 1); err != nil {
			t.Fatal(err)
		}
		refusals, runs := 3, 0
		b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "extend" && op.Point == memory.Before && refusals > 0 {
				refusals--
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(context.Context, bus.Message[order]) error {
			if runs++; refusals > 0 {
				t.Error("begun without a record")
			}
			return nil
		})
		<-time.After(time.Minute)
		s.end()
		if runs != 1 || refusals != 0 {
			t.Errorf("%d runs, %d refusals left", runs, refusals)
		}
	})
}

// Lost replies, repeated requests and refusals at every operation: nothing is lost, and no effect is doubled.
func TestFaultsAtEveryOperationLoseAndDoubleNothing(t *testing.T) {
	for name, fault := range map[string]memory.Fault{
		"unavailable": {Err: port.ErrUnavailable},
		"uncertain":   {Err: port.ErrUncertain},
		"twice":       {Twice: true},
		"slow":        {Delay: 200 * time.Millisecond},
	} {
		for _, stepwise := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stepwise %v", name, stepwise), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memory.New(memory.Config{Stepwise: stepwise})
					var mu sync.Mutex
					dice := rand.New(rand.NewPCG(1, 2))
					b := store.Open(memory.Config{Stepwise: stepwise, Fault: func(op memory.Op) memory.Fault {
						at := memory.Before
						if errors.Is(fault.Err, port.ErrUncertain) {
							at = memory.After
						}
						if op.Point != at || op.Name == "declare" || op.Name == "join" {
							return memory.Fault{}
						}
						mu.Lock()
						defer mu.Unlock()
						if dice.IntN(3) == 0 {
							return fault
						}
						return memory.Fault{}
					}})
					g := bus.Group{Name: "g", Log: quiet, Retry: retry.Backoff{Tries: -1}}
					s := subscribe(t, b, orders, g, func(ctx context.Context, m bus.Message[order]) error {
						sum, was, err := balances.Get(ctx, b, m.Payload.Customer)
						if err != nil {
							return err
						}
						bus.Save(m, balances, m.Payload.Customer, was, sum+1)
						bus.Emit(m, shipped, shipment{m.Payload.ID})
						return nil
					})
					for i := range 30 {
						publish(t, store, orders, order{fmt.Sprint(i), fmt.Sprint(i % 3), 1})
					}
					<-time.After(time.Hour)
					s.end()
					for i := range 3 {
						if sum, _, err := balances.Get(t.Context(), store, fmt.Sprint(i)); sum != 10 || err != nil {
							t.Errorf("balance %d is %d, %v", i, sum, err)
						}
					}
					if out, err := store.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 100}); len(out) != 30 || err != nil {
						t.Errorf("%d came out, %v", len(out), err)
					}
					empty(t, store, orders.Name, "g")
				})
			})
		}
	}
}
