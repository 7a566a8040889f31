package porttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

func fetchRules() []rule {
	return []rule{
		{
			"messages come in the order of the log",
			"Messages of one topic that were handed out before to nobody come in the order of the log.", fetchOrder,
		},
		{
			"a delivery tells its message, its place and that nothing happened to it",
			"Delivery is one message on loan. Attempt, Lost, Crashes and Reason live with the message and the group on the server.", fetchFields,
		},
		{
			"a delivery in memory that was used before is as in new memory",
			"Into: memory that Fetch may return its deliveries in, whatever was there.", fetchInto,
		},
		{
			"Fetch takes what is there and no more than asked for",
			"Fetch hands out at most limit messages. It waits for the first one and then takes what is there.", fetchLimit,
		},
		{
			"a Fetch that waits is handed what another process writes",
			"It waits for the first one and then takes what is there.", fetchWaits,
		},
		{
			"Fetch of a group that does not exist makes none",
			"ErrLost when the group does not exist (any more): it is never made anew by itself.", fetchLost,
		},
		{
			"a Fetch that waits ends when its group is dropped",
			"ErrLost when the group does not exist (any more): it is never made anew by itself.", fetchDropped,
		},
		{
			"a call that waits ends with the cause of its ctx",
			"A call that waits returns as soon as its context ends, with an error that wraps context.Cause.", waitCause,
		},
		{
			"a cancelled Fetch takes nothing that is written later",
			"A consumer of the group fetches it and has it on loan.", fetchCancelled,
		},
		{
			"cancelling in Fetch loses nothing",
			"A call that waits returns as soon as its context ends; nobody else of the group gets a message until the loan ran out.", fetchCancelLosesNothing,
		},
		{
			"C10 a call that waits delays no other call",
			"Everything is safe for use by many goroutines at once.", waitDelaysNobody,
		},
		{
			"C4 a message on loan comes back after a restart under a new consumer's name",
			"Consumer: a name with an incarnation's nonce, never used by two; nobody else of the group gets it until the loan ran out.", fetchAfterRestart,
		},
	}
}

func fetchOrder(t *trial) {
	const n = 120
	g := t.group("orders", "c1")
	t.b.join(g)
	t.b.write(numbered("orders", n/2)...)
	for _, m := range numbered("orders", n)[n/2:] {
		t.b.write(m)
	}
	same(t, "handed out", ids(t.b.fetch(g, n)), numbers(0, n))
	var offsets []port.Offset
	for _, s := range t.b.read("orders", port.Earliest) {
		offsets = append(offsets, s.Offset)
	}
	t.check(slices.IsSorted(offsets) && len(slices.Compact(offsets)) == n, "offsets of one topic sort as strings")
}

func fetchFields(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	m := port.Message{Topic: "orders", ID: "m1", Key: "k1", Body: []byte("body")}
	t.b.write(m)
	start := time.Now()
	d := t.b.one(g)
	end := time.Now()
	s := t.b.read("orders", port.Earliest)[0]
	equal(t, "topic", d.Message.Topic, m.Topic)
	equal(t, "ID", d.Message.ID, m.ID)
	equal(t, "key", d.Message.Key, m.Key)
	equal(t, "group", d.Message.Group, "")
	t.bytes("body", d.Message.Body, m.Body)
	equal(t, "offset", d.Offset, s.Offset)
	t.check(d.Receipt != "", "there is a receipt")
	equal(t, "attempts, lost and crashes", [3]int{d.Attempt, d.Lost, d.Crashes}, [3]int{})
	equal(t, "reason", d.Reason, "")
	t.check(d.FirstAt.Equal(s.At) && !s.At.IsZero(), "FirstAt is the time of the entry")
	const skew = time.Minute // between this clock and the server's
	t.check(!d.Until.Before(start.Add(g.Loan-skew)) && !d.Until.After(end.Add(g.Loan+skew)), "Until is when the loan runs out")
}

// fetchInto fetches the same kinds of messages twice: into memory that has something of everything, and into none.
func fetchInto(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	used := make([]port.Delivery, 8)
	for i := range used {
		used[i] = port.Delivery{
			Receipt: "old", Offset: "old", Attempt: 7, Lost: 7, Crashes: 7, Reason: "old", FirstAt: time.Unix(7, 0), Until: time.Unix(7, 0),
			Message: port.Message{Topic: "old", ID: "old", Key: "old", Group: "old", Body: []byte("old"), At: time.Unix(7, 0)},
		}
	}
	for i, into := range [][]port.Delivery{used[:0], used[:4], nil} {
		full := port.Message{Topic: "orders", ID: "full" + number(i), Key: "k1", Body: []byte("body")}
		alone := addressed(g, "alone"+number(i))
		alone.Body = nil
		t.b.write(full, port.Message{Topic: "orders", ID: "empty" + number(i)}, alone)
		g.Into = into
		var seen []string
		for _, d := range t.b.fetch(g, 3) {
			m := d.Message
			seen = append(seen, fmt.Sprintf("%s %q %q %q %q %v, %d %d %d %q, offset %v, receipt %v, times %v",
				strings.TrimSuffix(m.ID, number(i)), m.Topic, m.Key, m.Group, m.Body, m.At.IsZero(), d.Attempt, d.Lost, d.Crashes, d.Reason,
				d.Offset != "" && d.Offset != "old", d.Receipt != "old", d.FirstAt.Year() > 1999 && d.Until.After(d.FirstAt)))
			t.b.ack(g, d)
		}
		slices.Sort(seen)
		same(t, "handed out", seen, []string{
			`alone "orders" "" "workers" "" true, 0 0 0 "", offset false, receipt true, times true`,
			`empty "orders" "" "" "" true, 0 0 0 "", offset true, receipt true, times true`,
			`full "orders" "k1" "" "body" true, 0 0 0 "", offset true, receipt true, times true`,
		})
	}
}

