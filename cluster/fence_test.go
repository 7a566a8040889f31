package cluster

import (
	"context"
	"errors"
	"testing"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestAFenceTravelsAsText(t *testing.T) {
	f := port.Fence{Name: "lead.billing", Token: port.MaxToken}
	if got, err := ParseFence(FormatFence(f)); err != nil || got != f {
		t.Errorf("%+v came back as %+v, %v", f, got, err)
	}
	for _, s := range []string{"", "=", "x", "x=", "=7", "x=-1", "x=1=2", "x=y", "x/y=1", "x=0", "x=9007199254740992"} {
		if got, err := ParseFence(s); !errors.Is(err, port.ErrInvalid) || !got.IsZero() {
			t.Errorf("%q was read as %+v, %v", s, got, err)
		}
	}
}

func TestAGateNeverGoesBack(t *testing.T) {
	var g Gate
	for _, step := range []struct {
		f    port.Fence
		want error
	}{
		{port.Fence{Name: "a", Token: 5}, nil},
		{port.Fence{Name: "a", Token: 5}, nil},
		{port.Fence{Name: "a", Token: 4}, port.ErrStale},
		{port.Fence{Name: "b", Token: 4}, nil},
		{port.Fence{Name: "a", Token: 6}, nil},
		{port.Fence{Name: "a", Token: 5}, port.ErrStale},
		{port.Fence{}, port.ErrInvalid},
		{port.Fence{Name: "?", Token: 5}, port.ErrInvalid},
	} {
		if err := g.Admit(step.f); !errors.Is(err, step.want) {
			t.Errorf("%+v: %v, want %v", step.f, err, step.want)
		}
	}
	f, ok := errors.AsType[*port.FenceError](g.Admit(port.Fence{Name: "a", Token: 1}))
	if !ok || f.Seen != 6 {
		t.Errorf("refused with %v", f)
	}
}

// The resource half: a change that carries an old term's fence is refused by the backend itself.
func TestAChangeOfAPastTermIsRefusedByTheBackend(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		var past Term
		for _, id := range []string{"a", "b"} {
			err := Lock(t.Context(), b, Hold{Name: "x", ID: id, Log: quiet}, func(_ context.Context, term Term) error {
				if id == "a" {
					past = term
				}
				done, err := b.Apply(t.Context(), port.Change{Key: "k", Value: []byte(id), Fence: term.Fence()})
				return errors.Join(err, done[0].Err)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		done, err := b.Apply(t.Context(), port.Change{Key: "k", Value: []byte("late"), Fence: past.Fence()})
		if err != nil || !errors.Is(done[0].Err, port.ErrStale) {
			t.Errorf("%+v, %v", done, err)
		}
		if got, err := b.Get(t.Context(), "k"); err != nil || string(got[0].Bytes) != "b" {
			t.Errorf("%s, %v", got[0].Bytes, err)
		}
		if past.Held() || !past.Until().IsZero() {
			t.Error("a past term is held")
		}
	})
}
