package nats

import (
	"errors"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

// own is a backend with a server of its own.
func own(t *testing.T) *Backend {
	t.Helper()
	b, err := Embedded(t.Context(), EmbeddedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// A settlement is repeated because its outcome is not known, and the first one takes effect just while the second looks at what there is: it
// must not be told that its own step is in its way.
func TestASettlementIsNotRefusedByWhatItHasDoneItself(t *testing.T) {
	ctx, b := t.Context(), own(t)
	g := port.Group{Topic: "orders.in", Name: "workers", Consumer: "c", Loan: time.Hour}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: g.Topic, ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	list, err := b.Fetch(ctx, g, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("fetched %d messages: %v", len(list), err)
	}
	settlement := port.Settlement{Receipt: list[0].Receipt, Then: port.Batch{Changes: []port.Change{{Key: "orders/done/1", If: port.Absent}}}}
	var second error
	first := false
	o := &op{what: "settle", writes: true, weight: 2, decide: func(x *tx) error {
		s, err := x.member(&g)
		if err != nil {
			return err
		}
		// The group was read, with the loan; the key was not.
		if !first {
			first = true
			if err := b.Settle(ctx, g, settlement)[0]; err != nil {
				t.Errorf("the first settlement: %v", err)
			}
		}
		_, second = x.settle(s, &g, &settlement, b.after(g.Remember))
		if errors.Is(second, errMissing) {
			return second
		}
		return nil
	}}
	r := &run{b: b, cells: map[string]*cell{}, doubt: true} // as after a write that did not get through
	if r.take(ctx, []*op{o}); o.err != nil {
		t.Fatal(o.err)
	}
	if errors.Is(second, port.ErrConflict) || !errors.Is(second, port.ErrStale) {
		t.Errorf("the second settlement: %v, want ErrStale", second)
	}
}

// What has not moved refuses as before.
func TestAStepThatCannotBeIsRefused(t *testing.T) {
	ctx, b := t.Context(), own(t)
	step := port.Batch{Changes: []port.Change{{Key: "orders/done/1", If: port.Absent}}}
	if err := b.Write(ctx, step); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(ctx, step); !errors.Is(err, port.ErrConflict) {
		t.Errorf("the second step: %v, want ErrConflict", err)
	}
}
