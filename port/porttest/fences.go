package porttest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

func fenceRules() []rule {
	return []rule{
		{
			"a step with a token smaller than one that was seen is refused, and says which",
			"A step or change with a Fence is refused with a FenceError when a larger token of the same Name was seen before in the same family; otherwise its token is now seen.", fenceRefuses,
		},
		{
			"fences of steps, changes and settlements are one",
			"A step or change with a Fence is refused with a FenceError when a larger token of the same Name was seen before in the same family.", fenceShared,
		},
		{
			"a fence reaches as far as a step",
			"In the same family (where Caps.Atomic is AtomicAll: in the namespace).", fenceReach,
		},
		{
			"a refused step does not show its token",
			"Write makes one step: all of b or nothing.", fenceOfRefused,
		},
		{
			"a fence with the largest token is exact",
			"MaxToken: the largest fencing token: every backend carries it exactly.", fenceExact,
		},
	}
}

// fenced is a step of family orders that comes with a token.
func fenced(key string, token uint64) port.Batch {
	return port.Batch{
		Changes: []port.Change{{Key: key, Value: []byte(fmt.Sprint(token))}},
		Fence:   port.Fence{Name: "leader", Token: token},
	}
}

// passed fails unless err is a FenceError of the fence leader with these tokens.
func (t *trial) passed(err error, token, seen uint64) {
	t.is(err, "an old fence", port.ErrStale)
	f, ok := errors.AsType[*port.FenceError](err)
	if !ok {
		t.fatalf("the error of an old fence is no FenceError: %v", err)
	}
	equal(t, "the FenceError", *f, port.FenceError{Name: "leader", Token: token, Seen: seen})
}

func fenceRefuses(t *trial) {
	t.must(t.b.step(fenced("orders/1", 5)), "Write with a first token")
	t.must(t.b.step(fenced("orders/1", 5)), "Write with the same token")
	t.must(t.process().step(fenced("orders/1", 7)), "Write with a larger token")
	t.passed(t.b.step(fenced("orders/1", 6)), 6, 7)
	t.b.holds("orders/1", "7")
	other := fenced("orders/1", 1)
	other.Fence.Name = "other"
	t.must(t.b.step(other), "Write with another fence")
	t.b.put("orders/1", "no fence")
}

func fenceShared(t *trial) {
	f := func(token uint64) port.Fence { return port.Fence{Name: "leader", Token: token} }
	a := t.b.apply(port.Change{Key: "orders/1", Value: []byte("a"), Fence: f(5)})
	t.check(a.Done && a.Err == nil, "a change with a first token is done")
	t.passed(t.process().step(fenced("orders/1", 4)), 4, 5)
	t.must(t.b.step(fenced("orders/1", 6)), "Write with a larger token")
	done, err := t.b.Apply(t.ctx,
		port.Change{Key: "orders/1", Value: []byte("old"), Fence: f(5)},
		port.Change{Key: "orders/2", Value: []byte("free")},
		port.Change{Key: "orders/3", Value: []byte("new"), Fence: f(6)})
	t.must(err, "Apply")
	t.check(!done[0].Done, "a change with an old token is not done")
	t.passed(done[0].Err, 5, 6)
	t.check(done[1].Done && done[2].Done && done[1].Err == nil && done[2].Err == nil, "the other changes are done")
	t.b.holds("orders/1", "6")
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	t.passed(t.b.settled(g, port.Settlement{Receipt: d.Receipt, Then: fenced("orders/1", 5)})[0], 5, 6)
	t.b.settle(g, port.Settlement{Receipt: d.Receipt, Then: fenced("orders/1", 8)})
	t.passed(t.b.step(fenced("orders/1", 7)), 7, 8)
	t.b.holds("orders/1", "8")
}

func fenceReach(t *trial) {
	t.must(t.b.step(fenced("orders/1", 5)), "Write")
	t.passed(t.b.step(fenced("orders.more/1", 4)), 4, 5)
	err := t.b.step(fenced("bills/1", 4))
	if t.caps.Atomic == port.AtomicAll {
		t.passed(err, 4, 5)
		return
	}
	t.must(err, "Write in another family")
	t.passed(t.b.step(fenced("bills/1", 3)), 3, 4)
}

func fenceOfRefused(t *trial) {
	t.b.put("orders/taken", "1")
	bad := fenced("orders/1", 9)
	bad.Changes = append(bad.Changes, port.Change{Key: "orders/taken", If: port.Absent})
	t.is(t.b.step(bad), "a step whose condition fails", port.ErrConflict)
	t.must(t.b.step(fenced("orders/1", 5)), "Write with the smaller token")
}

func fenceExact(t *trial) {
	for _, token := range []uint64{port.MaxToken - 2, port.MaxToken - 1, port.MaxToken} {
		t.must(t.b.step(fenced("orders/1", token)), "Write")
		t.passed(t.b.step(fenced("orders/1", token-1)), token-1, token)
	}
	seen := new(atomic.Uint64)
	t.crowd(16, func(i int) {
		b := port.Batch{Changes: []port.Change{{Key: "orders/register", Value: []byte(number(i))}}, Fence: port.Fence{Name: "many", Token: uint64(i + 1)}}
		if err := t.b.step(b); err != nil {
			t.is(err, "Write", port.ErrStale)
			return
		}
		for {
			old := seen.Load()
			if old >= uint64(i) || seen.CompareAndSwap(old, uint64(i)) {
				return
			}
		}
	})
	t.b.holds("orders/register", number(int(seen.Load()))) // what came with the largest token stays
}
