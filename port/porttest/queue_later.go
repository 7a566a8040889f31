package porttest

import (
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

func addressedRules() []rule {
	return []rule{
		{
			"an addressed message goes to its group alone",
			"Group: addresses one group alone, outside of the log.", addressedAlone,
		},
		{
			"an addressed message never meets the window",
			"An addressed message never is (left out).", addressedPastWindow,
		},
		{
			"an addressed message is on loan, returned and settled like any other",
			"Attempt, Lost, Crashes and Reason live with the message and the group on the server.", addressedLife,
		},
		{
			"an addressed message waits for its time",
			"At: not to be seen before, by the server's clock.", addressedDelay,
		},
		{
			"a redrive takes the dead letter and brings the message, twice within the window",
			"A removal of what is not there is refused with ErrNotFound; an addressed message is never left out as a duplicate.", redrive,
		},
	}
}

// addressed is a message to the group alone.
func addressed(g port.Group, id string) port.Message {
	m := msg(g.Topic, id)
	m.Group = g.Name
	return m
}

func addressedAlone(t *trial) {
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(other)
	t.b.join(g)
	t.b.write(addressed(g, "mine"))
	t.stands("with an addressed message", g, 1, 0, 0)
	d := t.process().one(g)
	equal(t, "handed out", d.Message.ID, "mine")
	equal(t, "offset", d.Offset, "")
	equal(t, "topic", d.Message.Topic, "orders")
	t.check(!d.FirstAt.IsZero(), "FirstAt is told")
	t.b.none(other)
	same(t, "entries of the log", stored(t.b.read("orders", port.Earliest)), nil)
	equal(t, "entries counted", t.b.info("orders").Count, 0)
	t.b.ack(g, d)
	t.b.none(g)
}

func addressedPastWindow(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	t.b.write(addressed(g, number(0)))
	t.b.write(addressed(g, number(0)))
	same(t, "handed out", ids(t.b.fetch(g, 3)), []string{number(0), number(0), number(0)})
	t.b.write(addressed(g, "new"))
	t.b.write(msg("orders", "new")) // an addressed one does not make its ID known
}

func addressedLife(t *trial) {
	g, short := t.lending("orders", "c1", t.lent), t.lending("orders", "c2", t.lent)
	t.b.join(g)
	t.b.write(addressed(g, "mine"))
	t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Verdict: port.Return, Reason: "broken"})
	t.b.back(g, t.b.one(g), port.Release, t.unit)
	d := t.b.one(short)
	start := time.Now()
	t.must(t.b.extend(short, d, true), "Extend with Begin")
	g.Consumer = "c3"
	now := t.b.one(g)
	t.notBefore(start, t.lent, "an addressed message on loan was handed to another")
	t.onTime(start, t.lent, "an addressed message whose loan ran out was handed on")
	equal(t, "attempts, lost and crashes", [3]int{now.Attempt, now.Lost, now.Crashes}, [3]int{1, 1, 1})
	equal(t, "reason", now.Reason, "broken")
	t.is(t.b.extend(short, d, false), "Extend of a loan that passed on", port.ErrStale)
	t.b.settle(g, port.Settlement{Receipt: now.Receipt, Then: port.Batch{Messages: []port.Message{msg("orders", "next")}}})
	t.b.refused(g, port.Settlement{Receipt: now.Receipt}, port.ErrStale)
	equal(t, "handed out", t.b.one(g).Message.ID, "next")
	t.b.none(g)
}

func addressedDelay(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	m := addressed(g, "mine")
	start := time.Now()
	m.At = start.Add(2*t.unit + t.slack)
	t.b.write(m)
	t.stands("with an addressed message that waits", g, 0, 0, 1)
	t.b.one(g)
	t.notBefore(start, 2*t.unit+t.slack, "an addressed message that was to wait came")
	t.onTime(start, 2*t.unit+t.slack, "an addressed message came")
}

func redrive(t *trial) {
	const dead = "orders.workers" + port.DeadSuffix
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	id := number(0)
	for range 2 {
		d := t.b.one(g)
		burial := port.Message{Topic: dead, ID: string("b" + d.Receipt[:min(len(d.Receipt), 200)]), Body: []byte(id)}
		t.b.settle(g, port.Settlement{Receipt: d.Receipt, Then: port.Batch{Messages: []port.Message{burial}}})
		letters := t.b.read(dead, port.Earliest)
		equal(t, "dead letters", len(letters), 1)
		again := port.Batch{
			Removes:  []port.Removal{{Topic: dead, Offset: letters[0].Offset}},
			Messages: []port.Message{addressed(g, id)},
		}
		t.must(t.process().step(again), "redrive")
		equal(t, "dead letters after a redrive", len(t.b.read(dead, port.Earliest)), 0)
		t.is(t.b.step(again), "a redrive of what is not there any more", port.ErrNotFound)
	}
	d := t.b.one(g)
	equal(t, "handed out again", d.Message.ID, id)
	t.b.ack(g, d)
	t.b.none(g)
}

