package flow_test

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
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

var (
	words  = bus.Topic[string]{Name: "text.words"}
	louder = bus.Topic[string]{Name: "text.louder"}
)

func louden(h flow.Handler[string, string]) flow.Orchestrator[string, string] {
	return flow.New(flow.Step[string, string]{Name: "louden", In: words, Out: louder, Group: quiet()}, h)
}

func orchestrate(t *testing.T, o flow.Orchestrator[string, string], b flow.Backend) *process {
	return start(t, func(ctx context.Context) error { return o.Run(ctx, b) })
}

// count is how many messages a topic holds.
func count(t *testing.T, b port.Queue, topic string) int {
	t.Helper()
	entries, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestAStepLeavesItsOutputAndItsRecord(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		did, tries := 0, 0
		o := louden(func(ctx context.Context, in string) (string, error) {
			out, err := flow.Do(ctx, "upper", func(context.Context) (string, error) { did++; return strings.ToUpper(in), nil })
			if err != nil {
				return "", err
			}
			if tries++; tries == 1 {
				return "", errors.New("again")
			}
			if at, _ := envelope.PlaceFrom(ctx); at.Phase != "louden" {
				t.Errorf("the place is %+v", at)
			}
			return out, flow.Note(ctx, "letters", len(out))
		})
		defer orchestrate(t, o, b).end()
		out := bus.Out[string]{ID: "w-1", Payload: "hear", Tenant: "acme"}
		if _, err := words.PublishAll(t.Context(), b, out); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		entries, err := b.Read(t.Context(), port.Range{Topic: "text.louder", Max: 10})
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d outputs, %v", len(entries), err)
		}
		m, payload, err := envelope.Parse(entries[0].Message.Body)
		if string(payload) != `"HEAR"` || m.CauseID != "w-1" || m.CorrID != "w-1" || m.Tenant != "acme" || err != nil {
			t.Errorf("the output is %s of %+v, %v", payload, m, err)
		}
		v, err := o.Record(t.Context(), b, "w-1")
		if err != nil || v.Attempts != 2 || v.Phase != "louden" || v.Error != "again" || string(v.Notes["letters"]) != "4" || v.Ended.IsZero() || v.Input == v.Output || v.Output == "" {
			t.Errorf("the record is %+v, %v", v, err)
		}
		if did != 1 {
			t.Errorf("the sub-step ran %d times", did)
		}
		if _, err := o.Record(t.Context(), b, "w-2"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("no message: %v", err)
		}
	})
}

func TestAMessageThatComesAgainIsNotWorkedOffAgain(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		calls := 0
		step := flow.Step[string, string]{Name: "louden", In: words, Out: louder, Group: quiet(), Keep: 2 * time.Hour}
		o := flow.New(step, func(_ context.Context, in string) (string, error) { calls++; return in, nil })
		defer orchestrate(t, o, b).end()
		id := strings.Repeat("long", 100)
		for range 3 { // the topic's window and the group's memory are over
			if _, err := words.PublishAll(t.Context(), b, bus.Out[string]{ID: id, Payload: "x"}); err != nil {
				t.Fatal(err)
			}
			<-time.After(30 * time.Minute)
		}
		if n := count(t, b, "text.louder"); n != 1 || calls != 1 {
			t.Errorf("%d outputs of %d calls", n, calls)
		}
		if _, err := o.Record(t.Context(), b, id); err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		if _, err := o.Record(t.Context(), b, id); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("after its time: %v", err)
		}
	})
}

func TestAZombieOfAStepChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		paused := b.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "extend" {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		calls := 0
		done := make(chan struct{})
		o := louden(func(ctx context.Context, in string) (string, error) {
			if calls++; calls > 1 {
				return in, nil
			}
			defer close(done)
			<-time.After(2 * time.Minute)
			if _, err := flow.Do(ctx, "late", does(1)); !errors.Is(err, port.ErrLost) {
				t.Errorf("a zombie's Do: %v", err)
			}
			return "zombie", nil
		})
		zombie := orchestrate(t, o, paused)
		if _, err := words.Publish(t.Context(), b, "x"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		defer orchestrate(t, o, b).end()
		<-done
		zombie.end()
		if n := count(t, b, "text.louder"); n != 1 {
			t.Errorf("%d outputs", n)
		}
	})
}

func TestWhatAStepCannotHandleIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{Families: true})
		number := bus.Topic[int]{Name: words.Name}
		defer orchestrate(t, louden(func(_ context.Context, in string) (string, error) { return in, nil }), b).end()
		if _, err := number.Publish(t.Context(), b, 5); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		dead := bus.Dead{Queue: b, Topic: words.Name, Group: "louden"}
		if n, err := dead.Count(t.Context()); n != 1 || err != nil {
			t.Errorf("%d dead letters, %v", n, err)
		}

		far := flow.New(flow.Step[string, func()]{Name: "far", In: bus.Topic[string]{Name: "far.in"}, Out: bus.Topic[func()]{Name: "far.out"}, Group: quiet()},
			func(context.Context, string) (func(), error) { return func() {}, nil })
		defer start(t, func(ctx context.Context) error { return far.Run(ctx, b) }).end()
		across := flow.New(flow.Step[string, string]{Name: "across", In: bus.Topic[string]{Name: "here.in"}, Out: bus.Topic[string]{Name: "there.out"}, Group: quiet()}, plus("x"))
		defer start(t, func(ctx context.Context) error { return across.Run(ctx, b) }).end()
		for topic, step := range map[string]string{"far.in": "far", "here.in": "across"} {
			if _, err := (bus.Topic[string]{Name: topic}).Publish(t.Context(), b, "x"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			letters := 0
			for d, err := range (bus.Dead{Queue: b, Topic: topic, Group: step}).List(t.Context(), bus.DeadFilter{}) {
				letters++
				if err != nil || !strings.Contains(d.Reason, "does not encode") && !strings.Contains(d.Reason, "families") {
					t.Errorf("%s: %s, %v", step, d.Reason, err)
				}
			}
			if letters != 1 {
				t.Errorf("%s: %d dead letters", step, letters)
			}
		}
	})
}

func TestAStepThatCannotBeIsRefused(t *testing.T) {
	b := memory.New(memory.Config{})
	h := plus("x")
	for name, o := range map[string]flow.Orchestrator[string, string]{
		"no name":         flow.New(flow.Step[string, string]{In: words, Out: louder}, h),
		"dots":            flow.New(flow.Step[string, string]{Name: "a.b", In: words, Out: louder}, h),
		"no input":        flow.New(flow.Step[string, string]{Name: "s", Out: louder}, h),
		"no output":       flow.New(flow.Step[string, string]{Name: "s", In: words}, h),
		"no handler":      flow.New(flow.Step[string, string]{Name: "s", In: words, Out: louder}, nil),
		"a negative Keep": flow.New(flow.Step[string, string]{Name: "s", In: words, Out: louder, Keep: -1}, h),
	} {
		if err := o.Run(t.Context(), b); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOutageOfAStepIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		store := memory.New(memory.Config{})
		b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if away.Load() && op.Name == "get" {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		o := louden(plus("!"))
		defer orchestrate(t, o, b).end()
		if _, err := words.PublishAll(t.Context(), store, bus.Out[string]{ID: "1", Payload: "x"}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if _, err := o.Record(t.Context(), b, "1"); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("asking for the record: %v", err)
		}
		away.Store(false)
		<-time.After(time.Minute)
		if v, err := o.Record(t.Context(), b, "1"); v.Attempts != 1 || err != nil {
			t.Errorf("the record is %+v, %v", v, err)
		}
		strange := port.Change{Key: "text/step/louden/2", Value: []byte("?")}
		if _, err := store.Apply(t.Context(), strange); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Record(t.Context(), b, "2"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("a strange record: %v", err)
		}
	})
}

func TestStepsFollowEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		again := bus.Topic[string]{Name: "text.again"}
		one := louden(plus("1"))
		two := flow.New(flow.Step[string, string]{Name: "two", In: louder, Out: again, Group: quiet()}, plus("2"))
		defer orchestrate(t, one, b).end()
		defer orchestrate(t, two, b).end()
		for i := range 20 {
			if _, err := words.Publish(t.Context(), b, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		if n := count(t, b, again.Name); n != 20 {
			t.Errorf("%d messages came through", n)
		}
	})
}
