package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/bus/bustest"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// seen reads a counter, decides by it, and writes it conditionally: a handler that runs again puts out something else.
func seen(ctx context.Context, kv port.KV, key string) (int, error) {
	n, err := kv.Add(ctx, key, 1, 0)
	return int(n), err
}

// A pipeline of two phases with a way back, whose handlers put out something else each time they run.
func TestARunLosesNothingAndDoublesNothingWhereverItsWorkerDies(t *testing.T) {
	pipeline := func(b port.Backend) flow.Pipeline[string, string] {
		draft := flow.First("draft", func(ctx context.Context, in string) (string, error) {
			n, err := seen(ctx, b, "letters/tries/draft")
			if err != nil {
				return "", err
			}
			version, err := flow.Do(ctx, "version", func(ctx context.Context) (int, error) { return seen(ctx, b, "letters/tries/version") })
			if err != nil {
				return "", err
			}
			return in + strings.Repeat("+", n) + fmt.Sprintf("v%d", version), flow.Note(ctx, "version", version)
		})
		check := flow.Then(draft, "check", func(ctx context.Context, in string) (string, error) {
			if _, err := seen(ctx, b, "letters/tries/check"); err != nil {
				return "", err
			}
			if !strings.HasPrefix(in, "again") {
				return "", flow.Back(draft, "again", 1)
			}
			return in, nil
		})
		return compile(t, "letters", draft, check)
	}
	bustest.Crashes(t, bustest.Plan{
		Seed: func(ctx context.Context, b port.Backend) error {
			_, err := pipeline(b).Start(ctx, b, "1", "first")
			return err
		},
		Work: func(ctx context.Context, b port.Backend) error {
			return pipeline(b).Work(ctx, b, flow.Worker{Group: quiet()})
		},
		Check: func(t *testing.T, b port.Backend) {
			p := pipeline(b)
			run, err := p.Find(t.Context(), b, "1")
			if err != nil {
				t.Fatal(err)
			}
			result, err := run.Wait(t.Context())
			if err != nil || !strings.HasPrefix(result, "again+") {
				t.Fatalf("the result is %q, %v", result, err)
			}
			s, history, err := p.History(t.Context(), b, "1")
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, r := range history {
				if r.Event == flow.Done || r.Event == flow.WentBack {
					steps = append(steps, r.Phase)
				}
			}
			if got := strings.Join(steps, " "); got != "draft check draft check" {
				t.Errorf("the steps are %s", got)
			}
			for i, v := range s.Visits {
				if i > 0 && v.Phase == "check" && v.Input != s.Visits[i-1].Output {
					t.Errorf("visit %d works on something else than visit %d put out", i+1, i)
				}
			}
			for topic, want := range map[string]int{"letters.draft.in": 2, "letters.check.in": 2, "letters.events": len(history)} {
				if n := count(t, b, topic); n != want {
					t.Errorf("topic %q holds %d messages, want %d", topic, n, want)
				}
			}
			// What a Do recorded is what the note beside its visit says: a later attempt took it from the record.
			for _, i := range []int{0, 2} {
				key := fmt.Sprintf("letters/do/1/draft/%d/version", i+1)
				vs, err := b.Get(t.Context(), key)
				if note := string(s.Visits[i].Notes["version"]); err != nil || !strings.Contains(string(vs[0].Bytes), `"result":`+note+"}") {
					t.Errorf("key %q is %s, %v; noted is %s", key, vs[0].Bytes, err, note)
				}
			}
		},
	})
}

// Two steps, one behind the other, with state of their own beside.
func TestTwoStepsLoseNothingAndDoubleNothingWhereverTheirWorkerDies(t *testing.T) {
	again := bus.Topic[string]{Name: "text.again"}
	bustest.Crashes(t, bustest.Plan{
		Seed: func(ctx context.Context, b port.Backend) error {
			_, err := words.PublishAll(ctx, b, bus.Out[string]{ID: "1", Payload: "a"}, bus.Out[string]{ID: "2", Payload: "b"})
			return err
		},
		Work: func(ctx context.Context, b port.Backend) error {
			one := louden(func(ctx context.Context, in string) (string, error) {
				n, err := seen(ctx, b, "text/tries")
				return in + strings.Repeat("+", n), err
			})
			two := flow.New(flow.Step[string, string]{Name: "two", In: louder, Out: again, Group: quiet()}, plus("2"))
			return muster.Run(ctx,
				func(ctx context.Context) error { return one.Run(ctx, b) },
				func(ctx context.Context) error { return two.Run(ctx, b) })
		},
		Check: func(t *testing.T, b port.Backend) {
			for _, topic := range []string{"text.louder", "text.again"} {
				entries, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 10})
				if len(entries) != 2 || err != nil {
					t.Errorf("topic %q holds %d messages, %v", topic, len(entries), err)
				}
				for _, e := range entries {
					if m, _, err := envelope.Parse(e.Message.Body); m.CorrID != "1" && m.CorrID != "2" || err != nil {
						t.Errorf("a message of topic %q is %+v, %v", topic, m, err)
					}
				}
			}
			for _, id := range []string{"1", "2"} {
				if _, err := louden(nil).Record(t.Context(), b, id); err != nil {
					t.Error(err)
				}
			}
		},
	})
}

