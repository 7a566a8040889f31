package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

func TestARefusedConditionRunsTheHandlerAgainUncountedThreeTimes(t *testing.T) {
	for _, c := range []struct{ conflicts, attempt, runs int }{{3, 0, 4}, {4, 1, 5}} {
		synctest.Test(t, func(t *testing.T) {
			b := memory.New(memory.Config{})
			runs := 0
			s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(ctx context.Context, m bus.Message[order]) error {
				sum, was, err := balances.Get(ctx, b, "ann")
				if err != nil {
					return err
				}
				if runs++; runs <= c.conflicts { // somebody else is faster
					if _, err := b.Apply(ctx, port.Change{Key: "orders/balance/ann", Value: fmt.Append(nil, runs)}); err != nil {
						return err
					}
				}
				bus.Save(m, balances, "ann", was, sum+100)
				if runs == c.runs && m.Attempt != c.attempt {
					t.Errorf("after %d conflicts attempt %d, want %d", c.conflicts, m.Attempt, c.attempt)
				}
				return nil
			})
			publish(t, b, orders, order{"1", "ann", 1})
			<-time.After(time.Minute)
			s.end()
			sum, was, err := balances.Get(t.Context(), b, "ann")
			if runs != c.runs || sum != c.conflicts+100 || !was.Found() || err != nil {
				t.Errorf("%d runs, balance %d, %v", runs, sum, err)
			}
			empty(t, b, orders.Name, "g")
		})
	}
}

func TestAStepThatCannotBeMadeKillsTheMessageWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		families bool
		effects  func(m bus.Message[order])
		says     string
	}{
		"another family":        {true, func(m bus.Message[order]) { bus.Emit(m, bus.Topic[int]{Name: "other.topic"}, 1) }, "families"},
		"a key twice":           {false, func(m bus.Message[order]) { bus.Apply(m, port.Change{Key: "k"}, port.Change{Key: "k"}) }, "twice"},
		"what is no JSON":       {false, func(m bus.Message[order]) { bus.Emit(m, bus.Topic[func()]{Name: "orders.f"}, nil) }, "payload"},
		"a state that is none":  {false, func(m bus.Message[order]) { bus.Save(m, bus.State[func()]{}, "k", bus.Version{}, func() {}) }, "save state"},
		"a topic without name":  {false, func(m bus.Message[order]) { bus.Emit(m, bus.Topic[int]{}, 1) }, "the name is empty"},
		"a fence out of range":  {false, func(m bus.Message[order]) { bus.Fence(m, port.Fence{Name: "f", Token: 1<<53 + 1}) }, "token"},
		"a topic that is wrong": {false, func(m bus.Message[order]) { bus.Emit(m, bus.Topic[int]{Name: "a b"}, 1) }, "character"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Config{Families: c.families})
				s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
					c.effects(m)
					bus.Emit(m, shipped, shipment{"1"})
					return nil
				})
				publish(t, b, orders, order{ID: "1"})
				synctest.Wait()
				s.end()
				ds := dead(t, b, orders.Name, "g")
				if len(ds) != 1 || ds[0].Attempts != 1 || !strings.Contains(ds[0].Reason, c.says) {
					t.Errorf("%+v", ds)
				}
				if out, err := b.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 1}); len(out) != 0 || err != nil {
					t.Errorf("half of the step was made: %v, %v", out, err)
				}
			})
		})
	}
}

func TestAnOldFenceIsAFailureAndNothingOfTheStepHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		if err := b.Write(t.Context(), port.Batch{Fence: port.Fence{Name: "leader", Token: 9}}); err != nil {
			t.Fatal(err)
		}
		s := subscribe(t, b, orders, bus.Group{Name: "g", Retry: retry.Backoff{Tries: 2}, Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			bus.Fence(m, port.Fence{Name: "leader", Token: 8})
			bus.Emit(m, shipped, shipment{"1"})
			return nil
		})
		publish(t, b, orders, order{"1", "ann", 1})
		<-time.After(time.Minute)
		s.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 1 || ds[0].Attempts != 2 || !strings.Contains(ds[0].Reason, "newer holder") {
			t.Errorf("%+v", ds)
		}
	})
}

