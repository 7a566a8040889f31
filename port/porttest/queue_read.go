package porttest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

func readRules() []rule {
	return []rule{
		{
			"Read returns what comes after an offset, in order",
			"Read returns entries of the log after r.After, in order.", readAfter,
		},
		{
			"an entry is read as it was written",
			"Stored is an entry of a log; its At is zero.", readFields,
		},
		{
			"Read of what is not there yet returns nothing and no error",
			"No entry and no error means that there is none yet.", readNothing,
		},
		{
			"Read waits for the first entry, and no longer than asked",
			"It waits up to r.Wait for the first.", readWaits,
		},
		{
			"Read touches no group",
			"Without touching any group.", readTouchesNothing,
		},
		{
			"a removed entry is gone for readers and groups, and makes no gap",
			"Removal takes one entry out of a log, for readers and groups alike.", readRemoved,
		},
		{
			"a removed entry that is on loan may still be settled",
			"A loan of it that is out may still be settled; nobody gets it any more.", removedOnLoan,
		},
		{
			"an offset of no log is refused",
			"ErrGap when r.After is of another log.", readForeign,
		},
		{
			"no entry appears at or below an offset that a reader was given",
			"An entry never appears at or below an offset that any reader was given.", readSkipsNothing,
		},
	}
}

func readAfter(t *trial) {
	t.b.write(numbered("orders", 7)...)
	all := t.b.read("orders", port.Earliest)
	same(t, "entries", stored(all), numbers(0, 7))
	for i, s := range all {
		some, err := t.process().Read(t.ctx, port.Range{Topic: "orders", After: s.Offset, Max: 3})
		t.must(err, "Read")
		t.check(len(some) <= 3, "no more than Max")
		t.check(i == 6 || len(some) > 0, "what is there is read")
		same(t, "entries after "+s.Message.ID, stored(some), numbers(i+1, i+1+len(some)))
		t.check(i == 0 || all[i-1].Offset < s.Offset, "offsets sort as strings")
		t.check(i == 0 || !s.At.Before(all[i-1].At), "times do not go back")
	}
	some, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: port.Latest, Max: 3})
	t.must(err, "Read after Latest")
	same(t, "entries after Latest", stored(some), nil)
}

func readFields(t *trial) {
	m := port.Message{Topic: "orders", ID: "m1", Key: "k1", Body: []byte("body"), At: time.Now().Add(-time.Hour)}
	t.b.write(m)
	s := t.b.read("orders", port.Earliest)[0]
	equal(t, "topic", s.Message.Topic, m.Topic)
	equal(t, "ID", s.Message.ID, m.ID)
	equal(t, "key", s.Message.Key, m.Key)
	t.bytes("body", s.Message.Body, m.Body)
	t.check(s.Message.At.IsZero(), "At of the message is zero")
	t.check(!s.At.IsZero(), "At of the entry is told")
	t.check(s.Offset != port.Earliest && s.Offset != port.Latest, "there is an offset")
}

func readNothing(t *trial) {
	for _, after := range []port.Offset{port.Earliest, port.Latest} {
		some, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: after, Max: 1})
		t.must(err, "Read of no topic")
		equal(t, "entries of no topic", len(some), 0)
	}
	t.b.declare(port.Topic{Name: "orders"})
	some, err := t.b.Read(t.ctx, port.Range{Topic: "orders", Max: 1})
	t.must(err, "Read of an empty topic")
	equal(t, "entries of an empty topic", len(some), 0)
}

func readWaits(t *trial) {
	t.b.write(numbered("orders", 1)...)
	last := t.b.offset("orders", number(0))
	for _, after := range []port.Offset{last, port.Latest} {
		start := time.Now()
		some, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: after, Max: 1, Wait: t.unit})
		t.must(err, "Read")
		equal(t, "entries", len(some), 0)
		t.notBefore(start, t.unit, "Read that was to wait returned")
		t.onTime(start, t.unit, "Read returned")
	}
	for i, after := range []port.Offset{last, port.Latest} {
		id := fmt.Sprintf("new%d", i)
		start := time.Now()
		wait := t.spawn(func() {
			some, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: after, Max: 1, Wait: t.long})
			t.must(err, "Read")
			same(t, "entries", stored(some), []string{id})
			t.onTime(start, t.unit, "Read returned")
			last = some[0].Offset
		})
		t.pass(t.unit)
		t.process().write(msg("orders", id))
		wait()
	}
}

