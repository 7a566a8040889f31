package porttest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

func joinRules() []rule {
	return []rule{
		{
			"C1 what was written before there was a group is there for one that starts at Earliest",
			"A new group starts at g.From; Earliest is before the first entry that is kept.", joinEarliest,
		},
		{
			"a group that starts at Latest is handed what is written from then on",
			"Latest: after the last entry there is now.", joinLatest,
		},
		{
			"a group that starts at an offset is handed what comes after it",
			"A group that exists stays where it is; a new one starts at g.From.", joinOffset,
		},
		{
			"C11 a group that exists stays where it is, whatever From says",
			"A group that exists stays where it is; a new one starts at g.From.", joinAgain,
		},
		{
			"nothing written after Join returned is missed",
			"Join returns when the group exists: nothing written from then on is missed by it.", joinMissesNothing,
		},
		{
			"C1 each group is handed every message",
			"A message in a topic is handed to each group by one path.", groupsGetAll,
		},
		{
			"C2 consumers of a group share its messages, each handed out once",
			"A consumer of the group fetches it and has it on loan; nobody else of the group gets it until the loan ran out.", consumersShare,
		},
	}
}

func joinEarliest(t *trial) {
	t.b.write(numbered("orders", 3)...)
	g := t.group("orders", "c1")
	t.process().join(g)
	same(t, "handed out", ids(t.b.fetch(g, 3)), numbers(0, 3))
}

func joinLatest(t *trial) {
	t.b.write(numbered("orders", 3)...)
	g := t.group("orders", "c1")
	g.From = port.Latest
	t.b.join(g)
	t.b.none(g)
	t.b.write(msg("orders", "new"))
	same(t, "handed out", ids(t.b.fetch(g, 1)), []string{"new"})
	t.b.none(g)
}

func joinOffset(t *trial) {
	t.b.write(numbered("orders", 4)...)
	for i, s := range t.b.read("orders", port.Earliest) {
		g := t.group("orders", "c1")
		g.Name, g.From = "after"+s.Message.ID, s.Offset
		t.b.join(g)
		same(t, "handed out after "+s.Message.ID, ids(t.b.fetch(g, 3-i)), numbers(i+1, 4))
		t.b.none(g)
	}
}

func joinAgain(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 4)
	t.b.ack(g, t.b.fetch(g, 2)...)
	for _, from := range []port.Offset{port.Latest, port.Earliest, t.b.offset("orders", number(3))} {
		g.From = from
		t.process().join(g)
	}
	same(t, "handed out after joining again", ids(t.b.fetch(g, 2)), numbers(2, 4))
	t.b.none(g)
}

func joinMissesNothing(t *trial) {
	const writers, each = 8, 30
	var started [writers]atomic.Int64 // how many writes of each writer began
	joined := make(chan struct{})
	wait := t.spawn(func() {
		t.crowd(writers, func(w int) {
			for i := range each {
				if i == each/2 {
					<-joined // at least the second half comes later
				}
				started[w].Add(1)
				t.b.write(msg("orders", fmt.Sprintf("w%d.%s", w, number(i))))
			}
		})
	})
	g := t.group("orders", "c1")
	g.From = port.Latest
	other := t.process()
	other.join(g)
	want := make(map[string]bool)
	for w := range writers {
		for i := int(started[w].Load()); i < each; i++ {
			want[fmt.Sprintf("w%d.%s", w, number(i))] = true
		}
	}
	close(joined)
	wait()
	for len(want) > 0 {
		d := other.one(g)
		delete(want, d.Message.ID)
		other.ack(g, d)
	}
}

func groupsGetAll(t *trial) {
	names := []string{"billing", "shipping", "audit"}
	for _, name := range names {
		g := t.group("orders", "")
		g.Name = name
		t.b.join(g)
	}
	t.process().write(numbered("orders", 5)...)
	for _, name := range names {
		g := t.group("orders", "c1")
		g.Name = name
		ds := t.b.fetch(g, 5)
		same(t, "handed to "+name, ids(ds), numbers(0, 5))
		t.b.ack(g, ds...)
		t.b.none(g)
	}
}

func consumersShare(t *trial) {
	const n = 200
	t.b.join(t.group("orders", ""))
	bs := []*process{t.b, t.process()}
	var mu sync.Mutex
	seen := make(map[string]int)
	ctx, done := context.WithCancel(t.ctx)
	defer done()
	wait := t.spawn(func() {
		t.crowd(8, func(i int) {
			g := t.group("orders", fmt.Sprintf("c%d", i))
			for {
				ds, err := bs[i%2].Fetch(ctx, g, 5)
				if err != nil && ctx.Err() != nil {
					return
				}
				t.must(err, "Fetch")
				bs[i%2].ack(g, ds...)
				mu.Lock()
				for _, d := range ds {
					seen[d.Message.ID]++
				}
				if len(seen) == n {
					done()
				}
				mu.Unlock()
			}
		})
	})
	for _, m := range numbered("orders", n) {
		bs[1].write(m)
	}
	wait()
	for id, times := range seen {
		equal(t, "times that "+id+" was handed out", times, 1)
	}
}
