package flow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// onEach runs a test on a backend of each kind, each in a bubble.
func onEach(t *testing.T, test func(t *testing.T, b *memory.Backend)) {
	for name, c := range map[string]memory.Config{"plain": {}, "stepwise": {Stepwise: true}, "families": {Families: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, memory.New(c)) })
		})
	}
}

func quiet() bus.Group { return bus.Group{Workers: 4, Log: slog.New(slog.DiscardHandler)} }

// process is what runs on the side until it is stopped.
type process struct {
	t    *testing.T
	kill context.CancelFunc
	done chan error
}

func start(t *testing.T, fn func(context.Context) error) *process {
	ctx, kill := context.WithCancel(t.Context())
	p := &process{t: t, kill: kill, done: make(chan error, 1)}
	go func() { p.done <- fn(ctx) }()
	return p
}

func work[I, O any](t *testing.T, p flow.Pipeline[I, O], b flow.Backend, only ...string) *process {
	return start(t, func(ctx context.Context) error { return p.Work(ctx, b, flow.Worker{Only: only, Group: quiet()}) })
}

// end stops it and expects a clean end.
func (p *process) end() {
	p.t.Helper()
	p.kill()
	if err := <-p.done; err != nil {
		p.t.Errorf("it ended with %v", err)
	}
}

// died waits for the end of a process whose backend was cut.
func (p *process) died() {
	p.t.Helper()
	if err := <-p.done; !errors.Is(err, port.ErrClosed) {
		p.t.Errorf("it ended with %v, want port.ErrClosed", err)
	}
	p.kill()
}

// mortal is a handle on the store of b, and what ends it as if its process were gone.
func mortal(t *testing.T, b *memory.Backend, c memory.Config) (handle *memory.Backend, die func()) {
	var mu sync.Mutex
	dead := false
	c.Fault = func(memory.Op) memory.Fault {
		mu.Lock()
		defer mu.Unlock()
		return memory.Fault{Cut: dead}
	}
	handle = b.Open(c)
	return handle, func() {
		mu.Lock()
		dead = true
		mu.Unlock()
		if err := handle.Close(); err != nil {
			t.Error(err)
		}
	}
}

func compile[I, A, B, O any](t *testing.T, name string, first flow.Phase[I, A], last flow.Phase[B, O]) flow.Pipeline[I, O] {
	t.Helper()
	p, err := flow.NewPipeline(name, first, last)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func begin[I, O any](t *testing.T, p flow.Pipeline[I, O], b flow.Backend, id string, in I) flow.Run[O] {
	t.Helper()
	run, err := p.Start(t.Context(), b, id, in)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// ends waits for the result of a run.
func ends[O comparable](t *testing.T, run flow.Run[O], want O) {
	t.Helper()
	if got, err := run.Wait(t.Context()); got != want || err != nil {
		t.Fatalf("run %s: got %v, %v; want %v", run.ID, got, err, want)
	}
}

// fails waits for the failure of a run.
func fails[O any](t *testing.T, run flow.Run[O], phase, reason string) {
	t.Helper()
	_ = failure(t, run, phase, reason)
}

// failure is fails, for more to ask about it.
func failure[O any](t *testing.T, run flow.Run[O], phase, reason string) *flow.RunError {
	t.Helper()
	_, err := run.Wait(t.Context())
	failed, ok := errors.AsType[*flow.RunError](err)
	if !ok || !errors.Is(err, flow.ErrFailed) || failed.Phase != phase || !strings.Contains(failed.Reason, reason) {
		t.Fatalf("run %s: got %v; want it to fail in phase %q with %q", run.ID, err, phase, reason)
	}
	return failed
}

func statusOf[I, O any](t *testing.T, p flow.Pipeline[I, O], b flow.Backend, id string) flow.Status {
	t.Helper()
	s, err := p.Status(t.Context(), b, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// story is the verified history of a run, as "phase event" lines.
func story[I, O any](t *testing.T, p flow.Pipeline[I, O], b flow.Backend, id string) []string {
	t.Helper()
	_, history, err := p.History(t.Context(), b, id)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range history {
		lines = append(lines, r.Phase+" "+string(r.Event))
	}
	return lines
}

// tells expects the events of a run, separated by commas.
func tells[I, O any](t *testing.T, p flow.Pipeline[I, O], b flow.Backend, id, want string) {
	t.Helper()
	if got := strings.Join(story(t, p, b, id), ", "); got != want {
		t.Errorf("the history of run %s is\n\t%s\nwant\n\t%s", id, got, want)
	}
}

// plus is a phase that appends a letter.
func plus(letter string) flow.Handler[string, string] {
	return func(_ context.Context, in string) (string, error) { return in + letter, nil }
}

// abc is a pipeline of three phases without trouble.
func abc(t *testing.T) flow.Pipeline[string, string] {
	a := flow.First("a", plus("a"))
	b := flow.Then(a, "b", plus("b"))
	return compile(t, "letters", a, flow.Then(b, "c", plus("c")))
}

func TestARunGoesThroughItsPhasesInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		defer work(t, p, b).end()
		run := begin(t, p, b, "1", "-")
		ends(t, run, "-abc")

		s, history, err := p.History(t.Context(), b, "1")
		if err != nil {
			t.Fatal(err)
		}
		if s.State != flow.Succeeded || s.Definition != p.Definition() || s.Started.IsZero() || s.Ended.IsZero() || string(s.Result) != `"-abc"` {
			t.Errorf("the record is %+v", s)
		}
		for i, v := range s.Visits {
			if v.Phase != p.Phases()[i] || v.Visit != i+1 || v.Attempts != 1 || v.Worker == "" || v.Ended.IsZero() || v.Output == "" {
				t.Errorf("visit %d is %+v", i+1, v)
			}
			if i > 0 && v.Input != s.Visits[i-1].Output {
				t.Errorf("the input of phase %q is not the output of the one before", v.Phase)
			}
		}
		if len(history) != 7 || history[6].State != flow.Succeeded || history[6].Output != s.Visits[2].Output {
			t.Errorf("the history is %+v", history)
		}
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done, c begun, c done")
	})
}

func TestManyRunsShareTheWorkOfSeveralNodes(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		other := b.Open(memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone})
		defer work(t, p, b, "a", "b").end()
		defer work(t, p, other, "b", "c").end()
		for i := range 30 {
			begin(t, p, b, fmt.Sprint(i), fmt.Sprint(i))
		}
		for i := range 30 {
			run, err := p.Find(t.Context(), other, fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			ends(t, run, fmt.Sprint(i)+"abc")
		}
	})
}

