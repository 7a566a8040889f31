package porttest

import (
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

func thenRules() []rule {
	return []rule{
		{
			"what an acknowledgement brings happens with it",
			"Ack: done: its ID is remembered, and Then is applied in the same step.", thenHappens,
		},
		{
			"a step that is refused refuses its acknowledgement, and the loan stays",
			"ErrConflict, ErrNotFound, ErrUnavailable and FenceError for Then as in Write: nothing happened, and the loan stays.", thenRefused,
		},
		{
			"an acknowledgement leaves out what its step repeats",
			"nil: settled. Of Then, duplicate messages were left out as in Write (they repeat what is there).", thenDuplicates,
		},
		{
			"a stale acknowledgement brings nothing",
			"Every other settlement is ErrStale and did nothing.", thenStale,
		},
		{
			"a step may remove, write and change where it is acknowledged",
			"Then: of Ack: what happens in the same step.", thenOwnTopic,
		},
	}
}

// refusal is a part that makes a step fail.
type refusal struct {
	what  string
	spoil func(*port.Batch)
	want  error
}

// refusals are all the conditions that a step of family orders may fail by. What they name is set up in the namespace.
func (t *trial) refusals() []refusal {
	t.b.put("orders/taken", "1")
	t.b.write(msg("orders.log", "gone"))
	gone := port.Removal{Topic: "orders.log", Offset: t.b.offset("orders.log", "gone")}
	t.must(t.b.Write(t.ctx, port.Batch{Removes: []port.Removal{gone}, Fence: port.Fence{Name: "leader", Token: 10}}), "Write")
	addressed := msg("orders.log", "addressed")
	addressed.Group = "nobody"
	condition := func(c port.Change) func(*port.Batch) {
		return func(b *port.Batch) { b.Changes = append(b.Changes, c) }
	}
	return []refusal{
		{"absent, where there is a key", condition(port.Change{Key: "orders/taken", Value: []byte("2"), If: port.Absent}), port.ErrConflict},
		{"absent, where the key has that value already", condition(port.Change{Key: "orders/taken", Value: []byte("1"), If: port.Absent}), port.ErrConflict},
		{"equals, where the key has another value", condition(port.Change{Key: "orders/taken", Value: []byte("3"), If: port.Equals, Old: []byte("2")}), port.ErrConflict},
		{"equals, where the key has the new value already", condition(port.Change{Key: "orders/taken", Value: []byte("1"), If: port.Equals, Old: []byte("0")}), port.ErrConflict},
		{"equals, where there is no key", condition(port.Change{Key: "orders/none", Value: []byte("1"), If: port.Equals}), port.ErrConflict},
		{"deletes, where the key has another value", condition(port.Change{Key: "orders/taken", Delete: true, If: port.Equals, Old: []byte("2")}), port.ErrConflict},
		{"removes what is not there", func(b *port.Batch) { b.Removes = append(b.Removes, gone) }, port.ErrNotFound},
		{"is addressed to a group that is not there", func(b *port.Batch) { b.Messages = append(b.Messages, addressed) }, port.ErrNotFound},
		{"comes with an old fence", func(b *port.Batch) { b.Fence = port.Fence{Name: "leader", Token: 9} }, port.ErrStale},
		{"changes with an old fence", condition(port.Change{Key: "orders/fenced", Fence: port.Fence{Name: "leader", Token: 9}}), port.ErrStale},
	}
}

// good is a step that does one of everything, the removal of an entry included.
func (t *trial) good(id string) port.Batch {
	t.b.put("orders/old", "1")
	t.b.write(msg("orders.spare", "spare "+id))
	return port.Batch{
		Messages: []port.Message{msg("orders.out", id)},
		Changes: []port.Change{
			{Key: "orders/new", Value: []byte(id)},
			{Key: "orders/old", Delete: true, If: port.Equals, Old: []byte("1")},
		},
		Removes: []port.Removal{{Topic: "orders.spare", Offset: t.b.offset("orders.spare", "spare "+id)}},
	}
}

// undone fails unless nothing of good happened.
func (t *trial) undone(what string) {
	same(t, "messages written by a step that "+what, stored(t.b.read("orders.out", port.Earliest)), nil)
	equal(t, "spare entries after a step that "+what, len(t.b.read("orders.spare", port.Earliest)), 1)
	t.b.lacks("orders/new")
	t.b.lacks("orders/fenced")
	t.b.lacks("orders/none")
	t.b.holds("orders/old", "1")
	t.b.holds("orders/taken", "1")
}

// done fails unless all of good happened, and cleans up behind it.
func (t *trial) done(id string) {
	out := t.b.read("orders.out", port.Earliest)
	same(t, "messages written", stored(out), []string{id})
	equal(t, "spare entries", len(t.b.read("orders.spare", port.Earliest)), 0)
	t.b.holds("orders/new", id)
	t.b.lacks("orders/old")
	t.b.set(port.Change{Key: "orders/new", Delete: true})
	t.must(t.b.Write(t.ctx, port.Batch{Removes: []port.Removal{{Topic: "orders.out", Offset: out[0].Offset}}}), "Write")
}

func thenHappens(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Then: t.good("m1")})
	t.done("m1")
	t.b.none(g)
	t.stands("after the acknowledgement", g, 0, 0, 0)
}

