package porttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func capsRules() []rule {
	return []rule{
		{
			"Caps are plain values, the same for every process",
			"Caps is what a backend promises: plain values, constant for life.", capsConstant,
		},
		{
			"Health asks the backend and writes nothing",
			"Health asks the backend and writes nothing.", healthReads,
		},
		{
			"Stats count what went through this process",
			"Stats counts what went through this open backend since it was opened.", statsCount,
		},
	}
}

func capsConstant(t *trial) {
	c := t.b.Caps()
	t.check(c.Name != "", "the adapter has a name")
	t.check(c.Atomic >= port.AtomicNone && c.Atomic <= port.AtomicAll, "Atomic is one of three")
	t.check(c.Durable >= port.DurableNone && c.Durable <= port.DurableQuorum, "Durable is one of four")
	t.check(min(c.MinTTL, c.MinLoan, c.DelayResolution, c.FailoverGap) >= 0 && c.MaxBody >= 0, "no bound is negative")
	t.b.queued(t.group("orders", "c1"), 3)
	equal(t, "Caps after some use", t.b.Caps(), c)
	equal(t, "Caps of another process", t.process().Caps(), c)
}

func healthReads(t *trial) {
	t.b.put("a", "1")
	t.b.write(msg("orders", "m1"))
	for range 3 {
		h := t.process().Health(t.ctx)
		equal(t, "state", h.State.String(), port.Healthy.String())
		t.check(h.RoundTrip >= 0, "the round trip is told")
	}
	same(t, "keys", t.b.keys("*"), []string{"a"})
	equal(t, "topics", len(t.b.infos("*")), 1)
	held, err := t.b.Holders(t.ctx, "")
	t.must(err, "Holders")
	equal(t, "leases", len(held), 0)
}

func (p *process) counters() map[string]int64 {
	s, err := p.Stats(p.t.ctx)
	p.t.must(err, "Stats")
	for _, name := range []string{"written", "duplicates", "fetched", "acked", "returned", "released", "redelivered", "stale", "conflicts", "signals", "gaps"} {
		if _, ok := s.Counters[name]; !ok {
			p.t.fatalf("Stats has no counter %q: %v", name, s.Counters)
		}
	}
	return s.Counters
}

func statsCount(t *trial) {
	other := t.process()
	for name, n := range other.counters() {
		equal(t, "counter "+name+" of a process that was just opened", n, 0)
	}
	g := t.group("orders.in", "c1")
	t.b.queued(g, 4)
	t.repeated(t.b.step(port.Batch{Messages: []port.Message{msg("orders.in", number(0)), addressed(g, "mine"), later("orders.in", "later", t.long)}}), number(0))
	ds := t.b.fetch(g, 5)
	t.b.settle(g, port.Settlement{Receipt: ds[0].Receipt, Then: port.Batch{Messages: []port.Message{msg("orders.out", "m1")}}})
	t.b.ack(g, ds[1])
	t.b.back(g, ds[2], port.Return, t.long)
	t.b.back(g, ds[3], port.Release, t.long)
	t.b.refused(g, acks(ds[0])[0], port.ErrStale)
	t.is(t.b.extend(g, ds[1], false), "Extend", port.ErrStale)
	t.b.put("orders/1", "1")
	t.b.apply(port.Change{Key: "orders/1", If: port.Absent})
	t.is(t.b.step(port.Batch{Changes: []port.Change{{Key: "orders/1", If: port.Absent}}}), "Write", port.ErrConflict)
	want := map[string]int64{"written": 7, "duplicates": 1, "fetched": 5, "acked": 2, "returned": 1, "released": 1, "redelivered": 0, "stale": 2, "conflicts": 2}
	if t.caps.LiveSignals {
		t.b.signal("news", "1")
		want["signals"] = 1
	}
	got := t.b.counters()
	for name, n := range want {
		equal(t, "counter "+name, got[name], n)
	}
	for name, n := range other.counters() {
		equal(t, "counter "+name+" of the other process", n, 0)
	}
	short := t.brisk("orders.more", "c1")
	t.b.queued(short, 1)
	t.b.one(short)
	t.b.one(short)
	equal(t, "counter redelivered", t.b.counters()["redelivered"], 1)
}

