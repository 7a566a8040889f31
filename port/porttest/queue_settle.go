package porttest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

func settleRules() []rule {
	return []rule{
		{
			"an acknowledged message never comes again",
			"Ack: done.", ackEnds,
		},
		{
			"a returned message waits and counts",
			"Return: failed: Attempt + 1, and again after After.", returnWaits,
		},
		{
			"a released message waits and counts nothing",
			"Release: handed back: counts nothing, and again after After.", releaseWaits,
		},
		{
			"what waits in one group waits in no other",
			"After, of Return and Release: how long nobody gets it; each group settles each message once.", waitsInOneGroup,
		},
		{
			"the first settlement wins over every other",
			"Each group settles each message once: the first settlement wins, every other is ErrStale and did nothing.", firstWins,
		},
		{
			"the first of many settlements at once wins",
			"Each group settles each message once: the first settlement wins, every other is ErrStale and did nothing.", firstOfManyWins,
		},
		{
			"a message is settled once within one call, too",
			"Settle settles each message by its verdict, whole or not at all, in order.", settleTwiceInOneCall,
		},
		{
			"a loan that passed on is settled once, and where Caps.Fenced not by the one who lost it",
			"Fenced: a receipt whose loan passed on cannot settle, not even first.", zombie,
		},
		{
			"a late settlement counts while nobody else was handed the message",
			"ErrStale: settled before, or, where Caps.Fenced, its loan passed on.", lateSettlement,
		},
		{
			"settlements of one call stand alone",
			"Settle settles each message by its verdict, whole or not at all, in order. It answers one error for each.", settleEach,
		},
		{
			"a receipt that stands for nothing settles nothing",
			"Receipt stands for one loan of one message: its entry, its group, its consumer and how often it was lent.", strangeReceipts,
		},
		{
			"a group that was dropped settles and extends nothing",
			"ErrLost: the group does not exist any more.", settleLost,
		},
		{
			"a reason may have 4096 bytes of any kind",
			"Reason: of Return; at most MaxReason bytes.", longReason,
		},
	}
}

func ackEnds(t *trial) {
	g := t.brisk("orders", "c1")
	t.b.queued(g, 2)
	t.b.ack(g, t.b.fetch(g, 2)...)
	t.pass(2 * t.unit) // longer than the loan was
	other := t.process()
	other.none(g)
	g.Consumer = "c2"
	other.join(g)
	other.none(g)
	t.stands("after all was acknowledged", g, 0, 0, 0)
}

func returnWaits(t *trial) { t.comesBack(port.Return, 1) }

func releaseWaits(t *trial) { t.comesBack(port.Release, 0) }

// comesBack fails unless a message that was settled by v comes again after its time, and at once when there is none.
func (t *trial) comesBack(v port.Verdict, counts int) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	start := time.Now()
	t.b.back(g, d, v, 2*t.unit)
	g.Consumer = "c2"
	again := t.process().one(g)
	t.notBefore(start, 2*t.unit, "a message that was to wait came")
	t.onTime(start, 2*t.unit, "a message that had waited came")
	equal(t, "attempts", again.Attempt, counts)
	equal(t, "loans that ran out", again.Lost, 0)
	equal(t, "crashes", again.Crashes, 0)
	equal(t, "ID", again.Message.ID, number(0))
	t.bytes("body", again.Message.Body, d.Message.Body)
	equal(t, "offset", again.Offset, d.Offset)
	t.check(again.Receipt != d.Receipt, "another loan has another receipt")
	start = time.Now()
	t.b.back(g, again, v, 0)
	equal(t, "attempts of one that came at once", t.b.one(g).Attempt, 2*counts)
	t.onTime(start, 0, "a message without After came")
}

func waitsInOneGroup(t *trial) {
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(other)
	t.b.queued(g, 2)
	ds := t.b.fetch(g, 2)
	t.b.back(g, ds[0], port.Return, t.long)
	t.b.back(g, ds[1], port.Release, t.long)
	same(t, "handed to the other group", ids(t.b.fetch(other, 2)), numbers(0, 2))
	t.b.none(g)
}

