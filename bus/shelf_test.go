package bus_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// generous hands out more than it is asked for.
type generous struct{ port.Queue }

func (q generous) Fetch(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
	return q.Queue.Fetch(ctx, g, limit+100)
}

// Rule: who asks for a few is not taken down by more; what was not asked for comes again when its loan has run out.
func TestWhatNobodyAskedForIsLeftToRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var want []string
		var out []bus.Out[order]
		for i := range 100 {
			want = append(want, fmt.Sprintf("%03d", i))
			out = append(out, bus.Out[order]{Payload: order{ID: want[i]}})
		}
		var l log
		g := bus.Group{Name: "g", Workers: 1, Ahead: -1, Loan: bus.MinLoan, Log: quiet}
		s := subscribe(t, generous{b}, orders, g, func(_ context.Context, m bus.Message[order]) error {
			l.add("%s", m.Payload.ID)
			return nil
		})
		if _, err := orders.PublishAll(t.Context(), b, out...); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Minute)
		s.end()
		if got := slices.Sorted(slices.Values(l.all())); !slices.Equal(got, want) {
			t.Errorf("%d were handled, want each of %d once", len(got), len(want))
		}
	})
}