func fetchLimit(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 5)
	ds, err := t.b.Fetch(t.ctx, g, 2)
	t.must(err, "Fetch")
	t.check(len(ds) == 1 || len(ds) == 2, "a limit of 2 is kept")
	rest := t.b.fetch(g, 5-len(ds))
	same(t, "handed out", ids(append(ds, rest...)), numbers(0, 5))
	t.b.write(msg("orders", "last"))
	ds, err = t.b.Fetch(t.ctx, g, 100)
	t.must(err, "Fetch")
	same(t, "handed out of one that is there", ids(ds), []string{"last"})
}

func fetchWaits(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	wait := t.spawn(func() { same(t, "handed out", ids(t.b.fetch(g, 1)), []string{"m000"}) })
	t.pass(t.unit)
	t.process().write(numbered("orders", 1)...)
	wait()
}

func fetchLost(t *trial) {
	g := t.group("orders", "c1")
	_, err := t.b.Fetch(t.ctx, g, 1)
	t.is(err, "Fetch from no topic", port.ErrLost)
	t.b.write(msg("orders", "m1"))
	for range 2 {
		_, err = t.b.Fetch(t.ctx, g, 1)
		t.is(err, "Fetch of no group", port.ErrLost)
	}
	equal(t, "groups", len(t.b.info("orders").Groups), 0)
}

func fetchDropped(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	wait := t.spawn(func() {
		ctx, cancel := context.WithTimeout(t.ctx, t.patience)
		defer cancel()
		ds, err := t.b.Fetch(ctx, g, 1)
		t.is(err, fmt.Sprintf("Fetch of a group that was dropped meanwhile, with %d messages", len(ds)), port.ErrLost)
	})
	t.pass(t.quiet)
	t.must(t.process().Drop(t.ctx, "orders", g.Name), "Drop")
	wait()
}

func waitCause(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	stop := errors.New("stop")
	for what, call := range map[string]func(context.Context) error{
		"Fetch": func(ctx context.Context) error { _, err := t.b.Fetch(ctx, g, 1); return err },
		"Read": func(ctx context.Context) error {
			_, err := t.b.Read(ctx, port.Range{Topic: "orders", Max: 1, Wait: t.long})
			return err
		},
	} {
		ctx, cancel := context.WithCancelCause(t.ctx)
		wait := t.spawn(func() { t.is(call(ctx), what+" whose ctx ended", stop) })
		t.pass(t.quiet)
		cancel(stop)
		wait()
		t.is(call(ctx), what+" whose ctx had ended before", stop)
	}
}

func fetchCancelled(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	t.b.none(g)
	t.pass(t.quiet)
	t.b.write(msg("orders", "m1"))
	t.pass(t.quiet) // whoever still waits has it now
	g.Consumer = "c2"
	d := t.process().one(g)
	equal(t, "loans that ran out", d.Lost, 0)
}

func fetchCancelLosesNothing(t *trial) {
	const n = 60
	g := t.brisk("orders", "hasty")
	t.b.join(g)
	got := make(map[string]bool)
	wait := t.spawn(func() {
		for i := range n {
			ctx, cancel := context.WithTimeout(t.ctx, time.Duration(i%7)*time.Millisecond)
			ds, err := t.b.Fetch(ctx, g, 2)
			cancel()
			if err != nil {
				t.is(err, "Fetch", context.DeadlineExceeded)
				equal(t, "messages beside an error", len(ds), 0)
				continue
			}
			for _, d := range ds {
				if t.b.settled(g, acks(d)...)[0] == nil {
					got[d.Message.ID] = true
				}
			}
		}
	})
	other := t.process()
	for _, m := range numbered("orders", n) {
		other.write(m)
	}
	wait()
	calm := t.brisk("orders", "calm")
	for len(got) < n {
		d := other.one(calm)
		equal(t, "attempts of "+d.Message.ID, d.Attempt, 0)
		other.ack(calm, d)
		got[d.Message.ID] = true
	}
	other.none(calm)
}

func waitDelaysNobody(t *trial) {
	g := t.group("idle", "c1")
	t.b.join(g)
	ctx, cancel := context.WithCancel(t.ctx)
	t.spawn(func() {
		_, err := t.b.Fetch(ctx, g, 1)
		t.is(err, "Fetch", context.Canceled)
	})
	t.spawn(func() {
		_, err := t.b.Read(ctx, port.Range{Topic: "idle", After: port.Latest, Max: 1, Wait: t.long})
		t.is(err, "Read", context.Canceled)
	})
	t.pass(t.quiet)
	start := time.Now()
	busy := t.group("busy", "c1")
	t.b.queued(busy, 3)
	t.b.ack(busy, t.b.fetch(busy, 3)...)
	t.b.put("busy/1", "1")
	t.onTime(start, 5*time.Second, "calls beside one that waits were done")
	cancel()
}

func fetchAfterRestart(t *trial) {
	first := t.process()
	g := t.brisk("orders", "c1.first")
	first.queued(g, 2)
	start := time.Now()
	first.fetch(g, 2)
	t.must(first.Close(), "Close")
	g.Consumer = "c1.second"
	for range 2 {
		d := t.b.one(g)
		t.notBefore(start, t.unit, "a message of a consumer that is gone came back")
		equal(t, "attempts", d.Attempt, 0)
		equal(t, "loans that ran out", d.Lost, 1)
		t.b.ack(g, d)
	}
}