func closeRules() []rule {
	return []rule{
		{
			"every call on a closed backend answers ErrClosed, and a second Close nothing",
			"A call on a closed backend answers ErrClosed. A second Close does nothing and returns nil.", closedAnswers,
		},
		{
			"Close ends every call that waits",
			"Close ends every waiting call with ErrClosed.", closeEndsWaiting,
		},
		{
			"C13 Close of one process leaves the others alone",
			"Loans and leases stay and run out; a client that the caller brought stays open.", closeLeavesOthers,
		},
		{
			"loans and leases of a closed process stay and run out",
			"Loans and leases stay and run out.", closeKeepsLoans,
		},
	}
}

// calls are one good call of every method that answers an error.
func (t *trial) calls(b port.Backend) map[string]func(context.Context) error {
	g := t.group("orders", "c1")
	l := port.Lease{Name: "leader", Owner: "host", Nonce: "n1", Token: 1}
	all := map[string]func(context.Context) error{
		"Declare": func(ctx context.Context) error {
			return b.Declare(ctx, port.Topic{Name: "orders", MaxCount: 12345})
		},
		"Join": func(ctx context.Context) error { return b.Join(ctx, g) },
		"Write": func(ctx context.Context) error {
			return b.Write(ctx, port.Batch{Messages: []port.Message{msg("orders", "m")}})
		},
		"Fetch":  func(ctx context.Context) error { _, err := b.Fetch(ctx, g, 1); return err },
		"Extend": func(ctx context.Context) error { return b.Extend(ctx, g, port.Hold{Receipt: "r"})[0] },
		"Settle": func(ctx context.Context) error { return b.Settle(ctx, g, port.Settlement{Receipt: "r"})[0] },
		"Read": func(ctx context.Context) error {
			_, err := b.Read(ctx, port.Range{Topic: "orders", Max: 1})
			return err
		},
		"Inspect": func(ctx context.Context) error {
			for _, err := range b.Inspect(ctx, "*") {
				return err
			}
			return nil
		},
		"Drop":   func(ctx context.Context) error { return b.Drop(ctx, "orders", "") },
		"GetTTL": func(ctx context.Context) error { _, err := b.GetTTL(ctx, "k"); return err },
		"Get":    func(ctx context.Context) error { _, err := b.Get(ctx, "k"); return err },
		"Apply":  func(ctx context.Context) error { _, err := b.Apply(ctx, port.Change{Key: "k"}); return err },
		"Add":    func(ctx context.Context) error { _, err := b.Add(ctx, "k", 1, 0); return err },
		"Keys": func(ctx context.Context) error {
			for _, err := range b.Keys(ctx, "*") {
				return err
			}
			return nil
		},
		"Acquire":     func(ctx context.Context) error { _, err := b.Acquire(ctx, lease("leader", "n1"), t.long); return err },
		"Renew":       func(ctx context.Context) error { _, errs := b.Renew(ctx, t.long, l); return errs[0] },
		"Release":     func(ctx context.Context) error { return b.Release(ctx, l)[0] },
		"Holders":     func(ctx context.Context) error { _, err := b.Holders(ctx, ""); return err },
		"WatchLeases": func(ctx context.Context) error { _, err := b.WatchLeases(ctx, ""); return err },
		"Stats":       func(ctx context.Context) error { _, err := b.Stats(ctx); return err },
	}
	if t.caps.LiveSignals {
		all["Signal"] = func(ctx context.Context) error { return b.Signal(ctx, "news", nil) }
		all["Listen"] = func(ctx context.Context) error { _, err := b.Listen(ctx, "*"); return err }
	}
	return all
}

