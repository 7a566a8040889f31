package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// backwards is a queue that hands out what becomes due at the same time in the reverse order, as a backend may.
type backwards struct{ port.Queue }

func (q backwards) Settle(ctx context.Context, g port.Group, list ...port.Settlement) []error {
	turned := slices.Clone(list)
	slices.Reverse(turned)
	errs := q.Queue.Settle(ctx, g, turned...)
	slices.Reverse(errs)
	return errs
}

// Rule: order within a key does not rest on the order of what is due at the same time, which no backend promises.
func TestTheLaterOnesOfAKeyStayBehindAFailureWhateverTheOrderOfWhatIsDueAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backwards{memory.New(memory.Config{})}
		var l log
		out := make([]bus.Out[order], 4)
		for i := range out {
			out[i].Payload = order{fmt.Sprint(i + 1), "ann", 1}
		}
		if _, err := orders.PublishAll(t.Context(), b, out...); err != nil {
			t.Fatal(err)
		}
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[order]) error {
			l.add("%s/%d", m.Payload.ID, m.Attempt)
			if m.Payload.ID == "1" && m.Attempt < 2 {
				return errors.New("no")
			}
			return nil
		})
		<-time.After(10 * time.Second)
		s.end()
		if got, want := fmt.Sprint(l.all()), "[1/0 1/1 1/2 2/0 3/0 4/0]"; got != want {
			t.Errorf("handled %s, want %s", got, want)
		}
	})
}

// Rule: an outage that is longer than a loan is neither a failure nor a crash of what was in hand.
func TestAnOutageLongerThanALoanCountsAgainstNothingInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if away.Load() && op.Point == memory.Before {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		var l log
		var interrupted atomic.Int64
		for _, id := range []string{"1", "2"} {
			publish(t, b, orders, order{id, "ann", 1})
		}
		s := subscribe(t, b, orders, bus.Group{Name: "g", Workers: 1, Loan: 3 * time.Second}, func(ctx context.Context, m bus.Message[order]) error {
			if m.Payload.ID == "1" && interrupted.Load() == 0 {
				away.Store(true)
				<-ctx.Done()
				interrupted.Add(1)
				if cause := context.Cause(ctx); !errors.Is(cause, port.ErrLost) {
					t.Errorf("the handler's context ended by %v", cause)
				}
				return ctx.Err()
			}
			l.add("%s/%d/%d", m.Payload.ID, m.Attempt, m.Crashes)
			return nil
		})
		<-time.After(10 * time.Second)
		away.Store(false)
		<-time.After(30 * time.Second)
		s.end()
		if got := l.all(); interrupted.Load() != 1 || len(got) != 2 || !slices.Contains(got, "1/0/0") || !slices.Contains(got, "2/0/0") {
			t.Errorf("%d interrupted, handled %s", interrupted.Load(), got)
		}
	})
}
