package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// once is a run of one phase, which is expected to succeed.
func once[O comparable](t *testing.T, b *memory.Backend, h flow.Handler[string, O]) O {
	t.Helper()
	a := flow.First("a", h)
	p := compile(t, "once", a, a)
	worker := work(t, p, b)
	defer worker.end()
	out, err := begin(t, p, b, "", "-").Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func does[T any](v T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, nil }
}

func TestASubStepIsNotRepeatedAfterACrash(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		doomed, die := mortal(t, b, memory.Config{Stepwise: b.Caps().Atomic == port.AtomicNone})
		calls := map[string]int{}
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			for _, name := range []string{"one", "two"} {
				if _, err := flow.Do(ctx, name, func(context.Context) (int, error) { calls[name]++; return 0, nil }); err != nil {
					return "", err
				}
				if name == "one" && calls["one"] == 1 && calls["two"] == 0 && doomed != nil {
					doomed = nil
					die()
					<-ctx.Done()
					return "", ctx.Err()
				}
			}
			return in, nil
		})
		p := compile(t, "letters", a, a)
		first := work(t, p, doomed)
		run := begin(t, p, b, "1", "-")
		first.died()
		defer work(t, p, b).end()
		ends(t, run, "-")
		if calls["one"] != 1 || calls["two"] != 1 {
			t.Errorf("the sub-steps ran %v", calls)
		}
	})
}

func TestAWayBackMakesSubStepsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		calls := 0
		var a flow.Phase[string, int]
		a = flow.First("a", func(ctx context.Context, in string) (int, error) {
			n, err := flow.Do(ctx, "x", func(context.Context) (int, error) { calls++; return calls, nil })
			if err == nil && n < 3 {
				return 0, flow.Back(a, in, 5)
			}
			return n, err
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "1", "-"), 3)
		ends(t, begin(t, p, b, "2", "-"), 4)
	})
}

func TestTheSameNameTwiceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		once(t, memory.New(memory.Config{}), func(ctx context.Context, in string) (string, error) {
			if _, err := flow.Do(ctx, "x", does(1)); err != nil {
				t.Error(err)
			}
			if _, err := flow.Do(ctx, "x", does(2)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), `phase "a": do "x": this name comes a second time`) {
				t.Errorf("got %v", err)
			}
			for _, name := range []string{"", strings.Repeat("x", 129)} {
				if _, err := flow.Do(ctx, name, does(1)); !errors.Is(err, port.ErrInvalid) {
					t.Errorf("a name of %d bytes: %v", len(name), err)
				}
			}
			return in, nil
		})
	})
}

// C12: a result that is nil or false was taken for "not done".
func TestNilAndZeroAreResultsOfASubStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, tries := 0, 0
		once(t, memory.New(memory.Config{}), func(ctx context.Context, in string) (string, error) {
			no, err1 := flow.Do(ctx, "false", func(context.Context) (bool, error) { calls++; return false, nil })
			zero, err2 := flow.Do(ctx, "zero", func(context.Context) (int, error) { calls++; return 0, nil })
			none, err3 := flow.Do(ctx, "nil", func(context.Context) (*int, error) { calls++; return nil, nil })
			if no || zero != 0 || none != nil || err1 != nil || err2 != nil || err3 != nil {
				t.Errorf("got %v %v %v %v %v %v", no, zero, none, err1, err2, err3)
			}
			if tries++; tries < 3 {
				return "", errors.New("again")
			}
			return in, nil
		})
		if calls != 3 {
			t.Errorf("%d calls", calls)
		}
	})
}

func TestAFailedSubStepRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		got := once(t, memory.New(memory.Config{}), func(ctx context.Context, in string) (int, error) {
			return flow.Do(ctx, "x", func(context.Context) (int, error) {
				if calls++; calls < 3 {
					return 0, errors.New("not yet")
				}
				return calls, nil
			})
		})
		if got != 3 {
			t.Errorf("got %d", got)
		}
	})
}

func TestTheIdempotencyKeyOfASubStepStaysTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		once(t, memory.New(memory.Config{}), func(ctx context.Context, in string) (string, error) {
			_, err := flow.Do(ctx, "x", func(ctx context.Context) (int, error) {
				keys = append(keys, envelope.IdempotencyKey(ctx))
				if len(keys) < 3 {
					return 0, errors.New("again")
				}
				return 0, nil
			})
			return in, err
		})
		if len(slices.Compact(keys)) != 1 || !strings.HasSuffix(keys[0], "/a/1/x") {
			t.Errorf("the keys are %q", keys)
		}
	})
}

func TestSubStepsMayRunAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := once(t, memory.New(memory.Config{}), func(ctx context.Context, in string) (int, error) {
			var wg sync.WaitGroup
			results := make([]int, 20)
			for i := range results {
				wg.Go(func() {
					var err error
					if results[i], err = flow.Do(ctx, fmt.Sprint(i), does(i)); err != nil {
						t.Error(err)
					}
					if err := flow.Note(ctx, fmt.Sprint(i), i); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			sum := 0
			for _, n := range results {
				sum += n
			}
			return sum, nil
		})
		if got != 190 {
			t.Errorf("got %d", got)
		}
	})
}

func TestTheFirstResultRecordedCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		got := once(t, b, func(ctx context.Context, in string) (string, error) {
			return flow.Do(ctx, "x", func(ctx context.Context) (string, error) {
				first := port.Change{Key: envelope.IdempotencyKey(ctx), Value: []byte(`{"nonce":"1","result":"first"}`)}
				_, err := b.Apply(ctx, first)
				return "second", err
			})
		})
		if got != "first" {
			t.Errorf("got %q", got)
		}
	})
}

func TestARecordThatCannotBeIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		tries := 0
		once(t, b, func(ctx context.Context, in string) (string, error) {
			if _, err := flow.Do(ctx, "func", does(func() {})); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("a result that does not encode: %v", err)
			}
			if tries++; tries == 1 {
				_, err := flow.Do(ctx, "x", func(ctx context.Context) (int, error) {
					strange := port.Change{Key: strings.TrimSuffix(envelope.IdempotencyKey(ctx), "x") + "y", Value: []byte("?")}
					_, err := b.Apply(ctx, strange)
					return 1, err
				})
				return "", errors.Join(errors.New("again"), err)
			}
			if _, err := flow.Do(ctx, "x", does("text")); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("a record of another type: %v", err)
			}
			if _, err := flow.Do(ctx, "y", does(1)); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("a key of others: %v", err)
			}
			return in, nil
		})
	})
}

func TestASubStepOutsideOfAHandlerIsRefused(t *testing.T) {
	if _, err := flow.Do(t.Context(), "x", does(1)); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("Do: %v", err)
	}
	if err := flow.Note(t.Context(), "x", 1); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("Note: %v", err)
	}
}

func TestNotesStandInTheRecordAndTheHistory(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		tries := 0
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			tries++
			for key, v := range map[string]any{"tokens": 100 * tries, "model": "m-" + fmt.Sprint(tries)} {
				if err := flow.Note(ctx, key, v); err != nil {
					t.Error(err)
				}
			}
			if err := flow.Note(ctx, "tokens", 100*tries+1); err != nil {
				t.Error(err)
			}
			if err := flow.Note(ctx, "large", strings.Repeat("x", 4<<10)); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("too large: %v", err)
			}
			if err := flow.Note(ctx, "func", func() {}); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("one that does not encode: %v", err)
			}
			if tries == 1 {
				if err := flow.Note(ctx, "only", "the first"); err != nil {
					t.Error(err)
				}
				return "", errors.New("again")
			}
			return in, nil
		})
		p := compile(t, "letters", a, a)
		defer work(t, p, b).end()
		ends(t, begin(t, p, b, "1", "-"), "-")
		_, history, err := p.History(t.Context(), b, "1")
		if err != nil {
			t.Fatal(err)
		}
		first, last := history[2].Notes, history[4].Notes
		if string(first["tokens"]) != "101" || string(first["only"]) != `"the first"` {
			t.Errorf("of the first attempt: %s", first)
		}
		if kept := statusOf(t, p, b, "1").Visits[0].Notes; string(last["tokens"]) != "201" || string(last["model"]) != `"m-2"` || len(last) != 2 || len(kept) != 2 {
			t.Errorf("of the last attempt: %s, %s", last, kept)
		}
	})
}

func TestARunsMessagesAreHandledInOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := quiet()
		seen := ""
		g.Use = []bus.Middleware{func(next bus.Handler[[]byte]) bus.Handler[[]byte] {
			return func(ctx context.Context, m bus.Message[[]byte]) error {
				seen += m.Topic + "/" + m.Group + " "
				return next(ctx, m)
			}
		}}
		p := abc(t)
		defer start(t, func(ctx context.Context) error { return p.Work(ctx, b, flow.Worker{Group: g}) }).end()
		ends(t, begin(t, p, b, "1", "-"), "-abc")
		if seen != "letters.a.in/flow letters.b.in/flow letters.c.in/flow " {
			t.Errorf("middleware saw %q", seen)
		}
	})
}

func TestAnOutageWithinASubStepIsNoFailure(t *testing.T) {
	for _, call := range []string{"get", "apply"} {
		synctest.Test(t, func(t *testing.T) {
			var away atomic.Bool
			store := memory.New(memory.Config{})
			b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
				if away.Load() && op.Name == call && op.Point == memory.Before {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			}})
			calls := 0
			a := flow.First("a", func(ctx context.Context, in string) (string, error) {
				if calls++; calls == 1 {
					away.Store(true)
				}
				return flow.Do(ctx, "x", func(context.Context) (string, error) { return in, nil })
			})
			p := compile(t, "letters", a, a)
			run := begin(t, p, store, "1", "-")
			defer work(t, p, b).end()
			<-time.After(3 * time.Minute)
			away.Store(false)
			ends(t, run, "-")
			tells(t, p, store, "1", "a started, a begun, a put off, a done")
		})
	}
}