func closedAnswers(t *trial) {
	t.b.queued(t.group("orders", "c1"), 1)
	closed := t.process()
	t.must(closed.Close(), "Close")
	for what, call := range t.calls(closed) {
		t.is(call(t.ctx), what+" on a closed backend", port.ErrClosed)
	}
	t.check(closed.Health(t.ctx).State != port.Healthy, "a closed backend is not healthy")
	t.must(closed.Close(), "a second Close")
	equal(t, "Caps of a closed backend", closed.Caps(), t.caps)
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{number(0)})
}

func closeEndsWaiting(t *trial) {
	b := t.process()
	g := t.group("orders", "c1")
	b.join(g)
	var waits []func()
	ends := func(what string, call func() error) {
		waits = append(waits, t.spawn(func() { t.is(call(), what+" while the backend is closed", port.ErrClosed) }))
	}
	ends("Fetch", func() error { _, err := b.Fetch(t.ctx, g, 1); return err })
	ends("Read", func() error {
		_, err := b.Read(t.ctx, port.Range{Topic: "orders", After: port.Latest, Max: 1, Wait: t.long})
		return err
	})
	watched, err := b.WatchLeases(t.ctx, "")
	t.must(err, "WatchLeases")
	ends("WatchLeases", func() (last error) {
		for _, err := range watched {
			last = err
		}
		return last
	})
	if t.caps.LiveSignals {
		heard := b.listen("*")
		ends("Listen", func() (last error) {
			for _, err := range heard {
				last = err
			}
			return last
		})
	}
	t.pass(t.quiet)
	t.must(b.Close(), "Close")
	for _, wait := range waits {
		wait()
	}
	t.b.write(msg("orders", "m1"))
	equal(t, "loans that ran out", t.b.one(g).Lost, 0) // the Fetch that was ended took nothing
}

func closeLeavesOthers(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	closing := t.process()
	closing.join(g)
	waitFetch := t.spawn(func() { equal(t, "handed out", t.b.one(g).Message.ID, "m1") })
	var waitListen func()
	if t.caps.LiveSignals {
		closing.listen("*")
		seq := t.b.listen("*")
		waitListen = t.spawn(func() {
			got, _ := t.heard(seq)
			same(t, "heard", got, []string{"news 1"})
		})
	}
	t.pass(t.quiet)
	t.must(closing.Close(), "Close")
	other := t.process()
	if waitListen != nil {
		other.signal("news", "1")
		other.signal("end", "")
		waitListen()
	}
	other.write(msg("orders", "m1"))
	waitFetch()
	t.b.put("k", "1")
	other.holds("k", "1")
}

func closeKeepsLoans(t *trial) {
	gone := t.process()
	g, keeper := t.brisk("orders", "c1"), t.group("orders", "c1")
	keeper.Name = "keepers"
	gone.join(keeper)
	gone.queued(g, 1)
	start := time.Now()
	gone.one(g)
	kept := gone.one(keeper)
	gone.grant(lease("brief", "n1"), t.unit)
	l := gone.grant(lease("leader", "n1"), t.long)
	t.must(gone.Close(), "Close")
	t.b.taken("leader", l)
	g.Consumer, keeper.Consumer = "c2", "c2"
	d := t.b.one(g)
	t.notBefore(start, t.unit, "a loan of a closed process ended")
	equal(t, "handed out", d.Message.ID, number(0))
	equal(t, "loans that ran out", d.Lost, 1)
	t.b.none(keeper)
	keeper.Consumer = "c1"
	t.b.ack(keeper, kept) // its receipt is as good in another process
	t.eventually("a lease of a closed process ends", func() (bool, string) {
		_, err := t.b.Acquire(t.ctx, lease("brief", "n2"), t.long)
		return err == nil, fmt.Sprint(err)
	})
	t.check(!errors.Is(t.b.release(l), port.ErrClosed), "the lease can be released elsewhere")
}