func delayRules() []rule {
	return []rule{
		{
			"a delayed message comes at its time, to every group",
			"At: not to be seen before, by the server's clock; delayed messages will come to every group.", delayComes,
		},
		{
			"a delayed message enters the log when it is due",
			"Addressed messages are not in the log, delayed ones once they are due.", delayInLog,
		},
		{
			"a message whose time has passed comes at once",
			"At: not to be seen before, by the server's clock; default now.", delayPast,
		},
		{
			"a delayed message has its ID in the window from its write",
			"A message without Group whose ID was written to its topic within the topic's window is left out.", delayWindow,
		},
		{
			"delayed messages come in the order of their times",
			"Messages of one topic that were handed out before to nobody come in the order of the log.", delayOrder,
		},
	}
}

// later is a message that is due in d.
func later(topic, id string, d time.Duration) port.Message {
	m := msg(topic, id)
	m.At = time.Now().Add(d)
	return m
}

func delayComes(t *trial) {
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(g)
	t.b.join(other)
	start := time.Now()
	wait := 2*t.unit + t.slack
	t.b.write(later("orders", "later", wait), msg("orders", "now"))
	equal(t, "delayed", t.b.info("orders").Delayed, 1)
	equal(t, "handed out first", t.b.one(g).Message.ID, "now")
	d := t.process().one(g)
	t.notBefore(start, wait, "a delayed message came")
	t.onTime(start, wait, "a delayed message came")
	equal(t, "handed out then", d.Message.ID, "later")
	t.check(!d.FirstAt.Before(start.Add(wait-time.Minute)), "FirstAt is when it became available")
	same(t, "handed to the other group", ids(t.b.fetch(other, 2)), []string{"now", "later"})
	equal(t, "delayed when it was due", t.b.info("orders").Delayed, 0)
	t.b.none(g)
}

func delayInLog(t *trial) {
	start := time.Now()
	wait := 2*t.unit + t.slack
	t.b.write(later("orders", "later", wait), msg("orders", "first"))
	first := t.b.read("orders", port.Earliest)
	same(t, "entries before it is due", stored(first), []string{"first"})
	t.b.write(msg("orders", "second"))
	g := t.group("orders", "c1")
	g.From = port.Latest
	t.b.join(g)
	entry := t.eventuallyRead("orders", t.b.offset("orders", "second"))
	t.notBefore(start, wait, "a delayed message entered the log")
	equal(t, "entry", entry.Message.ID, "later")
	t.check(entry.Message.At.IsZero(), "the At of an entry is zero")
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"first", "second", "later"})
	equal(t, "handed to a group that came before it was due", t.b.one(g).Message.ID, "later")
}

// eventuallyRead waits for the next entry after an offset.
func (t *trial) eventuallyRead(topic string, after port.Offset) port.Stored {
	var got []port.Stored
	t.eventually("an entry of topic "+topic, func() (bool, string) {
		var err error
		got, err = t.b.Read(t.ctx, port.Range{Topic: topic, After: after, Max: 1, Wait: t.unit})
		t.must(err, "Read")
		return len(got) == 1, "nothing"
	})
	return got[0]
}

func delayPast(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	t.b.write(later("orders", "past", -time.Hour), msg("orders", "now"))
	same(t, "handed out", ids(t.b.fetch(g, 2)), []string{"past", "now"})
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"past", "now"})
}

func delayWindow(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	t.b.write(later("orders", "m1", t.unit))
	t.repeated(t.b.step(port.Batch{Messages: []port.Message{later("orders", "m1", t.unit)}}), "m1")
	t.repeated(t.b.step(port.Batch{Messages: []port.Message{msg("orders", "m1")}}), "m1")
	equal(t, "handed out when due", t.b.one(g).Message.ID, "m1")
	t.b.none(g)
}

func delayOrder(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	wait := t.unit + t.slack
	apart := max(t.caps.DelayResolution, 100*time.Millisecond)
	var list []port.Message
	for i := range slices.Backward(numbers(0, 4)) {
		list = append(list, later("orders", number(i), wait+time.Duration(i)*2*apart))
	}
	t.b.write(list...) // at once: written apart, a slow write would let a later time come first
	same(t, "handed out", ids(t.b.fetch(g, 4)), numbers(0, 4))
}
