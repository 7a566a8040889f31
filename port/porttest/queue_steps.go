package porttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

func stepRules() []rule {
	return []rule{
		{
			"a step does all that it says",
			"Write makes one step: all of b or nothing.", stepDone,
		},
		{
			"a step that is refused did nothing",
			"A condition that does not hold refuses it with ErrConflict, a removal of what is not there, or a message addressed to a group that is not there, with ErrNotFound, an old fence with a FenceError.", stepRefused,
		},
		{
			"a step that is repeated with its ID is applied once",
			"With an ID that was applied within BatchWindow it applies nothing and returns nil.", stepRepeated,
		},
		{
			"a step that has the ID of its only message is applied once, also when the topic comes to have another window",
			"With an ID that was applied within BatchWindow it applies nothing and returns nil.", stepNamesake,
		},
		{
			"a batch ID is known for its window, and not for ever",
			"What is known for a time (Window, Group.Remember, BatchWindow) is known for at least that long, and for at most twice as long and a second.", stepWindow,
		},
		{
			"a step that was refused leaves its ID unknown",
			"A refused batch leaves its ID unknown.", stepRefusedID,
		},
		{
			"steps with one ID at once are applied once",
			"With an ID that was applied within BatchWindow it applies nothing and returns nil.", stepRace,
		},
		{
			"a step may have as many parts as MaxParts, of every kind",
			"MaxParts: messages, changes and removals in one batch, together.", stepLarge,
		},
		{
			"a step across families works, or is refused as Caps say",
			"AtomicFamily: a step across families is ErrUnsupported.", stepFamilies,
		},
		{
			"a step with nothing to do does nothing",
			"Batch is one step: all of it or none.", stepEmpty,
		},
		{
			"the changes of a step keep what they say of time",
			"KeepTTL in Change.TTL leaves the key's time to live as it was.", stepTTL,
		},
		{
			"what a step was made of may be used for another one",
			"What b points to is copied, not kept: its lists, bodies and values are the caller's again once Write answered nil.", stepCopied,
		},
	}
}

func stepDone(t *trial) {
	g := t.group("orders.out", "c1")
	t.b.join(g)
	good := t.good("m1")
	t.must(t.process().step(good), "Write")
	equal(t, "handed out", t.b.one(g).Message.ID, "m1")
	t.done("m1")
}

func stepRefused(t *trial) {
	for i, r := range t.refusals() {
		id := number(i)
		good := t.good(id)
		bad := good
		bad.Messages, bad.Changes = clip(good.Messages), clip(good.Changes)
		r.spoil(&bad)
		err := t.b.step(bad)
		t.is(err, "a step that "+r.what, r.want)
		if fence, ok := errors.AsType[*port.FenceError](err); ok != errors.Is(r.want, port.ErrStale) {
			t.fatalf("a step that %s: FenceError is %v in %v", r.what, fence, err)
		}
		t.undone(r.what)
		t.must(t.b.step(good), "Write of the step without what "+r.what)
		t.done(id)
	}
}

func stepRepeated(t *trial) {
	good := t.good("m1")
	good.ID = "b1"
	mine := t.group("orders.in", "c1")
	t.b.join(mine)
	good.Messages = append(good.Messages, addressed(mine, "to one group")) // no window guards it
	good.Changes = append(good.Changes, port.Change{Key: "orders/once", Value: []byte("1"), If: port.Absent})
	for i := range 3 {
		t.must(t.b.step(good), fmt.Sprintf("Write %d", i))
	}
	t.must(t.process().step(good), "Write by another process")
	equal(t, "handed out", t.b.one(mine).Message.ID, "to one group")
	t.b.none(mine)
	t.done("m1")
	t.must(t.b.step(good), "Write when all has changed")
	t.b.lacks("orders/new")
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), nil)
}

// stepNamesake goes by what a topic remembers, which may be all that is known of such a step. A process may have learned how long that is
// before or after the topic has another window. Some steps are repeated after it alone: a repetition may make known what was not.
func stepNamesake(t *trial) {
	windows := []time.Duration{port.DefaultWindow, -1, time.Second, time.Hour}
	for i, from := range windows {
		for k, to := range windows {
			topic := fmt.Sprintf("orders.%d.%d", i, k)
			t.b.declare(port.Topic{Name: topic, Window: from})
			var ids []string
			var steps []port.Batch
			write := func(by *process) {
				id := fmt.Sprintf("%d.%d.%d", i, k, len(ids))
				ids = append(ids, id)
				steps = append(steps, port.Batch{ID: id, Messages: []port.Message{msg(topic, id)}})
				t.must(by.step(steps[len(steps)-1]), "Write")
			}
			for range 4 {
				write(t.b)
			}
			again := func(when string, steps ...port.Batch) {
				for _, s := range steps {
					t.must(t.b.step(s), "Write again "+when)
					t.must(t.process().step(s), "Write by another process "+when)
				}
			}
			again("at once", steps[0], steps[2])
			t.b.declare(port.Topic{Name: topic, Window: to})
			again("after another window", steps[0], steps[1])
			write(t.b)
			other := t.process()
			write(other)
			write(other)
			for _, s := range steps {
				t.must(other.step(s), "Write by a process that knows the other window")
				t.must(t.b.step(s), "Write again when the other window is known")
			}
			same(t, "entries", stored(t.b.read(topic, port.Earliest)), ids)
		}
	}
}

