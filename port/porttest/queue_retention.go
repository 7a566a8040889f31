package porttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func retentionRules() []rule {
	return []rule{
		{
			"C25 a topic that nobody holds keeps to its MaxCount",
			"Retention removes the oldest entries first, some time after a limit was passed.", retainCount,
		},
		{
			"C25 a topic that nobody holds keeps to its MaxBytes",
			"Retention removes the oldest entries first, some time after a limit was passed.", retainBytes,
		},
		{
			"C25 entries over their age are removed, and an offset before them is a gap",
			"ErrGap when an entry after r.After was trimmed.", retainAge,
		},
		{
			"C25 retention never passes what a group has not finished",
			"Never one that a group has not finished: a group that nobody serves keeps its topic whole until it is dropped.", retainUnfinished,
		},
		{
			"C25 a topic full of what its groups have not finished refuses, and nothing happened",
			"A write to a topic that stands at MaxCount or MaxBytes (an adapter may let it exceed them by a tenth) and cannot be trimmed is refused with ErrUnavailable.", fullRefuses,
		},
		{
			"a topic that was full goes on when its groups have finished",
			"A write to a topic that stands at MaxCount and cannot be trimmed is refused.", fullGoesOn,
		},
		{
			"an acknowledgement whose step meets a full topic is refused, and the loan stays",
			"ErrUnavailable for Then as in Write: nothing happened, and the loan stays.", fullThen,
		},
		{
			"an age that was given up keeps old entries",
			"MaxAge: negative: none.", retainNoAge,
		},
	}
}

// oldest returns the first entry that a topic keeps. It reads once: of a topic that is trimmed meanwhile, a second
// read may find a gap.
func (t *trial) oldest(topic string) (port.Stored, bool) {
	some, err := t.b.Read(t.ctx, port.Range{Topic: topic, After: port.Earliest, Max: 1})
	t.must(err, "Read of topic "+topic)
	if len(some) == 0 {
		return port.Stored{}, false
	}
	return some[0], true
}

// trimmed writes on until the first of the entries is gone.
func (t *trial) trimmed(topic string) {
	first, ok := t.oldest(topic)
	t.check(ok, "there is a first entry")
	i := 0
	t.eventually("the first entry is trimmed", func() (bool, string) {
		i++
		t.b.write(port.Message{Topic: topic, ID: "filler" + number(i), Body: first.Message.Body})
		now, ok := t.oldest(topic)
		return !ok || now.Offset != first.Offset, "the first is " + now.Message.ID
	})
}

func retainCount(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxCount: 20})
	for _, m := range numbered("orders", 100) {
		t.b.write(m)
	}
	t.eventually("the topic keeps to its limit", func() (bool, string) {
		n := t.b.info("orders").Count
		return n <= 22, fmt.Sprint(n)
	})
	all := stored(t.b.read("orders", port.Earliest))
	t.check(len(all) > 0 && len(all) <= 22, "entries are left, and not too many")
	same(t, "entries left are the newest", all, numbers(100-len(all), 100))
}

func retainBytes(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxBytes: 20_000})
	for i := range 100 {
		t.b.write(port.Message{Topic: "orders", ID: number(i), Body: make([]byte, 1000)})
	}
	t.eventually("the topic keeps to its limit", func() (bool, string) {
		n := t.b.info("orders").Count
		return n <= 22, fmt.Sprint(n)
	})
	all := stored(t.b.read("orders", port.Earliest))
	t.check(len(all) > 0, "entries are left")
	same(t, "entries left are the newest", all, numbers(100-len(all), 100))
}

func retainAge(t *trial) {
	t.b.write(numbered("orders", 3)...)
	first, second := t.b.offset("orders", number(0)), t.b.offset("orders", number(1))
	t.b.declare(port.Topic{Name: "orders", MaxAge: t.unit + t.slack})
	t.trimmed("orders")
	t.eventually("entries over their age are removed", func() (bool, string) {
		now, ok := t.oldest("orders")
		return !ok || now.Message.ID > number(2), "the first is " + now.Message.ID
	})
	t.b.write(msg("orders", "new"))
	for _, after := range []port.Offset{first, second} {
		_, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: after, Max: 1})
		t.is(err, "Read after an offset that was passed", port.ErrGap)
		g := t.group("orders", "")
		g.From = after
		t.is(t.b.Join(t.ctx, g), "Join at an offset that was passed", port.ErrGap)
	}
	g := t.group("orders", "c1")
	t.b.join(g) // Earliest is what is kept: no gap
	t.b.one(g)
}