// C31: correlation was lost between phases.
func TestTheCorrelationOfARunIsInEveryPhaseMessageAndLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var lines bytes.Buffer
		log := slog.New(envelope.LogHandler(slog.NewTextHandler(&lines, nil)))
		look := func(ctx context.Context, in string) (string, error) {
			log.InfoContext(ctx, "looked")
			if m, _ := envelope.From(ctx); m.CorrID != "c-1" || m.Tenant != "acme" || m.Headers[envelope.HeaderTraceParent] != "00-trace" {
				t.Errorf("a handler sees %+v", m)
			}
			return in, nil
		}
		one := flow.First("one", look)
		p := compile(t, "traced", one, flow.Then(one, "two", look))
		defer work(t, p, b).end()
		outer := envelope.Meta{
			ID: "m-1", CorrID: "c-1", Tenant: "acme", Headers: map[string]string{envelope.HeaderTraceParent: "00-trace"},
		}
		run, err := p.Start(envelope.With(t.Context(), outer), b, "1", "x")
		if err != nil {
			t.Fatal(err)
		}
		ends(t, run, "x")
		if s := statusOf(t, p, b, "1"); s.CorrID != "c-1" || s.Tenant != "acme" {
			t.Errorf("the record is %+v", s)
		}
		for _, topic := range []string{"traced.one.in", "traced.two.in", "traced.events"} {
			entries, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 100})
			if err != nil || len(entries) == 0 {
				t.Fatalf("topic %q has %d entries, %v", topic, len(entries), err)
			}
			for _, e := range entries {
				if m, _, err := envelope.Parse(e.Message.Body); m.CorrID != "c-1" || m.Tenant != "acme" || err != nil {
					t.Errorf("a message of %q is %+v, %v", topic, m, err)
				}
			}
		}
		for _, phase := range []string{"one", "two"} {
			if !strings.Contains(lines.String(), "corrId=c-1") || !strings.Contains(lines.String(), "phase="+phase) {
				t.Errorf("the log of phase %q is\n%s", phase, lines.String())
			}
		}
	})
}

