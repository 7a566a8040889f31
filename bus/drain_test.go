package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

func TestTheEndHandsBackWhatWasNotBegunAtOnceAndLetsRunningHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var done log
		s := subscribe(t, b, orders, bus.Group{Name: "g", Workers: 1}, func(_ context.Context, m bus.Message[order]) error {
			<-time.After(10 * time.Second)
			done.add("%s", m.Payload.ID)
			return nil
		})
		for i := range 3 {
			publish(t, b, orders, order{ID: fmt.Sprint(i)})
		}
		<-time.After(time.Second)
		s.stop()
		synctest.Wait()
		if g := group(t, b, orders.Name, "g"); g.Lag != 2 || g.Loaned != 1 {
			t.Errorf("at the end of the ctx: %+v", g)
		}
		s.end()
		if got := fmt.Sprint(done.all()); got != "[0]" {
			t.Errorf("handled %s", got)
		}
		ds, err := b.Fetch(t.Context(), port.Group{Topic: orders.Name, Name: "g", Consumer: "next", Loan: time.Minute}, 10)
		if len(ds) != 2 || err != nil || ds[0].Attempt+ds[0].Lost+ds[1].Attempt+ds[1].Lost != 0 {
			t.Errorf("handed back %+v, %v", ds, err)
		}
	})
}

func TestAHandlerThatIsCutOffIsHandedBackUncounted(t *testing.T) {
	for name, grace := range map[string]time.Duration{"after its grace": 5 * time.Second, "without grace": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Config{})
				s := subscribe(t, b, orders, bus.Group{Name: "g", Grace: grace}, func(ctx context.Context, m bus.Message[order]) error {
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), context.Canceled) {
						t.Errorf("cut off by %v", context.Cause(ctx))
					}
					return ctx.Err()
				})
				publish(t, b, orders, order{ID: "1"})
				synctest.Wait()
				begin := time.Now()
				s.end()
				if took := time.Since(begin); took != max(grace, 0) {
					t.Errorf("it took %v", took)
				}
				ds, err := b.Fetch(t.Context(), port.Group{Topic: orders.Name, Name: "g", Consumer: "next", Loan: time.Minute}, 10)
				if len(ds) != 1 || err != nil || ds[0].Attempt != 0 || ds[0].Lost != 0 {
					t.Errorf("handed back %+v, %v", ds, err)
				}
			})
		})
	}
}

func TestAHandlerThatIgnoresItsContextKeepsItsLoanUntilItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		runs := 0
		s := subscribe(t, b, orders, bus.Group{Name: "g", Loan: 10 * time.Second, Grace: time.Second}, func(context.Context, bus.Message[order]) error {
			runs++
			<-time.After(time.Hour)
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		s.stop()
		next := subscribe(t, b, orders, bus.Group{Name: "g"}, func(context.Context, bus.Message[order]) error {
			t.Error("it was handled beside")
			return nil
		})
		s.end()
		next.end()
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
		empty(t, b, orders.Name, "g")
	})
}

func TestARefusedStepIsHandedBackWhileTheSubscriptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var s *subscription
		s = subscribe(t, b, orders, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[order]) error {
			bus.Apply(m, port.Change{Key: "never", If: port.Equals, Old: []byte("x")})
			s.stop()
			<-time.After(time.Second)
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		<-time.After(time.Minute)
		s.end()
		if g := group(t, b, orders.Name, "g"); g.Lag != 1 {
			t.Errorf("%+v", g)
		}
	})
}

// C13: stop of one consumer closed everyone's connection.
func TestTheEndOfOneSubscriptionDisturbsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		handled := 0
		one := subscribe(t, b, orders, bus.Group{Name: "one"}, func(context.Context, bus.Message[order]) error { return nil })
		two := subscribe(t, b, orders, bus.Group{Name: "two"}, func(context.Context, bus.Message[order]) error { handled++; return nil })
		synctest.Wait()
		one.end()
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		two.end()
		if handled != 1 {
			t.Errorf("handled %d", handled)
		}
	})
}

func TestASubscriptionEndsWhenItsGroupIsDroppedOrItsBackendClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(context.Context, bus.Message[order]) error { return nil })
		synctest.Wait()
		if err := b.Drop(t.Context(), orders.Name, "g"); err != nil {
			t.Fatal(err)
		}
		if err := <-s.done; !errors.Is(err, port.ErrLost) {
			t.Errorf("dropped: %v", err)
		}
		s = subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(ctx context.Context, _ bus.Message[order]) error {
			<-ctx.Done()
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-s.done; !errors.Is(err, port.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := orders.Subscribe(t.Context(), b, bus.Group{Name: "g"}, nil); !errors.Is(err, port.ErrClosed) {
			t.Errorf("a new one: %v", err)
		}
	})
}

func TestAnEndDuringAnOutageTellsWhatComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		var away atomic.Bool
		b := store.Open(memory.Config{Fault: func(memory.Op) memory.Fault {
			if away.Load() {
				return memory.Fault{Err: errors.New("no route")}
			}
			return memory.Fault{}
		}})
		s := subscribe(t, b, orders, bus.Group{Name: "g", Grace: 3 * time.Second, Log: quiet}, func(context.Context, bus.Message[order]) error {
			away.Store(true)
			return nil
		})
		publish(t, store, orders, order{ID: "1"})
		<-time.After(time.Second)
		s.stop()
		if err := <-s.done; !errors.Is(err, port.ErrUncertain) {
			t.Errorf("it ended with %v", err)
		}
	})
}
