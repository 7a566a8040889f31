package porttest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

func crowdRules() []rule {
	return []rule{
		{
			"64 who count by Equals lose nothing and agree on an order",
			"Equals: only where the value equals Old, byte by byte; everything is safe for use by many goroutines at once.", casCounter,
		},
		{
			"C16 64 who want a lease have one holder at a time, and tokens grow in the order of terms",
			"Leases are names that one holder at a time has for a while. A new grant's token is larger than that of every grant before it.", leaseCrowd,
		},
		{
			"64 who work on a topic do each message once",
			"Each group settles each message once: the first settlement wins.", workCrowd,
		},
	}
}

const many = 64

// turn is one thing that was done, between two moments.
type turn struct {
	from, to time.Time
	value    int64
}

// ordered fails unless the values are distinct and a turn that ended before another began has the smaller one.
func (t *trial) ordered(turns []turn) {
	slices.SortFunc(turns, func(a, b turn) int { return int(a.value - b.value) })
	var latest time.Time // the latest beginning among smaller values
	for i, u := range turns {
		if i > 0 && turns[i-1].value == u.value {
			t.fatalf("two turns have the value %d", u.value)
		}
		if u.to.Before(latest) {
			t.fatalf("the turn with value %d ended before one with a smaller value began", u.value)
		}
		if u.from.After(latest) {
			latest = u.from
		}
	}
}

func casCounter(t *trial) {
	const each = 3
	bs := []*process{t.b, t.process()}
	var mu sync.Mutex
	var turns []turn
	t.b.set(port.Change{Key: "n", Value: []byte("0"), TTL: t.long})
	t.crowd(many, func(i int) {
		b, old := bs[i%2], "0"
		for range each {
			for {
				n, err := strconv.ParseInt(old, 10, 64)
				t.must(err, "the value of the counter")
				from := time.Now()
				a := b.apply(port.Change{Key: "n", Value: []byte(fmt.Sprint(n + 1)), If: port.Equals, Old: []byte(old), TTL: port.KeepTTL})
				if a.Done {
					mu.Lock()
					turns = append(turns, turn{from, time.Now(), n + 1})
					mu.Unlock()
					old = fmt.Sprint(n + 1)
					break
				}
				old = string(a.Was.Bytes)
			}
		}
	})
	t.b.holds("n", fmt.Sprint(many*each))
	t.left("n", t.long)
	equal(t, "turns", len(turns), many*each)
	t.ordered(turns)
}

func leaseCrowd(t *trial) {
	bs := []*process{t.b, t.process()}
	var holders atomic.Int64
	var mu sync.Mutex
	var turns []turn
	t.crowd(many, func(i int) {
		b, want := bs[i%2], lease("leader", fmt.Sprintf("n%d", i))
		for {
			from := time.Now()
			l, err := b.Acquire(t.ctx, want, t.long)
			if errors.Is(err, port.ErrHeld) {
				t.pass(time.Millisecond)
				continue
			}
			t.must(err, "Acquire")
			t.check(holders.Add(1) == 1, "one holds at a time")
			t.pass(time.Millisecond)
			again := b.grant(want, t.long)
			equal(t, "token within a term", again.Token, l.Token)
			holders.Add(-1)
			mu.Lock()
			turns = append(turns, turn{from, time.Now(), int64(l.Token)})
			mu.Unlock()
			t.must(b.release(l), "Release")
			return
		}
	})
	equal(t, "terms", len(turns), many)
	t.ordered(turns)
}

func workCrowd(t *trial) {
	const messages = 256
	g := t.group("orders.in", "")
	t.b.join(g)
	var b port.Batch
	b.Messages = numbered("orders.in", messages)
	t.must(t.b.step(b), "Write")
	bs := []*process{t.b, t.process()}
	var left atomic.Int64
	left.Store(messages)
	t.crowd(many, func(i int) {
		b, g := bs[i%2], t.group("orders.in", fmt.Sprintf("c%d", i))
		for left.Add(-1) >= 0 {
			d := b.one(g)
			b.settle(g, port.Settlement{Receipt: d.Receipt, Then: port.Batch{
				Messages: []port.Message{msg("orders.out", d.Message.ID)},
				Changes:  []port.Change{{Key: "orders/" + d.Message.ID, Value: []byte(g.Consumer), If: port.Absent}},
			}})
		}
	})
	out := stored(t.b.read("orders.out", port.Earliest))
	slices.Sort(out)
	same(t, "messages done", out, numbers(0, messages))
	t.stands("when all is done", t.group("orders.in", ""), 0, 0, 0)
}
