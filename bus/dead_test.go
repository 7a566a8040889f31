package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// bury makes n dead letters of group g, of two tenants and two reasons in turn, and returns their ids.
func bury(t *testing.T, b *memory.Backend, n int) (bus.Dead, []string) {
	t.Helper()
	outs := make([]bus.Out[order], n)
	for i := range outs {
		outs[i] = bus.Out[order]{Payload: order{ID: fmt.Sprint(i), Customer: "ann"}, Tenant: fmt.Sprintf("tenant%d", i%2)}
	}
	ids, err := orders.PublishAll(t.Context(), b, outs...)
	if err != nil {
		t.Fatal(err)
	}
	s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
		return bus.Reject(fmt.Errorf("reason %c", m.Payload.ID[0]))
	})
	<-time.After(time.Second)
	s.end()
	return bus.Dead{Queue: b, Topic: orders.Name, Group: "g"}, ids
}

func TestDeadLettersAreChosenByIDTenantReasonAndNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		d, ids := bury(t, b, 250)
		for name, c := range map[string]struct {
			filter bus.DeadFilter
			want   int
		}{
			"all":       {bus.DeadFilter{}, 250},
			"two ids":   {bus.DeadFilter{IDs: []string{ids[3], ids[200], "unknown"}}, 2},
			"a tenant":  {bus.DeadFilter{Tenant: "tenant1"}, 125},
			"a reason":  {bus.DeadFilter{Reason: "reason 1"}, 111},
			"a few":     {bus.DeadFilter{Limit: 7}, 7},
			"all three": {bus.DeadFilter{Tenant: "tenant1", Reason: "reason 1", Limit: 2}, 2},
		} {
			n := 0
			for letter, err := range d.List(t.Context(), c.filter) {
				if n++; err != nil || letter.Offset == "" || letter.Group != "g" || letter.Key != "ann" {
					t.Errorf("%s: %+v, %v", name, letter, err)
				}
			}
			if n != c.want {
				t.Errorf("%s: %d, want %d", name, n, c.want)
			}
		}
		if n, err := d.Remove(t.Context(), bus.DeadFilter{Tenant: "tenant1"}); n != 125 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if n, err := d.Count(t.Context()); n != 125 || err != nil {
			t.Errorf("%d are left, %v", n, err)
		}
		if _, err := d.Show(t.Context(), ids[1]); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("a removed one: %v", err)
		}
		for _, err := range d.List(t.Context(), bus.DeadFilter{}) {
			if err != nil {
				t.Error(err)
			}
			break // leaving the loop early is fine
		}
	})
}

func TestARedriveKeepsToItsRateAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		d, _ := bury(t, b, 20)
		begin := time.Now()
		if n, err := d.Redrive(t.Context(), bus.DeadFilter{Limit: 11, PerSecond: 2}); n != 11 || err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("%d in %v, %v", n, time.Since(begin), err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 1200*time.Millisecond)
		defer stop()
		if n, err := d.Redrive(ctx, bus.DeadFilter{PerSecond: 2}); n != 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		for _, f := range []bus.DeadFilter{{Limit: -1}, {PerSecond: -1}} {
			if _, err := d.Redrive(t.Context(), f); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

func TestARedriveIntoAGroupThatIsGoneSaysSoAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		d, _ := bury(t, b, 2)
		if err := b.Drop(t.Context(), orders.Name, "g"); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Redrive(t.Context(), bus.DeadFilter{}); n != 0 || !errors.Is(err, port.ErrNotFound) || !strings.Contains(err.Error(), "subscribe with it first") {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := d.Count(t.Context()); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestTwoWhoRedriveAtOnceDriveEachLetterOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		d, _ := bury(t, store, 50)
		var total atomic.Int64
		var both [2]*subscription
		for i := range both {
			mine := d
			mine.Queue = store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
				if op.Name == "write" && op.Point == memory.After && op.N%5 == 0 {
					return memory.Fault{Err: port.ErrUncertain}
				}
				return memory.Fault{Delay: time.Millisecond}
			}})
			both[i] = start(t, func(ctx context.Context) error {
				n, err := mine.Redrive(ctx, bus.DeadFilter{})
				total.Add(int64(n))
				return err
			})
		}
		for _, s := range both {
			if err := <-s.done; err != nil {
				t.Error(err)
			}
		}
		if g := group(t, store, orders.Name, "g"); total.Load() != 50 || g.Lag != 50 {
			t.Errorf("%d redriven, %d wait", total.Load(), g.Lag)
		}
	})
}

func TestALetterThatDoesNotDecodeIsToldAndTheOthersAreRedriven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		d, _ := bury(t, b, 2)
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: orders.Name + ".g.dead", ID: "x", Body: []byte("no letter")}}}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Redrive(t.Context(), bus.DeadFilter{}); n != 2 || !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := d.Show(t.Context(), "unknown"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestDeadLettersOfAGroupThatNeverFailedAreNone(t *testing.T) {
	b := memory.New(memory.Config{})
	d := bus.Dead{Queue: b, Topic: "a", Group: "g"}
	if n, err := d.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for letter, err := range d.List(t.Context(), bus.DeadFilter{}) {
		t.Errorf("%+v, %v", letter, err)
	}
	d.Topic = "no topic"
	if _, err := d.Redrive(t.Context(), bus.DeadFilter{}); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	d.Topic = "a"
	if _, err := d.Remove(t.Context(), bus.DeadFilter{}); !errors.Is(err, port.ErrClosed) {
		t.Error(err)
	}
}

// C9: a dead-letter write that failed, was logged, and then acknowledged.
func TestAMessageThatCannotBeBuriedStaysInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var refuse atomic.Bool
		refuse.Store(true)
		q := unburied{b, &refuse}
		var l log
		s := subscribe(t, q, orders, bus.Group{Name: "g", Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			l.add("%s", m.Payload.ID)
			return bus.Reject(errors.New(strings.Repeat("long ", 1000)))
		})
		publish(t, b, orders, order{ID: "1"})
		<-time.After(10 * time.Second)
		if g := group(t, b, orders.Name, "g"); g.Delayed != 1 {
			t.Errorf("%+v", g)
		}
		refuse.Store(false)
		<-time.After(10 * time.Minute)
		s.end()
		if ds := dead(t, b, orders.Name, "g"); len(ds) != 1 || len(l.all()) < 2 {
			t.Errorf("%+v after %d tries", ds, len(l.all()))
		}
	})
}

// unburied takes no dead letters for a while, as a backend that finds them too big.
type unburied struct {
	*memory.Backend
	refuse *atomic.Bool
}

func (u unburied) Settle(ctx context.Context, g port.Group, ss ...port.Settlement) []error {
	if u.refuse.Load() && len(ss[0].Then.Messages) > 0 {
		return []error{fmt.Errorf("too big: %w", port.ErrInvalid)}
	}
	return u.Backend.Settle(ctx, g, ss...)
}
