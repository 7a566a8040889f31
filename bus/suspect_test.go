package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// suspected makes a message whose worker died before its handling began.
func suspected(t *testing.T, store *memory.Backend) {
	t.Helper()
	died := port.Group{Topic: orders.Name, Name: "g", Consumer: "died", Loan: time.Second}
	if err := store.Join(t.Context(), died); err != nil {
		t.Fatal(err)
	}
	publish(t, store, orders, order{ID: "1"})
	if ds, err := store.Fetch(t.Context(), died, 1); len(ds) != 1 || err != nil {
		t.Fatalf("%d messages, %v", len(ds), err)
	}
	<-time.After(died.Loan)
}

func TestASuspectWhoseStartIsRecordedLateIsHandledWithALiveContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		suspected(t, store)
		back := time.Now().Add(20 * time.Second)
		b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "extend" && time.Now().Before(back) {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		runs := 0
		g := bus.Group{Name: "g", Workers: 1, Ahead: -1, Loan: 4 * time.Second, Log: quiet}
		s := subscribe(t, b, orders, g, func(ctx context.Context, m bus.Message[order]) error {
			runs++
			if ctx.Err() != nil {
				t.Errorf("begun under a context that ended: %v", context.Cause(ctx))
			}
			<-time.After(time.Hour) // its loan is kept from here on
			return context.Cause(ctx)
		})
		<-time.After(2 * time.Hour)
		s.end()
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
		empty(t, store, orders.Name, "g")
	})
}
