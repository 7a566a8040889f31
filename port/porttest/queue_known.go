package porttest

import (
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func windowRules() []rule {
	return []rule{
		{
			"a message whose ID was written in the window is left out and named, and the rest is applied",
			"A message whose ID was written to its topic within the topic's window is left out, the rest is applied, and a DuplicateError names it.", windowDuplicate,
		},
		{
			"the window is the topic's, for every process",
			"A message whose ID was written to its topic within the topic's window is left out.", windowPerTopic,
		},
		{
			"an ID is free again after the window",
			"What is known for a time (Window, Group.Remember, BatchWindow) is known for at least that long, and for at most twice as long and a second.", windowEnds,
		},
		{
			"a topic without a window takes every ID again",
			"Window: negative: not at all.", windowNone,
		},
		{
			"a message that was refused leaves its ID unknown",
			"Write makes one step: all of b or nothing.", windowRefused,
		},
	}
}

// repeated fails unless err tells that just these IDs were left out.
func (t *trial) repeated(err error, ids ...string) {
	t.is(err, "a repetition", port.ErrDuplicate)
	d, ok := errors.AsType[*port.DuplicateError](err)
	if !ok {
		t.fatalf("the error is no DuplicateError: %v", err)
	}
	same(t, "IDs left out", d.IDs, ids)
	t.check(!d.Whole, "the rest was applied")
}

func (p *process) step(b port.Batch) error { return p.Write(p.t.ctx, b) }

func windowDuplicate(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 3)
	err := t.b.step(port.Batch{
		Messages: []port.Message{msg("orders", number(1)), msg("orders", "new"), msg("orders", number(0))},
		Changes:  []port.Change{{Key: "orders/1", Value: []byte("1")}},
	})
	t.repeated(err, number(1), number(0))
	want := append(numbers(0, 3), "new")
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), want)
	same(t, "handed out", ids(t.b.fetch(g, 4)), want)
	t.b.none(g)
	t.b.holds("orders/1", "1")
}

func windowPerTopic(t *trial) {
	t.b.write(msg("orders.a", "m1"), msg("orders.b", "m1"))
	other := t.process()
	t.repeated(other.step(port.Batch{Messages: []port.Message{msg("orders.a", "m1"), msg("orders.c", "m1")}}), "m1")
	for _, topic := range []string{"orders.a", "orders.b", "orders.c"} {
		same(t, "entries of "+topic, stored(t.b.read(topic, port.Earliest)), []string{"m1"})
	}
}

func windowEnds(t *trial) {
	t.b.declare(port.Topic{Name: "orders", Window: 2*t.unit + t.slack})
	t.b.write(msg("orders", "m1"))
	t.pass(t.unit)
	t.repeated(t.b.step(port.Batch{Messages: []port.Message{msg("orders", "m1")}}), "m1")
	t.pass(2*(2*t.unit+t.slack) + time.Second)
	t.b.write(msg("orders", "m1"))
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"m1", "m1"})
}

func windowNone(t *trial) {
	t.b.declare(port.Topic{Name: "orders", Window: -1})
	g := t.group("orders", "c1")
	t.b.join(g)
	for range 3 {
		t.b.write(msg("orders", "m1"))
	}
	same(t, "handed out", ids(t.b.fetch(g, 3)), []string{"m1", "m1", "m1"})
}

func windowRefused(t *trial) {
	t.b.put("orders/taken", "1")
	bad := port.Batch{Messages: []port.Message{msg("orders", "m1")}, Changes: []port.Change{{Key: "orders/taken", If: port.Absent}}}
	t.is(t.b.step(bad), "a step whose condition fails", port.ErrConflict)
	t.b.write(msg("orders", "m1"))
}

func rememberRules() []rule {
	return []rule{
		{
			"a message whose ID the group remembers is acknowledged and not handed out",
			"A message whose ID the group remembers is acknowledged and not handed out.", rememberAtFetch,
		},
		{
			"of two messages of one ID on loan, one acknowledgement is applied",
			"A DuplicateError with Whole: the message's ID was remembered: it is acknowledged, and nothing of Then happened.", rememberAtSettle,
		},
		{
			"only an acknowledgement is remembered",
			"Remember: how long an acknowledged ID is known to the group.", rememberAcksOnly,
		},
		{
			"a group remembers for itself, and only when it is asked to",
			"Remember: how long an acknowledged ID is known to the group; default not at all.", rememberPerGroup,
		},
		{
			"an ID is forgotten, but not before its time",
			"What is known for a time (Window, Group.Remember, BatchWindow) is known for at least that long, and for at most twice as long and a second.", rememberEnds,
		},
		{
			"an acknowledgement that was refused is not remembered",
			"Nothing happened, and the loan stays.", rememberRefused,
		},
	}
}

