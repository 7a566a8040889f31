package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

func TestAWorkerOfAnotherDefinitionLeavesTheRun(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		old := abc(t)
		a := flow.First("a", func(context.Context, string) (string, error) {
			t.Error("a worker of another definition took it")
			return "", nil
		})
		new := compile(t, "letters", a, flow.Then(a, "c", plus("c")))
		if old.Definition() == new.Definition() {
			t.Fatal("two definitions have one hash")
		}
		run := begin(t, old, b, "1", "-")
		other := work(t, new, b)
		var left flow.Record
		for r, err := range run.Watch(t.Context()) {
			if left = r; r.Event == flow.Left || err != nil {
				break
			}
		}
		if left.State != flow.Waiting || !strings.Contains(left.Reason, "start a worker with that definition, or cancel the run") {
			t.Errorf("the entry is %+v", left)
		}
		<-time.After(10 * time.Minute)
		if s := statusOf(t, old, b, "1"); s.State != flow.Waiting || s.Reason != left.Reason || s.Entries != 2 {
			t.Errorf("after ten minutes the record is %+v", s)
		}
		if n, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d dead letters, %v", n, err)
		}
		if again := begin(t, new, b, "1", "-"); again.ID != "1" {
			t.Errorf("started again by the other definition: %q", again.ID)
		}
		other.end()
		defer work(t, old, b).end()
		ends(t, run, "-abc")
		tells(t, old, b, "1", "a started, a left, a begun, a done, b begun, b done, c begun, c done")
	})
}

func TestACancelledRunIsNotHandled(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		a := flow.First("a", func(context.Context, string) (string, error) { t.Error("it was handled"); return "", nil })
		p := compile(t, "letters", a, a)
		run := begin(t, p, b, "1", "-")
		if err := p.Cancel(t.Context(), b, "1", "not wanted"); err != nil {
			t.Fatal(err)
		}
		if err := p.Cancel(t.Context(), b, "1", "again"); err != nil {
			t.Errorf("cancelling again: %v", err)
		}
		worker := work(t, p, b)
		synctest.Wait()
		worker.end()
		if _, err := run.Wait(t.Context()); !errors.Is(err, flow.ErrCancelled) || errors.Is(err, flow.ErrFailed) || !strings.Contains(err.Error(), `run "1" cancelled in phase "a": not wanted`) {
			t.Errorf("waiting gave %v", err)
		}
		for info, err := range b.Inspect(t.Context(), "letters.a.in") {
			if g := info.Groups[0]; g.Lag+g.Loaned+g.Delayed != 0 || err != nil {
				t.Errorf("the queue holds %+v, %v", g, err)
			}
		}
		tells(t, p, b, "1", "a started, a ceased")
		if err := p.Cancel(t.Context(), b, "2", ""); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("no run: %v", err)
		}
	})
}

func TestWhatACancelledHandlerLeavesIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		for _, ignore := range []bool{false, true} {
			did := 0
			var cancel func() error
			a := flow.First("a", func(ctx context.Context, in string) (string, error) {
				if err := cancel(); err != nil {
					t.Error(err)
				}
				_, err := flow.Do(ctx, "x", func(context.Context) (int, error) { did++; return 0, nil })
				if !errors.Is(err, flow.ErrCancelled) {
					t.Errorf("Do in a cancelled run: %v", err)
				}
				if ignore {
					return in, nil
				}
				return "", err
			})
			b1 := flow.Then(a, "b", func(context.Context, string) (string, error) { t.Error("it went on"); return "", nil })
			p := compile(t, fmt.Sprintf("letters-%v", ignore), a, b1)
			cancel = func() error { return p.Cancel(t.Context(), b, "1", "enough") }
			worker := work(t, p, b)
			run := begin(t, p, b, "1", "-")
			if _, err := run.Wait(t.Context()); !errors.Is(err, flow.ErrCancelled) {
				t.Errorf("waiting gave %v", err)
			}
			<-time.After(5 * time.Minute)
			worker.end()
			tells(t, p, b, "1", "a started, a begun, a ceased")
			if did != 0 {
				t.Errorf("%d sub-steps were begun", did)
			}
			if n, err := (bus.Dead{Queue: b, Topic: p.Name() + ".a.in", Group: "flow"}).Count(t.Context()); n != 0 || err != nil {
				t.Errorf("%d dead letters, %v", n, err)
			}
		}
	})
}

func TestAFailedRunCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		calls := 0
		a := flow.First("a", func(context.Context, string) (string, error) { calls++; return "", bus.Reject(errors.New("no")) })
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		fails(t, begin(t, p, b, "1", "-"), "a", "no")
		if err := p.Cancel(t.Context(), b, "1", "hopeless"); err != nil {
			t.Fatal(err)
		}
		if n, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Redrive(t.Context(), bus.DeadFilter{}); n != 1 || err != nil {
			t.Fatalf("%d redriven, %v", n, err)
		}
		<-time.After(time.Minute)
		if s := statusOf(t, p, b, "1"); s.State != flow.Cancelled || calls != 1 {
			t.Errorf("after %d calls the record is %+v", calls, s)
		}
	})
}

func TestADoneRunCannotBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "1", "-"), "-abc")
		if err := p.Cancel(t.Context(), b, "1", "late"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("got %v", err)
		}
	})
}

func TestARunThatIsPutOffWaitsAndDoesNotGrow(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		calls := 0
		a := flow.First("a", func(context.Context, string) (int, error) {
			if calls++; calls <= 20 {
				return 0, bus.Later(time.Minute, errors.New("the shop is closed"))
			}
			if calls == 21 {
				return 0, errors.New("no change")
			}
			return calls, nil
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		run := begin(t, p, b, "1", "-")
		<-time.After(10 * time.Minute)
		if s := statusOf(t, p, b, "1"); s.State != flow.Waiting || s.Reason != "the shop is closed" {
			t.Errorf("the record is %+v", s)
		}
		ends(t, run, 22)
		tells(t, p, b, "1", "a started, a begun, a put off, a erred, a begun, a done")
	})
}

func TestAttemptsWithoutEndDoNotFillTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		calls := 0
		a := flow.First("a", func(context.Context, string) (int, error) {
			if calls++; calls <= 120 {
				return 0, errors.New("no")
			}
			return calls, nil
		})
		p := compile(t, "letters", a, a)
		g := quiet()
		g.Retry.Tries = -1
		defer start(t, func(ctx context.Context) error { return p.Work(ctx, b, flow.Worker{Group: g}) }).end()
		ends(t, begin(t, p, b, "1", "-"), 121)
		s, history, err := p.History(t.Context(), b, "1")
		if err != nil || len(history) != 202 || s.Visits[0].Attempts != 121 {
			t.Errorf("%d entries, %v, %+v", len(history), err, s.Visits)
		}
	})
}

func TestTheRecordOfARunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var a flow.Phase[int, int]
		a = flow.First("a", func(ctx context.Context, in int) (int, error) {
			if err := flow.Note(ctx, "n", strings.Repeat("x", 500)); err != nil {
				t.Error(err)
			}
			if in < 80 {
				return 0, flow.Back(a, in+1, 100)
			}
			return in, nil
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "1", 1), 80)
		s := statusOf(t, p, b, "1")
		if len(s.Visits) != 64 || s.Visit != 80 || s.Visits[63].Visit != 80 {
			t.Errorf("%d visits, the last is %d of %d", len(s.Visits), s.Visits[len(s.Visits)-1].Visit, s.Visit)
		}
		vs, err := b.Get(t.Context(), "letters/run/1")
		if err != nil || len(vs[0].Bytes) > 64<<10 {
			t.Errorf("the record has %d bytes, %v", len(vs[0].Bytes), err)
		}
		if n := len(story(t, p, b, "1")); n != 161 {
			t.Errorf("%d entries in the history", n)
		}
	})
}

func TestRunsAreListedByIDAndState(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		worker := work(t, p, b)
		ends(t, begin(t, p, b, "x", "-"), "-abc")
		worker.end()
		for i := range 120 {
			begin(t, p, b, fmt.Sprintf("%03d", i), "-")
		}
		for r, err := range p.List(t.Context(), b) {
			if r.ID == "005" || err != nil {
				break
			}
		}
		list := func(states ...flow.State) (ids []string) {
			for r, err := range p.List(t.Context(), b, states...) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, r.ID)
			}
			return ids
		}
		if all := list(); len(all) != 121 || !slices.IsSorted(all) {
			t.Errorf("%d runs: %v", len(all), all)
		}
		if over := list(flow.Failed, flow.Succeeded); !slices.Equal(over, []string{"x"}) {
			t.Errorf("runs that are over: %v", over)
		}
		if _, err := b.Apply(t.Context(), port.Change{Key: "letters/run/strange", Value: []byte("?")}); err != nil {
			t.Fatal(err)
		}
		var last error
		for _, err := range p.List(t.Context(), b) {
			last = err
		}
		if !errors.Is(last, port.ErrInvalid) {
			t.Errorf("a strange key: %v", last)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for _, err := range p.List(t.Context(), b) {
			last = err
		}
		if !errors.Is(last, port.ErrClosed) {
			t.Errorf("a closed backend: %v", last)
		}
		for _, err := range (flow.Pipeline[int, int]{}).List(t.Context(), b) {
			last = err
		}
		if !errors.Is(last, port.ErrInvalid) {
			t.Errorf("the zero pipeline: %v", last)
		}
	})
}

func TestARemovedRunLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		a := flow.First("a", func(ctx context.Context, n int) (int, error) {
			for i := range n {
				if _, err := flow.Do(ctx, fmt.Sprint(i), func(context.Context) (int, error) { return i, nil }); err != nil {
					return 0, err
				}
			}
			return n, nil
		})
		p := compile(t, "letters", a, a)
		run := begin(t, p, b, "1", 700)
		if err := p.Remove(t.Context(), b, "1"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("removing a run that goes on: %v", err)
		}
		defer work(t, p, b).end()
		ends(t, run, 700)
		if err := p.Remove(t.Context(), b, "1"); err != nil {
			t.Fatal(err)
		}
		for key, err := range b.Keys(t.Context(), "*") {
			t.Errorf("key %q is left, %v", key, err)
		}
		if err := p.Remove(t.Context(), b, "1"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("removing it again: %v", err)
		}
		if _, err := run.Wait(t.Context()); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("waiting for it: %v", err)
		}
		ends(t, begin(t, p, b, "1", 3), 3)
	})
}

func TestAChangedHistoryIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		worker := work(t, p, b)
		ends(t, begin(t, p, b, "1", "-"), "-abc")
		worker.end()
		s, history, err := p.History(t.Context(), b, "1")
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(h []flow.Record) []flow.Record{
			"a worker":         func(h []flow.Record) []flow.Record { h[1].Worker = "someone"; return h },
			"the last entry":   func(h []flow.Record) []flow.Record { h[6].Output = "0"; return h },
			"one left out":     func(h []flow.Record) []flow.Record { return slices.Delete(h, 2, 3) },
			"the last one cut": func(h []flow.Record) []flow.Record { return h[:6] },
			"another run's":    func(h []flow.Record) []flow.Record { h[3].Run = "2"; return h },
			"two swapped":      func(h []flow.Record) []flow.Record { h[3], h[4] = h[4], h[3]; return h },
		} {
			if err := flow.Verify(s, change(slices.Clone(history))); !errors.Is(err, port.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := flow.Verify(s, history); err != nil {
			t.Error(err)
		}
		for value, want := range map[string]error{`{"n":3,"run":"1"}`: port.ErrConflict, "?": port.ErrInvalid, "": port.ErrNotFound} {
			c := port.Change{Key: "letters/log/1/3", Value: []byte(value), Delete: value == ""}
			if _, err := b.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if _, _, err := p.History(t.Context(), b, "1"); !errors.Is(err, want) {
				t.Errorf("entry 3 is %q: %v", value, err)
			}
		}
		if _, _, err := p.History(t.Context(), b, "2"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("no run: %v", err)
		}
	})
}

func TestAMessageAheadOfItsRecordWaitsForIt(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		ahead := bus.Out[string]{ID: "ahead", Payload: "-a", Key: "1", Headers: map[string]string{"muster-run": "1", "muster-visit": "2"}}
		if _, err := (bus.Topic[string]{Name: "letters.b.in"}).PublishAll(t.Context(), b, ahead); err != nil {
			t.Fatal(err)
		}
		defer work(t, p, b, "b", "c").end()
		<-time.After(time.Minute)
		tells(t, p, b, "1", "a started")
		defer work(t, p, b, "a").end()
		ends(t, run, "-abc")
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done, c begun, c done")
	})
}

func TestALongOrStrangeReasonIsKeptShortAndVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		begin(t, p, b, "1", "-")
		if err := p.Cancel(t.Context(), b, "1", "\xff<&>"+strings.Repeat("é", 5000)); err != nil {
			t.Fatal(err)
		}
		s, history, err := p.History(t.Context(), b, "1")
		if err != nil || len(s.Reason) > 1<<10+3 || !strings.HasPrefix(history[1].Reason, "\uFFFD<&>é") {
			t.Errorf("%d bytes, %q, %v", len(s.Reason), history[1].Reason, err)
		}
	})
}

func TestARunIsLookedUpWithoutItsPipeline(t *testing.T) {
	b := memory.New(memory.Config{})
	pack := flow.First("pack", func(_ context.Context, n int) (int, error) { return n, nil })
	p, err := flow.NewPipeline("parcels", pack, pack)
	if err != nil {
		t.Fatal(err)
	}
	run, err := p.Start(t.Context(), b, "one", 1)
	if err != nil {
		t.Fatal(err)
	}
	now, err := flow.Lookup(t.Context(), b, "parcels", run.ID)
	if err != nil || now.ID != "one" || now.State != flow.Pending || now.Phase != "pack" {
		t.Errorf("it is %+v, %v", now, err)
	}
	for pipeline, want := range map[string]error{"letters": port.ErrNotFound, "a.b": port.ErrInvalid} {
		if _, err := flow.Lookup(t.Context(), b, pipeline, "one"); !errors.Is(err, want) {
			t.Errorf("pipeline %q: %v, want %v", pipeline, err, want)
		}
	}
}