func stepWindow(t *trial) {
	b := port.Batch{ID: string([]byte{0, 0xff, '*'}), Changes: []port.Change{{Key: "orders/1", Value: []byte("1")}}}
	t.must(t.b.step(b), "Write")
	if t.house.bubble {
		t.pass(port.BatchWindow - time.Millisecond)
	}
	t.b.put("orders/1", "2")
	t.must(t.b.step(b), "Write again")
	t.b.holds("orders/1", "2")
	if t.house.bubble {
		t.pass(port.BatchWindow + time.Second + time.Millisecond)
		t.must(t.b.step(b), "Write after the window")
		t.b.holds("orders/1", "1")
	}
}

func stepRefusedID(t *trial) {
	t.b.put("orders/taken", "1")
	b := port.Batch{ID: "b1", Messages: []port.Message{msg("orders", "m1")}, Changes: []port.Change{{Key: "orders/taken", Value: []byte("2"), If: port.Absent}}}
	t.is(t.b.step(b), "Write", port.ErrConflict)
	t.is(t.b.step(b), "Write again", port.ErrConflict)
	t.b.set(port.Change{Key: "orders/taken", Delete: true})
	t.must(t.b.step(b), "Write when the condition holds")
	t.b.holds("orders/taken", "2")
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"m1"})
}

func stepRace(t *trial) {
	t.b.declare(port.Topic{Name: "orders", Window: -1})
	bs := []*process{t.b, t.process()}
	t.crowd(16, func(i int) {
		t.must(bs[i%2].step(port.Batch{ID: "b1", Messages: []port.Message{msg("orders", "m1")}}), "Write")
	})
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"m1"})
}

func stepLarge(t *trial) {
	t.b.write(numbered("orders", port.MaxParts)...)
	all := t.b.read("orders", port.Earliest)
	same(t, "entries", stored(all), numbers(0, port.MaxParts))
	var b port.Batch
	for i := range port.MaxParts {
		switch i % 3 {
		case 0:
			b.Messages = append(b.Messages, msg("orders.out", number(i)))
		case 1:
			b.Changes = append(b.Changes, port.Change{Key: "orders/" + number(i), Value: []byte{byte(i)}})
		default:
			b.Removes = append(b.Removes, port.Removal{Topic: "orders", Offset: all[i].Offset})
		}
	}
	over := b
	over.Changes = append(clip(b.Changes), port.Change{Key: "orders/over"})
	t.is(t.b.step(over), "a step of one part more", port.ErrInvalid)
	equal(t, "entries after a refused step", len(t.b.read("orders", port.Earliest)), port.MaxParts)
	t.must(t.b.step(b), "a step of as many parts as there may be")
	equal(t, "entries left", len(t.b.read("orders", port.Earliest)), port.MaxParts-len(b.Removes))
	equal(t, "entries written", len(t.b.read("orders.out", port.Earliest)), len(b.Messages))
	equal(t, "keys", len(t.b.keys("orders/*")), len(b.Changes))
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	var then port.Batch
	for i := range port.MaxParts {
		then.Messages = append(then.Messages, msg("orders.more", number(i)))
	}
	t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Then: then})
	equal(t, "entries written with an acknowledgement", len(t.b.read("orders.more", port.Earliest)), port.MaxParts)
}

