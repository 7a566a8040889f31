package flow_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

func TestARunThatFailsForGoodTellsWhyAndCanBeRetried(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		broken, charges, calls := true, 0, 0
		a := flow.First("a", plus("a"))
		p := compile(t, "letters", a, flow.Then(a, "b", func(ctx context.Context, in string) (string, error) {
			calls++
			receipt, err := flow.Do(ctx, "charge", func(context.Context) (string, error) { charges++; return "paid", nil })
			if err != nil {
				return "", err
			}
			if err := flow.Note(ctx, "calls", calls); err != nil {
				return "", err
			}
			if broken {
				return "", errors.New("out of order")
			}
			return in + receipt, nil
		}))
		worker := work(t, p, b)
		run := begin(t, p, b, "1", "-")
		failed := failure(t, run, "b", "out of order")
		if failed.Failure.Attempts != 5 || failed.Failure.Visit != 2 || failed.Run != "1" || failed.State != flow.Failed {
			t.Errorf("the failure is %+v", failed)
		}
		if want := `run "1" failed in phase "b": out of order`; failed.Error() != want {
			t.Errorf("the error reads %q", failed)
		}
		s := statusOf(t, p, b, "1")
		if s.State != flow.Failed || s.Ended.IsZero() || s.Visits[1].Attempts != 5 || s.Visits[1].Error != "out of order" || string(s.Visits[1].Notes["calls"]) != "5" {
			t.Errorf("the record is %+v", s)
		}
		dead := bus.Dead{Queue: b, Topic: "letters.b.in", Group: "flow"}
		if n, err := dead.Count(t.Context()); n != 1 || err != nil {
			t.Errorf("%d dead letters, %v", n, err)
		}

		worker.end()
		broken = false
		if err := p.Retry(t.Context(), b, "1"); err != nil {
			t.Fatal(err)
		}
		if s := statusOf(t, p, b, "1"); s.State != flow.Running || !s.Ended.IsZero() || s.Failure != nil {
			t.Errorf("the record of a retried run is %+v", s)
		}
		if err := p.Retry(t.Context(), b, "1"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("retrying a run that goes on: %v", err)
		}
		defer work(t, p, b).end()
		ends(t, run, "-apaid")
		if charges != 1 || calls != 6 {
			t.Errorf("charged %d times in %d calls", charges, calls)
		}
		if n, err := dead.Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d dead letters, %v", n, err)
		}
		tells(t, p, b, "1", "a started, a begun, a done, "+strings.Repeat("b begun, b erred, ", 5)+"b buried, b retried, b begun, b done")
	})
}

func TestARunMayFailAndBeRetriedAgainAndAgain(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		calls := 0
		a := flow.First("a", func(context.Context, string) (int, error) {
			if calls++; calls < 4 {
				return 0, bus.Reject(errors.New("not yet"))
			}
			return calls, nil
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		run := begin(t, p, b, "1", "-")
		for range 3 {
			fails(t, run, "a", "not yet")
			if err := p.Retry(t.Context(), b, "1"); err != nil {
				t.Fatal(err)
			}
		}
		ends(t, run, 4)
	})
}

func TestADeadLetterRedrivenByHandBringsTheRunBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		calls := 0
		a := flow.First("a", func(context.Context, string) (int, error) {
			if calls++; calls == 1 {
				return 0, bus.Reject(errors.New("no"))
			}
			return calls, nil
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		run := begin(t, p, b, "1", "-")
		fails(t, run, "a", "no")
		if n, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Redrive(t.Context(), bus.DeadFilter{}); n != 1 || err != nil {
			t.Fatalf("%d redriven, %v", n, err)
		}
		synctest.Wait()
		ends(t, run, 2)
		if err := p.Retry(t.Context(), b, "1"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("retrying a run that has succeeded: %v", err)
		}
	})
}

