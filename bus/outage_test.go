package bus_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// Rule: however long the backend was away, work goes on within a second of its return.
func TestABackendThatIsAwayIsAskedOnceASecondAtLeast(t *testing.T) {
	for _, call := range []string{"fetch", "settle", "extend"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New(memory.Config{})
				suspected(t, store)
				back := time.Now().Add(10 * time.Minute)
				var mu sync.Mutex
				var asked []time.Time
				b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
					if op.Name != call || op.Point != memory.Before {
						return memory.Fault{}
					}
					mu.Lock()
					defer mu.Unlock()
					if len(asked) == 0 || asked[len(asked)-1].Before(back) {
						asked = append(asked, time.Now())
					}
					if time.Now().Before(back) {
						return memory.Fault{Err: port.ErrUnavailable}
					}
					return memory.Fault{}
				}})
				runs := 0
				s := subscribe(t, b, orders, bus.Group{Name: "g", Loan: time.Hour, Log: quiet}, func(context.Context, bus.Message[order]) error {
					runs++
					return nil
				})
				<-time.After(time.Until(back) + time.Minute)
				s.end()
				if runs != 1 || asked[len(asked)-1].Before(back) {
					t.Errorf("%d runs, asked for the last time %v after the return", runs, asked[len(asked)-1].Sub(back))
				}
				for i := range asked[1:] {
					if wait := asked[i+1].Sub(asked[i]); wait > time.Second {
						t.Fatalf("asked again after %v", wait)
					}
				}
				empty(t, store, orders.Name, "g")
			})
		})
	}
}