// A run that fails, and is told so by the group of its dead letters.
func TestAFailedRunIsToldOnceWhereverItsWorkerDies(t *testing.T) {
	a := flow.First("a", func(context.Context, string) (string, error) { return "", bus.Reject(errors.New("no")) })
	bustest.Crashes(t, bustest.Plan{
		Seed: func(ctx context.Context, b port.Backend) error {
			_, err := compile(t, "letters", a, a).Start(ctx, b, "1", "x")
			return err
		},
		Work: func(ctx context.Context, b port.Backend) error {
			return compile(t, "letters", a, a).Work(ctx, b, flow.Worker{Group: quiet()})
		},
		Check: func(t *testing.T, b port.Backend) {
			p := compile(t, "letters", a, a)
			run, err := p.Find(t.Context(), b, "1")
			if err != nil {
				t.Fatal(err)
			}
			fails(t, run, "a", "no")
			buried := 0
			for _, line := range story(t, p, b, "1") {
				if line == "a buried" {
					buried++
				}
			}
			if n, err := (bus.Dead{Queue: b, Topic: "letters.a.in", Group: "flow"}).Count(t.Context()); buried != 1 || n != 1 || err != nil {
				t.Errorf("buried %d times, %d dead letters, %v", buried, n, err)
			}
		},
	})
}

// Whoever starts, retries, cancels or removes may die in the middle, and somebody else does it again.
func TestWhatACallerDoesMayBeRepeatedWhereverItDies(t *testing.T) {
	first := func(_ context.Context, in string) (string, error) { return in, bus.Reject(errors.New("no")) }
	for _, c := range []memory.Config{{}, {Stepwise: true}} {
		for cut, again := 1, true; again; cut++ {
			synctest.Test(t, func(t *testing.T) {
				again = false
				store := memory.New(c)
				a := flow.First("a", first)
				p := compile(t, "letters", a, a)
				// do runs a command on a handle that dies at the cut, and once more on another where it did.
				do := func(command func(b flow.Backend) error, done error) {
					t.Helper()
					dying := c
					dying.Fault = func(op memory.Op) memory.Fault { return memory.Fault{Cut: op.N == cut} }
					err := command(store.Open(dying))
					if err == nil {
						return
					}
					again = true
					if !errors.Is(err, port.ErrClosed) {
						t.Errorf("cut %d: %v", cut, err)
					}
					if err := command(store.Open(c)); err != nil && !errors.Is(err, done) {
						t.Errorf("repeated after cut %d: %v", cut, err)
					}
				}
				none := errors.New("none")
				do(func(b flow.Backend) error { _, err := p.Start(t.Context(), b, "1", "x"); return err }, none)
				run, err := p.Find(t.Context(), store, "1")
				if err != nil {
					t.Fatal(err)
				}
				worker := work(t, p, store)
				fails(t, run, "a", "no")
				worker.end()
				do(func(b flow.Backend) error { return p.Retry(t.Context(), b, "1") }, port.ErrConflict)
				worker = work(t, p, store)
				fails(t, run, "a", "no")
				worker.end()
				do(func(b flow.Backend) error { return p.Cancel(t.Context(), b, "1", "enough") }, none)
				tells(t, p, store, "1", "a started, a begun, a erred, a buried, a retried, a begun, a erred, a buried, a ceased")
				do(func(b flow.Backend) error { return p.Remove(t.Context(), b, "1") }, port.ErrNotFound)
				for key, err := range store.Keys(t.Context(), "*") {
					t.Errorf("key %q is left, %v", key, err)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}