var verdicts = [...]port.Verdict{port.Ack, port.Return, port.Release}

func firstWins(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	for _, first := range verdicts {
		for _, second := range verdicts {
			what := fmt.Sprintf("%s after %s", second, first)
			t.b.write(msg("orders", what))
			d := t.b.one(g)
			t.b.settle(g, port.Settlement{Receipt: d.Receipt, Verdict: first})
			t.is(t.process().settled(g, port.Settlement{Receipt: d.Receipt, Verdict: second})[0], what, port.ErrStale)
			if first == port.Ack {
				t.b.none(g)
				continue
			}
			again := t.b.one(g)
			equal(t, "handed out again", again.Message.ID, what)
			wantAttempt := 0
			if first == port.Return {
				wantAttempt = 1
			}
			equal(t, "attempts after "+what, again.Attempt, wantAttempt)
			t.is(t.b.settled(g, port.Settlement{Receipt: d.Receipt, Verdict: second})[0], what+", on loan again", port.ErrStale)
			t.b.ack(g, again)
		}
	}
}

func firstOfManyWins(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	bs := []*process{t.b, t.process()}
	var won atomic.Int64
	t.crowd(16, func(i int) {
		s := port.Settlement{Receipt: d.Receipt, Then: port.Batch{
			Messages: []port.Message{msg("orders.out", number(i))},
			Changes:  []port.Change{{Key: fmt.Sprintf("orders/%d", i), Value: []byte("1")}},
		}}
		if i%4 == 3 {
			s = port.Settlement{Receipt: d.Receipt, Verdict: port.Return}
		}
		if err := bs[i%2].settled(g, s)[0]; err == nil {
			won.Add(1)
		} else {
			t.is(err, "Settle that came later", port.ErrStale)
		}
	})
	equal(t, "settlements that counted", won.Load(), 1)
	outs := int64(len(t.b.read("orders.out", port.Earliest)))
	back := t.b.standing("orders", g.Name).Lag
	equal(t, "steps and returns that happened", outs+back, 1)
	equal(t, "keys that were set", int64(len(t.b.keys("orders/*"))), outs)
}

func settleTwiceInOneCall(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	then := port.Batch{Messages: []port.Message{msg("orders.out", "second")}}
	errs := t.b.settled(g,
		port.Settlement{Receipt: d.Receipt, Verdict: port.Return},
		port.Settlement{Receipt: d.Receipt, Then: then},
		port.Settlement{Receipt: d.Receipt, Verdict: port.Release})
	t.must(errs[0], "the first")
	t.is(errs[1], "the second", port.ErrStale)
	t.is(errs[2], "the third", port.ErrStale)
	equal(t, "attempts", t.b.one(g).Attempt, 1)
	same(t, "written by the second", stored(t.b.read("orders.out", port.Earliest)), nil)
}

