package porttest

import (
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func loanRules() []rule {
	return []rule{
		{
			"a message on loan is handed to nobody else",
			"Nobody else of the group gets it until the loan ran out.", loanKept,
		},
		{
			"a loan that ran out passes on, and not before",
			"Nobody else of the group gets it until the loan ran out.", loanEnds,
		},
		{
			"Extend lends from now on",
			"Extend makes each loan last for g.Loan from now.", extendLends,
		},
		{
			"Extend of what was settled or passed on is stale and takes nothing back",
			"ErrStale when the message was settled or its loan passed on.", extendStale,
		},
		{
			"Extend answers one error for each hold, in order",
			"It answers one error for each hold, in order.", extendMany,
		},
		{
			"two loan times in one group are kept apart",
			"Members may differ (in Group.Loan).", twoLoans,
		},
		{
			"the time of a first delivery stays with the message",
			"FirstAt: when it first became available to the group: the time of its entry.", firstAtStays,
		},
	}
}

func loanKept(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 2)
	t.b.one(g)
	other := t.process()
	g.Consumer = "c2"
	equal(t, "handed to the second", other.one(g).Message.ID, number(1))
	other.none(g)
	t.b.none(t.group("orders", "c1"))
}

func loanEnds(t *trial) {
	g := t.brisk("orders", "c1")
	t.b.queued(g, 1)
	start := time.Now()
	t.b.one(g)
	g.Consumer = "c2"
	d := t.process().one(g)
	t.notBefore(start, t.unit, "a message on loan was handed to another")
	t.onTime(start, t.unit, "a message whose loan ran out was handed on")
	equal(t, "loans that ran out", d.Lost, 1)
	equal(t, "attempts", d.Attempt, 0)
	equal(t, "crashes", d.Crashes, 0)
}

func extendLends(t *trial) {
	g := t.group("orders", "c1")
	g.Loan = 2*t.unit + t.slack
	t.b.queued(g, 1)
	d := t.b.one(g)
	for range 2 {
		t.pass(t.unit)
		start := time.Now()
		t.must(t.b.extend(g, d, false), "Extend")
		defer t.notBefore(start, g.Loan, "a message whose loan was extended was handed to another")
	}
	g.Consumer = "c2"
	equal(t, "loans that ran out", t.process().one(g).Lost, 1)
}

func extendStale(t *trial) {
	g, slow := t.lending("orders", "c1", t.lent), t.lending("orders", "c2", t.lent)
	t.b.queued(g, 2)
	ds := t.b.fetch(g, 2)
	passed := t.process().fetch(slow, 2)
	t.is(t.b.extend(g, ds[0], false), "Extend of a loan that passed on", port.ErrStale)
	t.is(t.b.extend(g, ds[1], true), "Extend with Begin of a loan that passed on", port.ErrStale)
	for _, d := range passed {
		t.must(t.b.extend(slow, d, false), "Extend by the one who has the loan")
	}
	t.b.ack(slow, passed[0])
	t.is(t.b.extend(slow, passed[0], false), "Extend of what was acknowledged", port.ErrStale)
	t.b.back(slow, passed[1], port.Return, 0)
	t.is(t.b.extend(slow, passed[1], false), "Extend of what was returned", port.ErrStale)
	d := t.b.one(slow)
	t.b.back(slow, d, port.Release, 0)
	t.is(t.b.extend(slow, d, true), "Extend of what was released", port.ErrStale)
	equal(t, "crashes", t.b.one(slow).Crashes, 0)
}

func extendMany(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 3)
	ds := t.b.fetch(g, 3)
	t.b.ack(g, ds[1])
	holds := []port.Hold{{Receipt: ds[0].Receipt}, {Receipt: ds[1].Receipt}, {Receipt: ds[2].Receipt, Begin: true}}
	errs := t.b.Extend(t.ctx, g, holds...)
	equal(t, "errors", len(errs), 3)
	t.must(errs[0], "the first")
	t.is(errs[1], "the second, which is settled", port.ErrStale)
	t.must(errs[2], "the third")
	equal(t, "errors for no hold", len(t.b.Extend(t.ctx, g)), 0)
}

func twoLoans(t *trial) {
	short, long := t.brisk("orders", "short"), t.lending("orders", "long", 4*t.unit+t.slack)
	t.b.queued(short, 2)
	start := time.Now()
	lost := t.b.one(short)
	kept := t.b.one(long)
	same(t, "handed out", ids([]port.Delivery{lost, kept}), numbers(0, 2))
	short.Consumer = "third"
	d := t.process().one(short)
	equal(t, "handed on after the short loan", d.Message.ID, number(0))
	t.notBefore(start, t.unit, "the short loan ended")
	t.onTime(start, lost.Until.Sub(start), "the short loan ended")
	t.b.ack(short, d)
	d = t.b.one(short) // a member with a short loan does not end a long one
	equal(t, "handed on after the long loan", d.Message.ID, number(1))
	t.notBefore(start, long.Loan, "the long loan ended")
}