func readTouchesNothing(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 3)
	t.b.read("orders", port.Earliest)
	same(t, "handed out after Read", ids(t.b.fetch(g, 3)), numbers(0, 3))
	equal(t, "entries read while on loan", len(t.b.read("orders", port.Earliest)), 3)
	t.b.none(g)
}

func (p *process) remove(topic string, offsets ...port.Offset) error {
	var b port.Batch
	for _, o := range offsets {
		b.Removes = append(b.Removes, port.Removal{Topic: topic, Offset: o})
	}
	return p.step(b)
}

func readRemoved(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 5)
	var at []port.Offset
	for _, s := range t.b.read("orders", port.Earliest) {
		at = append(at, s.Offset)
	}
	t.must(t.process().remove("orders", at[0], at[2], at[4]), "Write")
	same(t, "entries left", stored(t.b.read("orders", port.Earliest)), []string{number(1), number(3)})
	same(t, "entries after a removed one", stored(t.b.read("orders", at[2])), []string{number(3)})
	same(t, "entries after the first, which is removed", stored(t.b.read("orders", at[0])), []string{number(1), number(3)})
	equal(t, "entries counted", t.b.info("orders").Count, 2)
	t.b.write(msg("orders", "new"))
	same(t, "entries after the last, which is removed", stored(t.b.read("orders", at[4])), []string{"new"})
	t.is(t.b.remove("orders", at[1], at[2]), "a removal of what is not there", port.ErrNotFound)
	same(t, "handed out", ids(t.b.fetch(g, 3)), []string{number(1), number(3), "new"})
	t.b.none(g)
	t.is(t.b.remove("none", at[1]), "a removal from no topic", port.ErrNotFound)
}

func removedOnLoan(t *trial) {
	g := t.lending("orders", "c1", t.lent)
	t.b.queued(g, 3)
	ds := t.b.fetch(g, 2)
	lost := t.b.one(g)
	for _, d := range append(slices.Clone(ds), lost) {
		t.must(t.b.remove("orders", d.Offset), "Write")
	}
	t.must(t.b.extend(g, ds[0], false), "Extend")
	t.b.settle(g, port.Settlement{Receipt: ds[0].Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", "m1")}}})
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), []string{"m1"})
	t.b.back(g, ds[1], port.Return, 0)
	t.pass(t.lent)
	g.Consumer = "c3"
	t.b.none(g) // neither what was returned nor what was lost
	t.stands("after its messages were removed", g, 0, 0, 0)
}

func readForeign(t *trial) {
	t.b.write(numbered("orders", 3)...)
	t.b.write(numbered("orders.out", 3)...)
	for _, after := range []port.Offset{"x", "\xff", "zzzzzzzzzzzzzzzzzzzzzzzz", "0", "-1", "99999999999999999999-0", "1-1-1-1"} {
		_, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: after, Max: 1})
		t.is(err, "Read after "+brief(after), port.ErrGap, port.ErrInvalid)
		g := t.group("orders", "")
		g.From = after
		t.is(t.b.Join(t.ctx, g), "Join at "+brief(after), port.ErrGap, port.ErrInvalid)
	}
	equal(t, "groups", len(t.b.info("orders").Groups), 0)
}

func readSkipsNothing(t *trial) {
	const writers, each = 64, 6
	t.b.declare(port.Topic{Name: "orders"})
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	var mu sync.Mutex
	var seen [][]string
	var waits []func()
	for range 3 {
		b := t.process()
		waits = append(waits, t.spawn(func() {
			var mine []string
			var after port.Offset
			for len(mine) < writers*each {
				some, err := b.Read(ctx, port.Range{Topic: "orders", After: after, Max: 50, Wait: t.long})
				if err != nil {
					t.fatalf("Read after %d of %d entries: %v", len(mine), writers*each, err)
				}
				for _, s := range some {
					t.check(s.Offset > after, "an entry comes after the offset that was given")
					after, mine = s.Offset, append(mine, s.Message.ID)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, mine)
		}))
	}
	bs := []*process{t.b, t.process()}
	t.crowd(writers, func(w int) {
		for i := range each {
			bs[w%2].write(msg("orders", fmt.Sprintf("w%02d.%d", w, i)))
		}
	})
	expired := time.AfterFunc(t.patience, cancel)
	defer expired.Stop()
	for _, wait := range waits {
		wait()
	}
	all := stored(t.b.read("orders", port.Earliest))
	equal(t, "entries", len(all), writers*each)
	for _, mine := range seen {
		same(t, "what a reader saw", mine, all)
	}
}
