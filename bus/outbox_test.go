package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// A step whose output is full waits without end; the others of its group do not wait with it, and nobody is told it twenty times
// a second.
func TestAStepThatWaitsForRoomHoldsUpNoOtherAndIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		full := bus.Topic[int]{Name: "orders.full", Keep: port.Topic{MaxCount: 1}}
		if err := b.Join(t.Context(), port.Group{Topic: full.Name, Name: "slow", Loan: time.Minute}); err != nil {
			t.Fatal(err)
		}
		publish(t, b, full, 0)
		var lines bytes.Buffer
		var slowest time.Duration
		g := bus.Group{Name: "g", Log: slog.New(slog.NewTextHandler(&lines, nil))}
		s := subscribe(t, b, orders, g, func(_ context.Context, m bus.Message[order]) error {
			if m.Payload.ID == "full" {
				bus.Emit(m, full, 1)
			}
			return nil
		})
		synctest.Wait()
		publish(t, b, orders, order{ID: "full"})
		for i := range 100 {
			publish(t, b, orders, order{ID: fmt.Sprint(i)})
			begin := time.Now()
			for left := 2; left > 1; {
				<-time.After(time.Millisecond)
				g := group(t, b, orders.Name, "g")
				left = int(g.Lag + g.Loaned)
			}
			slowest = max(slowest, time.Since(begin))
			<-time.After(time.Second)
		}
		if err := b.Drop(t.Context(), full.Name, "slow"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		s.end()
		empty(t, b, orders.Name, "g")
		if n := strings.Count(lines.String(), "settling fails"); n != 1 {
			t.Errorf("told %d times", n)
		}
		if slowest > 6*time.Second {
			t.Errorf("another message was settled after %v", slowest)
		}
	})
}

// C29: unbounded waits. A connection that swallows a request is no reason to wait for as long as it stands.
func TestACallThatHangsIsMadeAgainAfterALoan(t *testing.T) {
	for _, name := range []string{"settle", "extend"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New(memory.Config{})
				suspected(t, store)
				var hung atomic.Bool
				b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
					if op.Name == name && op.Point == memory.Before && hung.CompareAndSwap(false, true) {
						return memory.Fault{Delay: 24 * time.Hour}
					}
					return memory.Fault{}
				}})
				runs := 0
				s := subscribe(t, b, orders, bus.Group{Name: "g", Loan: 10 * time.Second, Log: quiet}, func(context.Context, bus.Message[order]) error {
					runs++
					return nil
				})
				<-time.After(time.Minute)
				empty(t, store, orders.Name, "g")
				s.end()
				if runs != 1 || !hung.Load() {
					t.Errorf("%d runs, hung: %v", runs, hung.Load())
				}
			})
		})
	}
}