func zombie(t *trial) {
	for i, v := range verdicts {
		topic := fmt.Sprintf("orders.%d", i)
		g := t.brisk(topic, "slow")
		t.b.queued(g, 1)
		late := t.b.one(g)
		live := t.brisk(topic, "live") // nobody else fetches: its loan does not pass on
		other := t.process()
		now := other.one(live)
		stale := port.Settlement{Receipt: late.Receipt, Verdict: v}
		if v == port.Ack {
			stale.Then = port.Batch{Messages: []port.Message{msg("orders.out", "zombie")}}
		}
		err := t.b.settled(g, stale)[0]
		if t.caps.Fenced {
			t.is(err, fmt.Sprintf("%s by one whose loan passed on", v), port.ErrStale)
		}
		if err != nil {
			t.is(err, fmt.Sprintf("%s by one whose loan passed on", v), port.ErrStale)
			other.settle(live, port.Settlement{Receipt: now.Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", topic)}}})
			continue
		}
		other.refused(live, port.Settlement{Receipt: now.Receipt}, port.ErrStale)
	}
	if t.caps.Fenced {
		same(t, "written by settlements", stored(t.b.read("orders.out", port.Earliest)), []string{"orders.0", "orders.1", "orders.2"})
	}
}

func lateSettlement(t *trial) {
	g := t.brisk("orders", "c1")
	t.b.queued(g, 2)
	ds := t.b.fetch(g, 2)
	t.pass(2 * t.unit)
	t.b.ack(g, ds[0])
	t.b.back(g, ds[1], port.Return, 0)
	g.Consumer = "c2"
	d := t.b.one(g)
	equal(t, "handed out", d.Message.ID, number(1))
	equal(t, "attempts", d.Attempt, 1)
	t.b.ack(g, d)
	t.b.none(g)
}

func settleEach(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 5)
	ds := t.b.fetch(g, 5)
	t.b.ack(g, ds[1])
	t.b.put("orders/taken", "1")
	errs := t.b.settled(g,
		port.Settlement{Receipt: ds[0].Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", "0")}}},
		port.Settlement{Receipt: ds[1].Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", "1")}}},
		port.Settlement{Receipt: ds[2].Receipt, Then: port.Batch{
			Messages: []port.Message{msg("orders.out", "2")},
			Changes:  []port.Change{{Key: "orders/taken", If: port.Absent}},
		}},
		port.Settlement{Receipt: ds[3].Receipt, Verdict: port.Return},
		port.Settlement{Receipt: ds[4].Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", "4")}}})
	for _, i := range []int{0, 3, 4} {
		t.must(errs[i], fmt.Sprintf("settlement %d", i))
	}
	t.is(errs[1], "the one that was settled before", port.ErrStale)
	t.is(errs[2], "the one whose condition fails", port.ErrConflict)
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), []string{"0", "4"})
	equal(t, "handed out again", t.b.one(g).Message.ID, number(3))
	t.b.ack(g, ds[2])
	equal(t, "errors for no settlement", len(t.b.settled(g)), 0)
}

func strangeReceipts(t *trial) {
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(other)
	t.b.queued(g, 1)
	foreign := t.group("orders.more", "c1")
	t.b.queued(foreign, 1)
	mine := t.b.one(g)
	strange := []port.Receipt{
		"x", "0", "\x00", "\xff\xfe", "1-1", "a|b|c|d", "{}", port.Receipt(strings.Repeat("r", 10_000)),
		t.b.one(other).Receipt, t.b.one(foreign).Receipt, mine.Receipt + "0", mine.Receipt[:len(mine.Receipt)-1],
	}
	for _, r := range strange {
		t.b.refused(g, port.Settlement{Receipt: r}, port.ErrStale, port.ErrInvalid)
		t.b.refused(g, port.Settlement{Receipt: r, Verdict: port.Return}, port.ErrStale, port.ErrInvalid)
		t.is(t.b.extend(g, port.Delivery{Receipt: r}, true), "Extend", port.ErrStale, port.ErrInvalid)
	}
	for _, s := range []port.Group{g, other, foreign} {
		t.stands("after strange receipts", s, 0, 1, 0)
	}
	t.b.ack(g, mine)
}

func settleLost(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 2)
	ds := t.b.fetch(g, 2)
	t.b.ack(g, ds...)
	t.b.drop("orders", g.Name)
	then := port.Batch{Messages: []port.Message{msg("orders.out", "1")}}
	t.b.refused(g, port.Settlement{Receipt: ds[0].Receipt, Then: then}, port.ErrLost)
	t.is(t.b.extend(g, ds[1], false), "Extend", port.ErrLost)
	t.b.join(g)
	t.b.refused(g, port.Settlement{Receipt: ds[0].Receipt, Then: then}, port.ErrStale, port.ErrLost, port.ErrInvalid)
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), nil)
}

func longReason(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	reason := strings.Repeat("\xff\x00é", port.MaxReason/4)
	d := t.b.one(g)
	t.b.refused(g, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, Reason: reason + "12345"}, port.ErrInvalid)
	t.b.settle(g, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, Reason: reason})
	t.check(t.b.one(g).Reason == reason, "the reason came back as it was")
}