func stepFamilies(t *trial) {
	g := t.group("orders.in", "c1")
	t.b.queued(g, 1)
	t.b.write(msg("orders.spare", "m1"))
	d := t.b.one(g)
	spare := port.Removal{Topic: "orders.spare", Offset: t.b.offset("orders.spare", "m1")}
	steps := []port.Batch{
		{Messages: []port.Message{msg("orders.out", "1"), msg("bills.out", "1")}},
		{Messages: []port.Message{msg("orders.out", "2")}, Changes: []port.Change{{Key: "bills/1", Value: []byte("1")}}},
		{Changes: []port.Change{{Key: "orders/1", Value: []byte("1")}, {Key: "plain", Value: []byte("1")}}},
		{Removes: []port.Removal{spare}, Messages: []port.Message{msg("bills.out", "2")}},
	}
	then := port.Batch{Messages: []port.Message{msg("bills.out", "3")}}
	if t.caps.Atomic != port.AtomicFamily {
		for i, b := range steps {
			t.must(t.b.step(b), fmt.Sprintf("step %d across families", i))
		}
		t.b.settle(g, port.Settlement{Receipt: d.Receipt, Then: then})
		same(t, "written", stored(t.b.read("bills.out", port.Earliest)), []string{"1", "2", "3"})
		t.b.holds("plain", "1")
		return
	}
	for i, b := range steps {
		t.is(t.b.step(b), fmt.Sprintf("step %d across families", i), port.ErrUnsupported)
	}
	t.b.refused(g, port.Settlement{Receipt: d.Receipt, Then: then}, port.ErrUnsupported)
	same(t, "keys", t.b.keys("*"), nil)
	equal(t, "topics", len(t.b.infos("*.out")), 0)
	equal(t, "spare entries", len(t.b.read("orders.spare", port.Earliest)), 1)
	t.b.ack(g, d)
}

func stepEmpty(t *trial) {
	t.must(t.b.step(port.Batch{}), "Write of nothing")
	equal(t, "topics", len(t.b.infos("*")), 0)
	for range 2 {
		t.must(t.b.step(port.Batch{ID: "b1"}), "Write of an ID alone")
	}
}

// stepCopied writes over a step when it was made, and looks then at what came of it.
func stepCopied(t *trial) {
	in, out := t.group("orders.in", "c1"), t.group("orders.out", "c1")
	t.b.queued(in, 1)
	t.b.join(out)
	scribble := func(b *port.Batch) {
		for i := range b.Messages {
			copy(b.Messages[i].Body, "scribbled over")
			b.Messages[i] = port.Message{Topic: "orders.wrong", ID: "wrong", Key: "wrong", Body: b.Messages[i].Body}
		}
		copy(b.Changes[0].Value, "scribbled over")
		b.Changes[0] = port.Change{Key: "orders/wrong", Value: b.Changes[0].Value}
	}
	made := func(id string) port.Batch {
		body := func() []byte { return []byte("body of " + id) }
		later := port.Message{Topic: "orders.out", ID: id + "-later", Key: id, Body: body(), At: time.Now().Add(t.unit)}
		alone := addressed(out, id+"-alone")
		alone.Body = body()
		return port.Batch{
			Messages: []port.Message{{Topic: "orders.out", ID: id, Key: id, Body: body()}, later, alone},
			Changes:  []port.Change{{Key: "orders/" + id, Value: body()}},
		}
	}
	written, settled := made("m1"), made("m2")
	t.must(t.b.step(written), "Write")
	scribble(&written)
	t.b.settle(in, port.Settlement{Receipt: t.b.one(in).Receipt, Then: settled})
	scribble(&settled)
	t.pass(2 * t.unit)
	ds := t.b.fetch(out, 6)
	for _, d := range ds {
		id, kind, _ := strings.Cut(d.Message.ID, "-")
		t.bytes("body of "+d.Message.ID, d.Message.Body, []byte("body of "+id))
		if kind != "alone" {
			equal(t, "key of "+d.Message.ID, d.Message.Key, id)
		}
	}
	for _, s := range t.b.read("orders.out", port.Earliest) {
		id, _, _ := strings.Cut(s.Message.ID, "-")
		t.bytes("body of entry "+s.Message.ID, s.Message.Body, []byte("body of "+id))
	}
	same(t, "handed out", slices.Sorted(slices.Values(ids(ds))), []string{"m1", "m1-alone", "m1-later", "m2", "m2-alone", "m2-later"})
	t.b.holds("orders/m1", "body of m1")
	t.b.holds("orders/m2", "body of m2")
}

func stepTTL(t *trial) {
	t.b.set(port.Change{Key: "orders/1", Value: []byte("1"), TTL: t.long})
	t.b.set(port.Change{Key: "orders/2", Value: []byte("1"), TTL: t.long})
	t.must(t.b.step(port.Batch{Changes: []port.Change{
		{Key: "orders/1", Value: []byte("2"), TTL: port.KeepTTL},
		{Key: "orders/2", Value: []byte("2")},
		{Key: "orders/3", Value: []byte("2"), TTL: 2 * t.long},
		{Key: "orders/4", Value: []byte("2"), TTL: port.KeepTTL},
	}}), "Write")
	for key, most := range map[string]time.Duration{"orders/1": t.long, "orders/2": 0, "orders/3": 2 * t.long, "orders/4": 0} {
		t.b.holds(key, "2")
		left := t.b.timed(key).TTL
		t.check(left <= most && left >= most-most/4, fmt.Sprintf("key %s has %v left of %v", key, left, most))
	}
}