func firstAtStays(t *trial) {
	g := t.brisk("orders", "c1")
	t.b.queued(g, 1)
	at := t.b.read("orders", port.Earliest)[0].At
	for i := range 3 {
		d := t.b.one(g)
		t.check(d.FirstAt.Equal(at), fmt.Sprintf("FirstAt %v of delivery %d is the time of the entry %v", d.FirstAt, i, at))
		if i == 0 {
			t.b.back(g, d, port.Return, t.unit)
		}
	}
}

func accountRules() []rule {
	return []rule{
		{
			"a recorded start that nothing settled is a crash, and the neighbours of a poison message are not blamed",
			"Begin records that the handling starts: if this loan runs out unsettled, Crashes counts it.", poison,
		},
		{
			"a start that ends in a settlement is no crash",
			"Crashes: loans that ran out after a recorded start.", beginSettled,
		},
		{
			"attempts, losses, crashes and the reason are kept side by side",
			"Attempt, Lost, Crashes and Reason live with the message and the group on the server.", accounts,
		},
		{
			"each group keeps its own account of a message",
			"Attempt, Lost, Crashes and Reason live with the message and the group on the server.", accountsByGroup,
		},
	}
}

func poison(t *trial) {
	t.b.queued(t.brisk("orders", ""), 3)
	for round := range 3 {
		g := t.brisk("orders", fmt.Sprintf("c%d", round))
		for _, d := range t.process().fetch(g, 3) {
			equal(t, "loans of "+d.Message.ID+" that ran out", d.Lost, round)
			equal(t, "attempts of "+d.Message.ID, d.Attempt, 0)
			crashes := 0
			if d.Message.ID == number(1) {
				crashes = round
				t.must(t.b.extend(g, d, true), "Extend with Begin")
			}
			equal(t, "crashes of "+d.Message.ID, d.Crashes, crashes)
		}
	}
}

func beginSettled(t *trial) {
	g := t.lending("orders", "c1", t.lent)
	t.b.queued(g, 1)
	for _, v := range []port.Verdict{port.Return, port.Release} {
		d := t.b.one(g)
		t.must(t.b.extend(g, d, true), "Extend with Begin")
		t.b.back(g, d, v, 0)
	}
	equal(t, "crashes after settled starts", t.b.one(g).Crashes, 0)
	g.Consumer = "c2"
	d := t.b.one(g)
	equal(t, "loans that ran out", d.Lost, 1)
	equal(t, "crashes of a loan without a start of its own", d.Crashes, 0)
}

func accounts(t *trial) {
	g, short := t.lending("orders", "c1", t.lent), t.lending("orders", "c2", t.lent)
	t.b.queued(g, 1)
	expect := func(d port.Delivery, attempt, lost, crashes int, reason string) port.Delivery {
		equal(t, "attempts, lost and crashes", [3]int{d.Attempt, d.Lost, d.Crashes}, [3]int{attempt, lost, crashes})
		equal(t, "reason", d.Reason, reason)
		return d
	}
	fail := func(d port.Delivery, reason string) {
		t.b.settle(g, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, Reason: reason})
	}
	fail(expect(t.b.one(g), 0, 0, 0, ""), "first")
	expect(t.b.one(short), 1, 0, 0, "first")
	d := expect(t.b.one(short), 1, 1, 0, "first")
	t.must(t.b.extend(short, d, true), "Extend with Begin")
	t.b.back(g, expect(t.b.one(g), 1, 2, 1, "first"), port.Release, 0)
	fail(expect(t.b.one(g), 1, 2, 1, "first"), "second\x00\xff")
	fail(expect(t.b.one(g), 2, 2, 1, "second\x00\xff"), "")
	expect(t.b.one(g), 3, 2, 1, "")
}

func accountsByGroup(t *trial) {
	g, other := t.group("orders", "c1"), t.group("orders", "c1")
	other.Name = "others"
	t.b.join(other)
	t.b.queued(g, 1)
	t.b.settle(g, port.Settlement{Receipt: t.b.one(g).Receipt, Verdict: port.Return, Reason: "broken"})
	d := t.b.one(other)
	equal(t, "attempts in the other group", d.Attempt, 0)
	equal(t, "reason in the other group", d.Reason, "")
	equal(t, "attempts in the group", t.b.one(g).Attempt, 1)
}