func TestAFailedRunWhoseLetterIsGoneCannotBeRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		a := flow.First("a", func(context.Context, string) (int, error) { return 0, bus.Reject(errors.New("no")) })
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		fails(t, begin(t, p, b, "1", "-"), "a", "no")
		if _, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Remove(t.Context(), bus.DeadFilter{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Retry(t.Context(), b, "1"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if err := p.Retry(t.Context(), b, "2"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("no run: %v", err)
		}
	})
}

func TestARunThatKillsItsWorkersFails(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		c := memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone}
		var die func()
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			if in != "poison" {
				return in, nil
			}
			die()
			<-ctx.Done()
			return "", ctx.Err()
		})
		p := compile(t, "letters", a, a)
		run := begin(t, p, b, "1", "poison")
		g := quiet()
		g.Crashes = 2
		lives := 0
		for alive := false; !alive; lives++ {
			var handle *memory.Backend
			handle, die = mortal(t, b, c)
			worker := start(t, func(ctx context.Context) error { return p.Work(ctx, handle, flow.Worker{Group: g}) })
			select {
			case err := <-worker.done:
				if !errors.Is(err, port.ErrClosed) {
					t.Fatal(err)
				}
			case <-time.After(2 * time.Minute):
				alive = true
				defer worker.end()
			}
		}
		if lives != 4 {
			t.Errorf("it took %d workers, want one that counts nothing, two crashes, and the one that buries it", lives)
		}
		if failed := failure(t, run, "a", "2 workers died"); failed.Failure.Crashes != 2 || failed.Failure.Attempts != 0 {
			t.Errorf("the failure is %+v", failed.Failure)
		}
		ends(t, begin(t, p, b, "2", "food"), "food")
	})
}

func TestAFailureIsToldByAnotherNodeWhenTheOneThatBuriedItDied(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		a := flow.First("a", func(context.Context, string) (string, error) { return "", bus.Reject(errors.New("no")) })
		p := compile(t, "letters", a, a)
		c := memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone}
		var handle *memory.Backend
		c.Fault = func(op memory.Op) memory.Fault { // the worker dies as soon as the letter is there
			if n, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Count(t.Context()); err == nil && n > 0 {
				return memory.Fault{Cut: true}
			}
			return memory.Fault{}
		}
		handle = b.Open(c)
		first := work(t, p, handle)
		run := begin(t, p, b, "1", "x")
		first.died()
		if s := statusOf(t, p, b, "1"); s.State != flow.Running {
			t.Errorf("the record is %+v", s)
		}
		defer work(t, p, b).end()
		fails(t, run, "a", "no")
	})
}

func TestAnInputThatDoesNotDecodeFailsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		a := flow.First("a", plus("a"))
		one := compile(t, "letters", a, a)
		number := flow.First("a", func(_ context.Context, in int) (func(), error) { return func() {}, nil })
		two := compile(t, "letters", number, number)
		defer work(t, two, b).end()
		fails(t, begin(t, one, b, "1", "text"), "a", "the input does not decode")
		_, err := two.Start(t.Context(), b, "2", 5)
		if err != nil {
			t.Fatal(err)
		}
		two1, err := one.Find(t.Context(), b, "2")
		if err != nil {
			t.Fatal(err)
		}
		fails(t, two1, "a", "the output does not encode")
	})
}

func TestAResultIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		a := flow.First("a", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil })
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		if got, err := begin(t, p, b, "1", 256<<10-2).Wait(t.Context()); len(got) != 256<<10-2 || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		fails(t, begin(t, p, b, "2", 256<<10), "a", "put it elsewhere and return its digest")
		run, err := flow.NewPipeline("letters", a, flow.Then(a, "b", func(context.Context, string) (int, error) { return 0, nil }))
		if err != nil {
			t.Fatal(err)
		}
		other, err := run.Find(t.Context(), b, "1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Wait(t.Context()); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("a result of another type: %v", err)
		}
	})
}