func thenRefused(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.join(g)
	for i, r := range t.refusals() {
		id := number(i)
		t.b.write(msg("orders.in", id))
		d := t.b.one(g)
		good := t.good(id)
		bad := good
		bad.Messages, bad.Changes = clip(good.Messages), clip(good.Changes)
		r.spoil(&bad)
		err := t.b.settled(g, port.Settlement{Receipt: d.Receipt, Then: bad})[0]
		t.is(err, "an acknowledgement whose step "+r.what, r.want)
		if fence, ok := errors.AsType[*port.FenceError](err); ok != errors.Is(r.want, port.ErrStale) {
			t.fatalf("a step that %s: FenceError is %v in %v", r.what, fence, err)
		}
		t.undone(r.what)
		other := g
		other.Consumer = "c2"
		t.b.none(other)
		t.must(t.b.extend(g, d, false), "Extend after a refused step")
		t.b.settle(g, port.Settlement{Receipt: d.Receipt, Then: good})
		t.done(id)
	}
}

// clip is s without room for more, so that append makes another.
func clip[S ~[]E, E any](s S) S { return s[:len(s):len(s)] }

func thenDuplicates(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	t.b.write(msg("orders.out", "known"))
	t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Then: port.Batch{
		Messages: []port.Message{msg("orders.out", "known"), msg("orders.out", "new")},
		Changes:  []port.Change{{Key: "orders/done", Value: []byte("1")}},
	}})
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), []string{"known", "new"})
	t.b.holds("orders/done", "1")
}

func thenStale(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.join(g)
	for _, first := range verdicts {
		t.b.write(msg("orders.in", first.String()))
		d := t.b.one(g)
		t.b.settle(g, port.Settlement{Receipt: d.Receipt, Verdict: first})
		t.b.refused(g, port.Settlement{Receipt: d.Receipt, Then: t.good(fmt.Sprint(first))}, port.ErrStale)
		same(t, "written", stored(t.b.read("orders.out", port.Earliest)), nil)
		t.b.lacks("orders/new")
		t.b.holds("orders/old", "1")
		if first != port.Ack {
			t.b.ack(g, t.b.one(g))
		}
	}
	equal(t, "spare entries", len(t.b.read("orders.spare", port.Earliest)), len(verdicts))
}

func thenOwnTopic(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	mine := msg("orders.in", "mine")
	mine.Group = g.Name
	t.b.settle(g, port.Settlement{Receipt: d.Receipt, Then: port.Batch{
		Messages: []port.Message{msg("orders.in", "next"), mine},
		Removes:  []port.Removal{{Topic: "orders.in", Offset: d.Offset}},
	}})
	same(t, "entries", stored(t.b.read("orders.in", port.Earliest)), []string{"next"})
	got := map[string]bool{}
	for _, d := range t.b.fetch(g, 2) {
		got[d.Message.ID] = true
	}
	t.check(got["next"] && got["mine"], "both messages of the step are handed out")
}