// mindful is a group that remembers for long, on a topic without a window.
func (t *trial) mindful(topic string) port.Group {
	t.b.declare(port.Topic{Name: topic, Window: -1})
	g := t.group(topic, "c1")
	g.Remember = t.long
	t.b.join(g)
	return g
}

func rememberAtFetch(t *trial) {
	g := t.mindful("orders")
	t.b.write(msg("orders", "m1"))
	t.b.ack(g, t.b.one(g))
	t.b.write(msg("orders", "m1"), msg("orders", "m2"), msg("orders", "m1"))
	other := t.process()
	d := other.one(g)
	equal(t, "handed out", d.Message.ID, "m2")
	other.none(g)
	other.ack(g, d)
	t.stands("when all that is left is remembered", g, 0, 0, 0)
}

func rememberAtSettle(t *trial) {
	for _, together := range []bool{false, true} {
		topic := fmt.Sprintf("orders.%v", together)
		g := t.mindful(topic)
		t.b.write(msg(topic, "m1"), msg(topic, "m1"))
		ds := t.b.fetch(g, 2)
		ss := make([]port.Settlement, 2)
		for i, d := range ds {
			ss[i] = port.Settlement{Receipt: d.Receipt, Then: port.Batch{
				Messages: []port.Message{msg(topic+".out", number(i))},
				Changes:  []port.Change{{Key: fmt.Sprintf("%s/%d", topic, i), Value: []byte("1")}},
			}}
		}
		var errs []error
		if together {
			errs = t.b.settled(g, ss...)
		} else {
			errs = append(t.b.settled(g, ss[0]), t.process().settled(g, ss[1])...)
		}
		t.must(errs[0], "the first acknowledgement")
		t.is(errs[1], "the second acknowledgement", port.ErrDuplicate)
		if d, ok := errors.AsType[*port.DuplicateError](errs[1]); !ok || !d.Whole {
			t.fatalf("the second acknowledgement: %v, want a DuplicateError with Whole", errs[1])
		}
		same(t, "written", stored(t.b.read(topic+".out", port.Earliest)), []string{number(0)})
		t.b.lacks(topic + "/1")
		t.stands("after both", g, 0, 0, 0)
		t.b.refused(g, ss[1], port.ErrStale, port.ErrDuplicate)
	}
}

func rememberAcksOnly(t *trial) {
	g := t.mindful("orders")
	t.b.write(msg("orders", "m1"))
	for _, v := range []port.Verdict{port.Return, port.Release} {
		t.b.back(g, t.b.one(g), v, 0)
	}
	t.b.write(msg("orders", "m1"))
	same(t, "handed out", ids(t.b.fetch(g, 2)), []string{"m1", "m1"})
}

func rememberPerGroup(t *trial) {
	g := t.mindful("orders")
	other := t.group("orders", "c1")
	other.Name = "others"
	t.b.join(other)
	for range 2 {
		t.b.write(msg("orders", "m1"))
	}
	t.b.ack(g, t.b.one(g))
	t.b.none(g)
	for range 2 {
		t.b.ack(other, t.b.one(other))
	}
}

func rememberEnds(t *trial) {
	g := t.mindful("orders")
	g.Remember = 2*t.unit + t.slack
	g.Name = "brief"
	t.b.join(g)
	t.b.write(msg("orders", "m1"))
	t.b.ack(g, t.b.one(g))
	t.pass(t.unit)
	t.b.write(msg("orders", "m1"))
	t.b.none(g)
	t.pass(2*g.Remember + time.Second)
	t.b.write(msg("orders", "m1"))
	t.b.one(g)
}

func rememberRefused(t *trial) {
	g := t.mindful("orders")
	t.b.put("orders/taken", "1")
	t.b.write(msg("orders", "m1"), msg("orders", "m1"))
	ds := t.b.fetch(g, 2)
	bad := port.Batch{Changes: []port.Change{{Key: "orders/taken", If: port.Absent}}}
	t.b.refused(g, port.Settlement{Receipt: ds[0].Receipt, Then: bad}, port.ErrConflict)
	t.b.ack(g, ds[1])
}
