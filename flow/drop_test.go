package flow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// leavings are the topics and keys of a backend but those of one prefix.
func leavings(t *testing.T, b flow.Backend, but string) (all []string) {
	t.Helper()
	for info, err := range b.Inspect(t.Context(), "*") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Topic.Name)
	}
	for key, err := range b.Keys(t.Context(), "*") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(key, but) {
			all = append(all, key)
		}
	}
	return all
}

// failing is a pipeline whose runs fail after they have recorded something.
func failing(t *testing.T, name string) flow.Pipeline[string, string] {
	a := flow.First("a", func(ctx context.Context, in string) (string, error) {
		return flow.Do(ctx, "once", func(context.Context) (string, error) { return in, nil })
	})
	return compile(t, name, a, flow.Then(a, "b", func(context.Context, string) (string, error) { return "", bus.Reject(errors.New("no")) }))
}

func TestADroppedPipelineLeavesNothingAndTouchesNoOther(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := failing(t, "letters")
		run := begin(t, p, b, "1", "-")
		begin(t, p, b, "2", "-")
		worker := work(t, p, b)
		if _, err := run.Wait(t.Context()); !errors.Is(err, flow.ErrFailed) {
			t.Fatalf("it ends with %v", err)
		}
		worker.end()
		other := failing(t, "letters2")
		begin(t, other, b, "1", "-")
		for range 2 {
			if err := flow.Drop(t.Context(), b, "letters"); err != nil {
				t.Fatal(err)
			}
		}
		if left := leavings(t, b, "letters2/"); strings.Join(left, " ") != "letters2.a.in letters2.events" {
			t.Errorf("there is left %q", left)
		}
		if s := statusOf(t, other, b, "1"); s.State != flow.Pending {
			t.Errorf("the other is %+v", s)
		}
		if err := flow.Drop(t.Context(), b, "let.ters"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("a name with a dot: %v", err)
		}
	})
}

func TestAPipelineIsNotDroppedWhileAMessageIsOnLoan(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		busy := make(chan struct{})
		a := flow.First("a", func(ctx context.Context, in string) (string, error) {
			close(busy)
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		p := compile(t, "letters", a, a)
		begin(t, p, b, "1", "-")
		worker := work(t, p, b)
		<-busy
		if err := flow.Drop(t.Context(), b, "letters"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("while it is handled: %v", err)
		}
		statusOf(t, p, b, "1")
		worker.end()
		if err := flow.Drop(t.Context(), b, "letters"); err != nil {
			t.Error(err)
		}
		if left := leavings(t, b, "-"); len(left) > 0 {
			t.Errorf("there is left %q", left)
		}
	})
}

func TestADropThatDiesAnywhereIsRepeated(t *testing.T) {
	for dies := 1; ; dies++ {
		over := false
		synctest.Test(t, func(t *testing.T) {
			dropping, n := false, 0
			b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
				if dropping && op.Point == memory.Before {
					if n++; n >= dies {
						return memory.Fault{Err: port.ErrClosed}
					}
				}
				return memory.Fault{}
			}})
			p := failing(t, "letters")
			run := begin(t, p, b, "1", "-")
			worker := work(t, p, b)
			if _, err := run.Wait(t.Context()); !errors.Is(err, flow.ErrFailed) {
				t.Fatalf("it ends with %v", err)
			}
			worker.end()
			<-time.After(time.Minute)
			dropping = true
			err := flow.Drop(t.Context(), b, "letters")
			dropping = false
			if over = err == nil; over {
				return
			}
			if err := flow.Drop(t.Context(), b, "letters"); err != nil {
				t.Errorf("after dying before call %d: %v", dies, err)
			}
			if left := leavings(t, b, "-"); len(left) > 0 {
				t.Errorf("after dying before call %d there is left %q", dies, left)
			}
		})
		if over {
			if dies < 6 {
				t.Errorf("it makes %d calls only", dies-1)
			}
			return
		}
	}
}