// C32: "done" was declared for what was never run.
func TestNothingIsDoneThatWasNotRun(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		waits := func(state flow.State, phase string) {
			t.Helper()
			ctx, end := context.WithTimeout(t.Context(), 5*time.Minute)
			defer end()
			if out, err := run.Wait(ctx); out != "" || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting gave %q, %v", out, err)
			}
			s := statusOf(t, p, b, "1")
			if s.State != state || s.Phase != phase || s.Result != nil || !s.Ended.IsZero() {
				t.Errorf("the record is %+v", s)
			}
			for _, v := range s.Visits {
				if done := !v.Ended.IsZero(); done != (v.Phase < phase) {
					t.Errorf("in phase %q the visit of %q is done: %v", phase, v.Phase, done)
				}
			}
		}
		waits(flow.Pending, "a")
		first := work(t, p, b, "a")
		waits(flow.Running, "b")
		first.end()
		middle := work(t, p, b, "b")
		waits(flow.Running, "c")

		// A copy of an old input moves nothing, whoever sends it.
		entries, err := b.Read(t.Context(), port.Range{Topic: "letters.b.in", Max: 1})
		if err != nil {
			t.Fatal(err)
		}
		old := entries[0].Message
		old.ID = "copy"
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{old}}); err != nil {
			t.Fatal(err)
		}
		waits(flow.Running, "c")
		middle.end()
		defer work(t, p, b).end()
		ends(t, run, "-abc")
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done, c begun, c done")
	})
}

func TestStartingTwiceIsOneRun(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := p.Start(t.Context(), b, "1", "-"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		worker := work(t, p, b)
		defer worker.end()
		run := begin(t, p, b, "1", "-")
		ends(t, run, "-abc")
		ends(t, begin(t, p, b, "1", "-"), "-abc")
		if _, err := p.Start(t.Context(), b, "1", "other"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("another input: %v", err)
		}
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b done, c begun, c done")
		if new := begin(t, p, b, "", "-"); len(new.ID) != 36 {
			t.Errorf("a new id is %q", new.ID)
		}
	})
}

func TestAnotherNodeGoesOnWhereAWorkerDied(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		doomed, die := mortal(t, b, memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone})
		lives := 0
		a := flow.First("a", plus("a"))
		p := compile(t, "letters", a, flow.Then(a, "b", func(ctx context.Context, in string) (string, error) {
			if lives++; lives == 1 {
				die()
				<-ctx.Done()
				return "", ctx.Err()
			}
			return plus("b")(ctx, in)
		}))
		first := work(t, p, doomed)
		run := begin(t, p, b, "1", "-")
		first.died()
		crashed := time.Now()
		defer work(t, p, b).end()
		ends(t, run, "-ab")
		if took := time.Since(crashed); took > 31*time.Second {
			t.Errorf("it went on after %v; the loan is 30 s", took)
		}
		tells(t, p, b, "1", "a started, a begun, a done, b begun, b begun, b done")
		if v := statusOf(t, p, b, "1").Visits[1]; v.Attempts != 2 {
			t.Errorf("the visit is %+v", v)
		}
	})
}

func TestAZombieChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		c := memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone}
		c.Fault = func(op memory.Op) memory.Fault {
			if op.Name == "extend" {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}
		paused := b.Open(c)
		var mu sync.Mutex
		calls := 0
		done := make(chan struct{})
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			mu.Lock()
			calls++
			first := calls == 1
			mu.Unlock()
			if first {
				defer close(done)
				<-time.After(2 * time.Minute)
				if _, err := flow.Do(ctx, "late", func(context.Context) (int, error) { t.Error("a zombie did something"); return 0, nil }); !errors.Is(err, port.ErrLost) {
					t.Errorf("a zombie's Do: %v", err)
				}
				return "zombie", nil
			}
			return "alive", nil
		})
		p := compile(t, "letters", a, a)
		zombie := work(t, p, paused)
		run := begin(t, p, b, "1", "-")
		synctest.Wait()
		defer work(t, p, b).end()
		ends(t, run, "alive")
		<-done
		zombie.end()
		tells(t, p, b, "1", "a started, a begun, a begun, a done")
	})
}

func TestTheWayBackIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		a := flow.First("a", plus("a"))
		mid := flow.Then(a, "b", plus("b"))
		p := compile(t, "letters", a, flow.Then(mid, "c", func(_ context.Context, in string) (string, error) {
			if len(in) < 5 {
				return in, flow.Back(mid, in+"<", 2)
			}
			return in, nil
		}))
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "near", "x"), "xab<b")
		tells(t, p, b, "near", "a started, a begun, a done, b begun, b done, c begun, c back, b begun, b done, c begun, c done")
		s := statusOf(t, p, b, "near")
		if s.Visit != 5 || s.Backs["c>b"] != 1 {
			t.Errorf("the record is %+v", s)
		}

		p2 := compile(t, "words", a, flow.Then(mid, "c", func(_ context.Context, in string) (string, error) {
			return in, flow.Back(mid, in, 2)
		}))
		defer work(t, p2, b).end()
		failed := failure(t, begin(t, p2, b, "far", "x"), "c", `would go back to "b" a time more than the 2 allowed`)
		if failed.Failure.Visit != 7 {
			t.Errorf("it failed in visit %d, want 7: a, b, c, b, c, b, c", failed.Failure.Visit)
		}
	})
}

func TestAWayThatCannotBeGoneFailsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		last := flow.First("elsewhere", plus("x"))
		for name, verdict := range map[string]error{
			"not before it":   flow.Back(last, "x", 1),
			"bound is 0":      flow.Back(last, "x", 0),
			"bound is 3":      flow.Back(flow.Phase[string, string]{}, "x", 3),
			"does not encode": flow.Back(flow.First("f", func(context.Context, func()) (int, error) { return 0, nil }), func() {}, 1),
		} {
			a := flow.First("a", func(context.Context, string) (string, error) { return "", verdict })
			p := compile(t, "p"+envelope.NewID(), a, a)
			worker := work(t, p, b)
			fails(t, begin(t, p, b, "1", "x"), "a", name)
			worker.end()
		}
	})
}

func TestAPhaseMayGoBackToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var grow flow.Phase[string, string]
		grow = flow.First("grow", func(_ context.Context, in string) (string, error) {
			if len(in) < 4 {
				return "", flow.Back(grow, in+".", 9)
			}
			return in, nil
		})
		p := compile(t, "dots", grow, grow)
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "1", ""), "....")
	})
}

func TestAPipelineThatCannotBeIsRefused(t *testing.T) {
	a := flow.First("a", plus("a"))
	b := flow.Then(a, "b", plus("b"))
	type pipe = flow.Pipeline[string, string]
	make := func(p pipe, err error) error { return err }
	long := flow.First("0", plus(""))
	first := long
	for i := range 64 {
		long = flow.Then(long, fmt.Sprint(i+1), plus(""))
	}
	for name, err := range map[string]error{
		"no name":          make(flow.NewPipeline("", a, b)),
		"dots":             make(flow.NewPipeline("a.b", a, b)),
		"a slash":          make(flow.NewPipeline("a/b", a, b)),
		"long names":       make(flow.NewPipeline(strings.Repeat("n", 125), a, b)),
		"another first":    make(flow.NewPipeline("p", flow.First("a", plus("a")), b)),
		"not the first":    make(flow.NewPipeline("p", b, b)),
		"no phase":         make(flow.NewPipeline("p", flow.Phase[string, string]{}, flow.Phase[string, string]{})),
		"a name twice":     make(flow.NewPipeline("p", a, flow.Then(b, "a", plus("a")))),
		"a phase's dots":   make(flow.NewPipeline("p", a, flow.Then(b, "a.c", plus("a")))),
		"a phase unnamed":  make(flow.NewPipeline("p", a, flow.Then(b, "", plus("a")))),
		"no handler":       make(flow.NewPipeline("p", a, flow.Then(b, "c", flow.Handler[string, string](nil)))),
		"too many phases":  make(flow.NewPipeline("p", first, long)),
		"the zero value":   pipe{}.Work(t.Context(), memory.New(memory.Config{}), flow.Worker{}),
		"a group's name":   abc(t).Work(t.Context(), memory.New(memory.Config{}), flow.Worker{Group: bus.Group{Name: "x"}}),
		"a group's start":  abc(t).Work(t.Context(), memory.New(memory.Config{}), flow.Worker{Group: bus.Group{From: port.Latest}}),
		"an unknown phase": abc(t).Work(t.Context(), memory.New(memory.Config{}), flow.Worker{Only: []string{"d"}}),
		"a short loan":     abc(t).Work(t.Context(), memory.New(memory.Config{}), flow.Worker{Group: bus.Group{Loan: 1, Log: quiet().Log}}),
	} {
		if !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p := abc(t); p.Name() != "letters" || !slices.Equal(p.Phases(), []string{"a", "b", "c"}) || len(p.Definition()) != 64 {
		t.Errorf("the pipeline is %q %v %q", p.Name(), p.Phases(), p.Definition())
	}
}

func TestARunThatCannotBeIsRefused(t *testing.T) {
	b := memory.New(memory.Config{})
	a := flow.First("a", func(context.Context, func()) (int, error) { return 0, nil })
	if _, err := compile(t, "p", a, a).Start(t.Context(), b, "1", func() {}); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("an input that does not encode: %v", err)
	}
	if _, err := abc(t).Start(t.Context(), b, "a/b", ""); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("an id that is no name: %v", err)
	}
	if _, err := (flow.Pipeline[string, string]{}).Start(t.Context(), b, "1", ""); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("the zero pipeline: %v", err)
	}
	if _, err := (flow.Run[int]{}).Wait(t.Context()); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("the zero run: %v", err)
	}
	if _, err := abc(t).Find(t.Context(), b, "1"); !errors.Is(err, port.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := abc(t).Start(t.Context(), b, "1", ""); !errors.Is(err, port.ErrClosed) {
		t.Errorf("a closed backend: %v", err)
	}
}
