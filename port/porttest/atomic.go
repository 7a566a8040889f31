package porttest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

func atomicRules() []rule {
	return []rule{
		{
			"what one part of a step shows, every part shows",
			"A step (within one family) is seen whole or not at all.", stepSeenWhole,
		},
		{
			"steps that fail one another leave no part behind",
			"Write makes one step: all of b or nothing.", stepsCompete,
		},
	}
}

// parts are a step of family orders that writes one number everywhere.
func parts(i int) port.Batch {
	value := []byte(number(i))
	return port.Batch{
		Messages: []port.Message{msg("orders.first", number(i)), msg("orders.last", number(i))},
		Changes:  []port.Change{{Key: "orders/first", Value: value}, {Key: "orders/last", Value: value}},
	}
}

// stepSeenWhole lets readers look at one part of a growing number and then at another: what was seen in the first must be there
// in the second.
func stepSeenWhole(t *trial) {
	const steps = 200
	if t.caps.Atomic == port.AtomicNone {
		t.must(t.b.step(parts(0)), "Write") // and whole when it returns
		t.b.holds("orders/last", number(0))
		same(t, "entries", stored(t.b.read("orders.last", port.Earliest)), []string{number(0)})
		return
	}
	g := t.group("orders.in", "c1")
	t.b.queued(g, steps)
	looks := map[string]func(*process) string{
		"topic first": func(p *process) string { return p.newest("orders.first") },
		"topic last":  func(p *process) string { return p.newest("orders.last") },
	}
	if t.caps.LinearReads {
		looks["key first"] = func(p *process) string { return string(p.get("orders/first").Bytes) }
		looks["key last"] = func(p *process) string { return string(p.get("orders/last").Bytes) }
	}
	var written atomic.Bool
	wait := t.spawn(func() {
		defer written.Store(true)
		for i := range steps {
			t.pass(time.Microsecond) // in a bubble, too, everybody has a turn
			if i%2 == 0 {
				t.must(t.b.step(parts(i)), "Write")
				continue
			}
			t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Then: parts(i)})
		}
	})
	var waits []func()
	for one := range looks {
		for two := range looks {
			waits = append(waits, t.spawn(func() {
				p := t.process()
				for !written.Load() {
					t.pass(time.Microsecond)
					before := looks[one](p)
					after := looks[two](p)
					t.check(before <= after, fmt.Sprintf("%s showed %q, and then %s %q", one, before, two, after))
				}
			}))
		}
	}
	wait()
	for _, w := range waits {
		w()
	}
}

// newest is the ID of the last entry of a topic.
func (p *process) newest(topic string) string {
	info := p.infos(topic)
	if len(info) == 0 || info[0].Count == 0 {
		return ""
	}
	all := p.read(topic, port.Earliest)
	return all[len(all)-1].Message.ID
}

// stepsCompete lets many steps take the same two keys in either order; each must take both or none.
func stepsCompete(t *trial) {
	bs := []*process{t.b, t.process()}
	const many = 32
	var won atomic.Int64
	t.crowd(many, func(i int) {
		a := port.Change{Key: "orders/a", Value: []byte(number(i)), If: port.Absent}
		b := port.Change{Key: "orders/b", Value: []byte(number(i)), If: port.Absent}
		if i%2 > 0 {
			a, b = b, a
		}
		err := bs[i%2].step(port.Batch{Changes: []port.Change{a, b}, Messages: []port.Message{msg("orders.out", number(i))}})
		if err == nil {
			won.Add(1)
			return
		}
		t.is(err, "Write", port.ErrConflict)
	})
	equal(t, "steps that were made", won.Load(), 1)
	out := t.b.read("orders.out", port.Earliest)
	equal(t, "messages written", len(out), 1)
	t.b.holds("orders/a", out[0].Message.ID)
	t.b.holds("orders/b", out[0].Message.ID)
}