func retainUnfinished(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxAge: t.unit, MaxCount: 50})
	slow, fast := t.group("orders", "c1"), t.group("orders", "c1")
	fast.Name = "fast"
	t.b.join(fast)
	t.b.queued(slow, 6)
	ds := t.b.fetch(slow, 4)
	t.b.ack(slow, ds[0], ds[1])
	t.b.back(slow, ds[2], port.Return, 6*t.unit)
	t.b.ack(fast, t.b.fetch(fast, 6)...)
	for i := range 5 {
		t.pass(t.unit)
		t.b.write(msg("orders", "filler"+number(i)))
	}
	// Of the slow group: m002 waits, m003 is on loan, m004 and on are untouched.
	left := stored(t.b.read("orders", port.Earliest))
	t.check(len(left) >= 9, "nothing that a group has not finished was removed; left is "+brief(left))
	same(t, "the last entries", left[len(left)-9:len(left)-5], numbers(2, 6))
	want := map[string]bool{number(2): true, number(4): true, number(5): true}
	for range 5 {
		want["fillerm00"+string(rune('0'+len(want)-3))] = true
	}
	for _, d := range t.b.fetch(slow, 8) {
		t.check(want[d.Message.ID], d.Message.ID+" is handed out, and once")
		delete(want, d.Message.ID)
		t.b.ack(slow, d)
	}
	t.b.ack(slow, ds[3])
}

// fill writes to topic until it is full, and returns how many messages it took.
func (t *trial) fill(topic string, size int) int {
	for i := range 1000 {
		err := t.b.step(port.Batch{Messages: []port.Message{{Topic: topic, ID: number(i), Body: make([]byte, size)}}})
		if errors.Is(err, port.ErrUnavailable) {
			return i
		}
		t.must(err, "Write")
	}
	t.fatalf("a topic that cannot be trimmed took 1000 messages of %d bytes", size)
	return 0
}

func fullRefuses(t *trial) {
	for _, limit := range []port.Topic{{Name: "orders.count", MaxCount: 20}, {Name: "orders.bytes", MaxBytes: 20_000}} {
		t.b.declare(limit)
		g := t.group(limit.Name, "c1")
		t.b.join(g)
		n := t.fill(limit.Name, 1000)
		t.check(20 <= n && n <= 22, fmt.Sprintf("%s took %d of 20, and at most a tenth more", limit.Name, n))
		b := port.Batch{
			ID:       "batch " + limit.Name,
			Messages: []port.Message{msg("orders.out", limit.Name), {Topic: limit.Name, ID: "over", Body: make([]byte, 1000)}},
			Changes:  []port.Change{{Key: "orders/" + limit.Name, Value: []byte("1")}},
		}
		for range 2 {
			t.is(t.process().step(b), "a step that meets a full topic", port.ErrUnavailable)
		}
		same(t, "written", stored(t.b.read("orders.out", port.Earliest)), nil)
		t.b.lacks("orders/" + limit.Name)
		same(t, "entries", stored(t.b.read(limit.Name, port.Earliest)), numbers(0, n))
		t.b.ack(g, t.b.fetch(g, n)...)
		t.eventually("the refused step is not known", func() (bool, string) {
			err := t.b.step(b)
			return err == nil, fmt.Sprint(err)
		})
		out := t.b.read("orders.out", port.Earliest)
		same(t, "written when there was room", stored(out), []string{limit.Name})
		t.must(t.b.remove("orders.out", out[0].Offset), "Write")
	}
}

func fullGoesOn(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxCount: 10})
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(g)
	t.b.join(other)
	n := t.fill("orders", 1)
	t.b.ack(g, t.b.fetch(g, n)...)
	t.is(t.b.step(port.Batch{Messages: []port.Message{msg("orders", "early")}}), "Write while one group has not finished", port.ErrUnavailable)
	t.must(t.b.Drop(t.ctx, "orders", other.Name), "Drop")
	t.eventually("there is room when no group needs the entries", func() (bool, string) {
		err := t.b.step(port.Batch{Messages: []port.Message{msg("orders", "new")}})
		return err == nil, fmt.Sprint(err)
	})
	equal(t, "handed out", t.b.one(g).Message.ID, "new")
}

func fullThen(t *trial) {
	t.b.declare(port.Topic{Name: "orders.out", MaxCount: 10})
	out := t.group("orders.out", "c1")
	t.b.join(out)
	n := t.fill("orders.out", 1)
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	s := port.Settlement{Receipt: t.b.one(g).Receipt, Then: port.Batch{
		Messages: []port.Message{msg("orders.out", "next")},
		Changes:  []port.Change{{Key: "orders/1", Value: []byte("1")}},
	}}
	t.b.refused(g, s, port.ErrUnavailable)
	t.b.lacks("orders/1")
	t.b.none(g)
	t.b.ack(out, t.b.fetch(out, n)...)
	t.eventually("the same settlement counts when there is room", func() (bool, string) {
		err := t.b.settled(g, s)[0]
		return err == nil, fmt.Sprint(err)
	})
	equal(t, "handed out", t.b.one(out).Message.ID, "next")
	t.b.holds("orders/1", "1")
}

func retainNoAge(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxAge: t.unit})
	t.b.declare(port.Topic{Name: "orders", MaxAge: -1})
	t.b.write(msg("orders", "m1"))
	ctx, cancel := context.WithTimeout(t.ctx, 3*t.unit)
	defer cancel()
	for i := 0; ctx.Err() == nil; i++ {
		t.b.write(msg("orders", "filler"+number(i)))
		t.pass(t.unit / 2)
	}
	equal(t, "first entry", t.b.read("orders", port.Earliest)[0].Message.ID, "m1")
	equal(t, "age", t.b.info("orders").Topic.MaxAge, time.Duration(-1))
}