func TestAMessageThatBelongsToNoRunIsDeadAndHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		defer work(t, p, b).end()
		topic := bus.Topic[string]{Name: "letters.a.in"}
		for _, h := range []map[string]string{
			nil,
			{"muster-run": "1", "muster-visit": "x"},
			{"muster-run": "nobody", "muster-visit": "1"},
			{"muster-run": "a/b", "muster-visit": "1"},
		} {
			if _, err := topic.PublishAll(t.Context(), b, bus.Out[string]{Payload: "x", Headers: h}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: topic.Name, ID: "raw", Body: []byte("no envelope")}}}); err != nil {
			t.Fatal(err)
		}
		ends(t, begin(t, p, b, "1", "-"), "-abc")
		synctest.Wait()
		if n, err := (bus.Dead{Queue: b, Topic: topic.Name, Group: "flow"}).Count(t.Context()); n != 5 || err != nil {
			t.Errorf("%d dead letters, %v", n, err)
		}
		if n, err := (bus.Dead{Queue: b, Topic: topic.Name + ".flow.dead", Group: "runs"}).Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d dead letters of dead letters, %v", n, err)
		}
	})
}

func TestAMessageOfAnotherPhaseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		topic := bus.Topic[string]{Name: "letters.b.in"}
		to := bus.Out[string]{Payload: "x", Headers: map[string]string{"muster-run": "1", "muster-visit": "1"}}
		if _, err := topic.PublishAll(t.Context(), b, to); err != nil {
			t.Fatal(err)
		}
		worker := work(t, p, b, "b")
		fails(t, run, "a", `visit 1 of run "1" is one of phase "a"`)
		worker.end()
	})
}

func TestATimeoutIsAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		a := flow.First("a", func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		p := compile(t, "letters", a, a)
		g := quiet()
		g.Timeout, g.Retry = time.Second, retry.Backoff{Tries: 2}
		defer start(t, func(ctx context.Context) error { return p.Work(ctx, b, flow.Worker{Group: g}) }).end()
		fails(t, begin(t, p, b, "1", "-"), "a", "deadline exceeded")
		tells(t, p, b, "1", "a started, a begun, a erred, a begun, a erred, a buried")
	})
}

func TestADrainIsNoFailure(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		calls := 0
		a := flow.First("a", func(ctx context.Context, _ string) (int, error) {
			if calls++; calls > 1 {
				return calls, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		p := compile(t, "letters", a, a)
		first := work(t, p, b)
		run := begin(t, p, b, "1", "-")
		synctest.Wait()
		first.end()
		defer work(t, p, b).end()
		ends(t, run, 2)
		tells(t, p, b, "1", "a started, a begun, a begun, a done")
	})
}

func TestAnOutageIsNoFailure(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		var away atomic.Bool
		c := memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone}
		c.Fault = func(op memory.Op) memory.Fault {
			if away.Load() && op.Point == memory.Before && (op.Name == "get" || op.Name == "write") {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		away.Store(true)
		defer work(t, p, b.Open(c)).end()
		<-time.After(time.Minute)
		away.Store(false)
		ends(t, run, "-abc")
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done, c begun, c done")
	})
}

func TestLostRepliesDoubleNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		var replies atomic.Int64
		c := memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone}
		c.Fault = func(op memory.Op) memory.Fault {
			if op.Point == memory.After && op.Name != "fetch" && op.Name != "declare" && op.Name != "join" {
				if replies.Add(1)%2 == 1 {
					return memory.Fault{Err: port.ErrUncertain}
				}
			}
			return memory.Fault{}
		}
		flaky := b.Open(c)
		runs := 0
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			_, err := flow.Do(ctx, "x", func(context.Context) (int, error) { runs++; return 0, nil })
			return in + "a", err
		})
		p := compile(t, "letters", a, flow.Then(a, "b", plus("b")))
		defer work(t, p, flaky).end()
		run := begin(t, p, flaky, "1", "-")
		ends(t, run, "-ab")
		if runs != 1 {
			t.Errorf("the sub-step ran %d times", runs)
		}
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done")
	})
}
