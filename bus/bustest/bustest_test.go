package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	muster "github.com/musterhq/muster"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/bus/bustest"
	"github.com/musterhq/muster/port"
)

type payment struct {
	ID    string
	Cents int
}

type line struct {
	ID  string
	Sum int
}

var (
	payments = bus.Topic[payment]{Name: "pay.in", Key: func(payment) string { return "account" }}
	booked   = bus.Topic[line]{Name: "pay.booked"}
	balance  = bus.State[int]{Prefix: "pay/balance/"}
	audited  = bus.State[int]{Prefix: "pay/audited/"}
	quiet    = bus.Group{Name: "g", Log: slog.New(slog.DiscardHandler)}
)

// book reads state, decides, writes conditionally and emits: another list on its second run, because the state is another.
func book(b port.Backend) bus.Handler[payment] {
	return func(ctx context.Context, m bus.Message[payment]) error {
		sum, was, err := balance.Get(ctx, b, "account")
		if err != nil {
			return err
		}
		sum += m.Payload.Cents
		bus.Save(m, balance, "account", was, sum)
		for range 1 + sum%2 {
			bus.Emit(m, booked, line{m.Payload.ID, sum})
		}
		return nil
	}
}

// audit is the second hop.
func audit(b port.Backend) bus.Handler[line] {
	return func(ctx context.Context, m bus.Message[line]) error {
		n, was, err := audited.Get(ctx, b, m.Payload.ID)
		if err != nil {
			return err
		}
		bus.Save(m, audited, m.Payload.ID, was, n+1)
		return nil
	}
}

func TestATwoHopFlowLosesNothingAndAppliesNothingTwiceWhereverItsWorkerDies(t *testing.T) {
	bustest.Crashes(t, bustest.Plan{
		Seed: func(ctx context.Context, b port.Backend) error {
			for i := range 3 {
				if _, err := payments.Publish(ctx, b, payment{fmt.Sprint(i), 1}); err != nil {
					return err
				}
			}
			return nil
		},
		Work: func(ctx context.Context, b port.Backend) error {
			return muster.Run(ctx,
				func(ctx context.Context) error { return payments.Subscribe(ctx, b, quiet, book(b)) },
				func(ctx context.Context) error { return booked.Subscribe(ctx, b, quiet, audit(b)) },
			)
		},
		Check: func(t *testing.T, b port.Backend) {
			sum, _, err := balance.Get(t.Context(), b, "account")
			if sum != 3 || err != nil {
				t.Errorf("the balance is %d, %v; want 3", sum, err)
			}
			lines := 0
			for i := range 3 {
				n, _, err := audited.Get(t.Context(), b, fmt.Sprint(i))
				if n < 1 || n > 2 || err != nil {
					t.Errorf("payment %d was audited %d times, %v", i, n, err)
				}
				lines += n
			}
			if lines != 5 { // sums 1, 2 and 3 emit 2, 1 and 2
				t.Errorf("%d lines were audited, want 5", lines)
			}
		},
	})
}

func TestAHandlerRunsWithoutABackend(t *testing.T) {
	h := func(_ context.Context, m bus.Message[payment]) error {
		if m.Payload.Cents < 0 {
			return bus.Reject(errors.New("negative"))
		}
		bus.Emit(m, booked, line{m.Payload.ID, m.Payload.Cents})
		return nil
	}
	if r := bustest.Handle(t.Context(), h, payment{"1", 5}); r.Err != nil || len(r.Batch.Messages) != 1 || r.Batch.Messages[0].Topic != booked.Name {
		t.Errorf("got %+v", r)
	}
	if r := bustest.Handle(t.Context(), h, payment{"1", -5}); !errors.Is(r.Err, bus.ErrRejected) || len(r.Batch.Messages) != 0 {
		t.Errorf("got %+v", r)
	}
}
