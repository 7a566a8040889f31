package bus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// C25: streams that grow for ever, or are trimmed past what nobody has read.
func TestDeadLettersAreKeptForEverUnlessTheirTopicSaysOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, b *memory.Backend, dead string) error
		want   time.Duration
	}{
		"nobody knows the topic": {func(*testing.T, *memory.Backend, string) error { return nil }, -1},
		"somebody reads it": {func(t *testing.T, b *memory.Backend, dead string) error {
			return b.Join(t.Context(), port.Group{Topic: dead, Name: "alarm", Loan: time.Minute})
		}, -1},
		"it has a limit": {func(t *testing.T, b *memory.Backend, dead string) error {
			return b.Declare(t.Context(), port.Topic{Name: dead, MaxAge: 24 * time.Hour})
		}, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Config{})
				topic := bus.DeadTopic(orders.Name, "g")
				if err := c.before(t, b, topic.Name); err != nil {
					t.Fatal(err)
				}
				bury(t, b, 2)
				for info, err := range b.Inspect(t.Context(), topic.Name) {
					if err != nil || info.Topic.MaxAge != c.want || info.Count != 2 {
						t.Errorf("%+v, %v", info, err)
					}
				}
			})
		})
	}
}

func TestDeadLettersAreATopicThatAGroupCanWorkOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		_, ids := bury(t, b, 3)
		var l log
		s := subscribe(t, b, bus.DeadTopic(orders.Name, "g"), bus.Group{Name: "alarm", Log: quiet}, func(_ context.Context, m bus.Message[bus.DeadLetter]) error {
			l.add("%s", m.Payload.ID)
			if m.Payload.ID == ids[1] {
				return bus.Reject(errors.New("the alarm is broken"))
			}
			return nil
		})
		<-time.After(time.Second)
		s.end()
		if len(l.all()) != 3 {
			t.Errorf("heard of %q", l.all())
		}
		if ds := dead(t, b, bus.DeadTopic(orders.Name, "g").Name, "alarm"); len(ds) != 1 || ds[0].Reason != "the alarm is broken" {
			t.Errorf("%+v", ds)
		}
	})
}

func TestLettersThatDoNotDecodeUseUpNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		topic := bus.DeadTopic(orders.Name, "g").Name
		for _, id := range []string{"x", "y", "z"} {
			if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: topic, ID: id, Body: []byte("no letter")}}}); err != nil {
				t.Fatal(err)
			}
		}
		d, _ := bury(t, b, 3)
		for range 3 {
			if n, err := d.Redrive(t.Context(), bus.DeadFilter{Limit: 1}); n != 1 || !errors.Is(err, port.ErrInvalid) {
				t.Errorf("redrove %d, %v", n, err)
			}
		}
		if g := group(t, b, orders.Name, "g"); g.Lag != 3 {
			t.Errorf("%+v", g)
		}
	})
}

func TestARateIsNotMadeUpForAfterASlowMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		d, _ := bury(t, store, 10)
		var last time.Time
		shortest := time.Hour
		d.Queue = store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name != "write" || op.Point != memory.Before {
				return memory.Fault{}
			}
			if !last.IsZero() {
				shortest = min(shortest, time.Since(last))
			}
			if slow := last.IsZero(); slow {
				last = time.Now()
				return memory.Fault{Delay: 5 * time.Second}
			}
			last = time.Now()
			return memory.Fault{}
		}})
		if n, err := d.Remove(t.Context(), bus.DeadFilter{PerSecond: 1}); n != 10 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if shortest < time.Second {
			t.Errorf("two within %v", shortest)
		}
	})
}