func TestALimitOfAnOutputIsDeclaredBeforeTheFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		short := bus.Topic[int]{Name: "orders.short", Keep: port.Topic{MaxAge: time.Hour}}
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[order]) error {
			bus.EmitAll(m, short, bus.Out[int]{Payload: 1, ID: "own", Key: "k", Tenant: "t", Headers: map[string]string{"h": "v"}}, bus.Out[int]{Payload: 2})
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		s.end()
		for info, err := range b.Inspect(t.Context(), short.Name) {
			if err != nil || info.Topic.MaxAge != time.Hour || info.Count != 2 {
				t.Errorf("%+v, %v", info, err)
			}
		}
		out, err := b.Read(t.Context(), port.Range{Topic: short.Name, Max: 2})
		if err != nil || out[0].Message.ID != "own" || out[0].Message.Key != "k" {
			t.Fatalf("%+v, %v", out, err)
		}
		meta, _, err := envelope.Parse(out[0].Message.Body)
		if err != nil || meta.Tenant != "t" || meta.Headers["h"] != "v" {
			t.Errorf("%+v, %v", meta, err)
		}
	})
}

func TestSettleInAcknowledgesThroughTheCallersQueueWithEverythingGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		runs := 0
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(ctx context.Context, m bus.Message[order]) error {
			runs++
			bus.EmitAll(m, bus.Topic[shipment]{Name: shipped.Name, Keep: port.Topic{MaxAge: 24 * time.Hour}}, bus.Out[shipment]{Payload: shipment{"1"}})
			if err := bus.SettleIn(ctx, m, b); err != nil {
				return err
			}
			empty(t, b, orders.Name, "g")
			for name, late := range map[string]func(){
				"Emit":     func() { bus.Emit(m, shipped, shipment{"2"}) },
				"SettleIn": func() { _ = bus.SettleIn(ctx, m, b) },
			} {
				if !panics(late) {
					t.Errorf("%s after SettleIn was taken", name)
				}
			}
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		<-time.After(time.Hour)
		s.end()
		out, err := b.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 10})
		if runs != 1 || len(out) != 1 || err != nil {
			t.Errorf("%d runs, %d came out, %v", runs, len(out), err)
		}
	})
}

func TestSettleInTellsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		other := memory.New(memory.Config{})
		s := subscribe(t, b, orders, bus.Group{Name: "g", Retry: retry.Backoff{Tries: 1}, Log: quiet}, func(ctx context.Context, m bus.Message[order]) error {
			if m.Payload.ID == "bad step" {
				bus.Emit(m, bus.Topic[func()]{Name: "orders.f"}, nil)
				return bus.SettleIn(ctx, m, b)
			}
			return bus.SettleIn(ctx, m, other)
		})
		publish(t, b, orders, order{ID: "bad step"})
		publish(t, b, orders, order{ID: "wrong queue"})
		<-time.After(time.Minute)
		s.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 2 || !strings.Contains(ds[0].Reason+ds[1].Reason, "payload") || !strings.Contains(ds[0].Reason+ds[1].Reason, "lost") {
			t.Errorf("%+v", ds)
		}
	})
}

func panics(fn func()) (did bool) {
	defer func() { did = recover() != nil }()
	fn()
	return false
}

func TestWhatIsEmittedAfterTheHandlerReturnedPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var kept bus.Message[order]
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[order]) error {
			kept = m
			return nil
		})
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		s.end()
		if !panics(func() { bus.Emit(kept, shipped, shipment{"1"}) }) {
			t.Error("it was taken and lost")
		}
	})
}

func TestAStateThatDoesNotDecodeIsAnError(t *testing.T) {
	b := memory.New(memory.Config{})
	if _, err := b.Apply(t.Context(), port.Change{Key: "orders/balance/ann", Value: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := balances.Get(t.Context(), b, "ann"); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if _, _, err := balances.Get(t.Context(), b, strings.Repeat("x", 600)); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	raw := bus.State[[]byte]{Codec: envelope.Bytes{}}
	if got, was, err := raw.Get(t.Context(), b, "orders/balance/ann"); string(got) != "{" || !was.Found() || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
