package porttest

import (
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

func argumentRules() []rule {
	return []rule{
		{
			"names that are no names are refused everywhere, and make nothing",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongNames,
		},
		{
			"wrong groups, ranges and limits are refused",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongQueue,
		},
		{
			"wrong steps are refused, and nothing of them happened",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongSteps,
		},
		{
			"wrong settlements are refused, and the loan stays",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongSettlements,
		},
		{
			"wrong changes are refused, and none of the call is made",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongChanges,
		},
		{
			"wrong leases are refused",
			"A call with an invalid argument answers ErrInvalid before anything happened.", wrongLeases,
		},
	}
}

// refuse fails unless each call answers ErrInvalid.
func (t *trial) refuse(calls map[string]func() error) {
	for what, call := range calls {
		t.is(call(), what, port.ErrInvalid)
	}
}

// untouched fails when the namespace has anything in it.
func (t *trial) untouched() {
	equal(t, "topics", len(t.b.infos("*")), 0)
	same(t, "keys", t.b.keys("*"), nil)
	held, err := t.b.Holders(t.ctx, "")
	t.must(err, "Holders")
	equal(t, "leases", len(held), 0)
}

func wrongNames(t *trial) {
	ctx, b := t.ctx, t.b
	for _, n := range badNames() {
		g := t.group(n, "c1")
		calls := map[string]func() error{
			"Declare": func() error { return b.Declare(ctx, port.Topic{Name: n}) },
			"Join":    func() error { return b.Join(ctx, g) },
			"Write":   func() error { return b.step(port.Batch{Messages: []port.Message{msg("orders", "m1"), msg(n, "m2")}}) },
			"Fetch":   func() error { _, err := b.Fetch(ctx, g, 1); return err },
			"Fetch for a consumer": func() error {
				_, err := b.Fetch(ctx, t.group("orders", n), 1)
				return err
			},
			"Extend": func() error { return b.Extend(ctx, g, port.Hold{Receipt: "r"})[0] },
			"Settle": func() error { return b.settled(g, port.Settlement{Receipt: "r"})[0] },
			"Read":   func() error { _, err := b.Read(ctx, port.Range{Topic: n, Max: 1}); return err },
			"Remove": func() error { return b.remove(n, "1") },
			"Drop":   func() error { return b.Drop(ctx, n, "") },
			"Write with a fence": func() error {
				return b.step(port.Batch{Messages: []port.Message{msg("orders", "m1")}, Fence: port.Fence{Name: n, Token: 1}})
			},
			"Acquire": func() error { _, err := b.Acquire(ctx, lease(n, "n1"), t.long); return err },
			"Renew": func() error {
				_, err := b.renew(t.long, port.Lease{Name: n, Nonce: "n1", Token: 1})
				return err
			},
			"Release": func() error { return b.release(port.Lease{Name: n, Nonce: "n1"}) },
		}
		t.refuse(named(calls, n))
	}
	for _, n := range append(badNames(), "a.b") {
		if n == "" {
			continue // no group: the topic, or everybody
		}
		g := t.group("orders", "c1")
		g.Name = n
		m := msg("orders", "m1")
		m.Group = n
		t.refuse(named(map[string]func() error{
			"Join a group": func() error { return b.Join(ctx, g) },
			"Drop a group": func() error { return b.Drop(ctx, "orders", n) },
			"Write to one": func() error { return b.step(port.Batch{Messages: []port.Message{m}}) },
		}, n))
	}
	t.untouched()
}

// named says in the name of each call what it is called with.
func named(calls map[string]func() error, arg string) map[string]func() error {
	out := make(map[string]func() error, len(calls))
	for what, call := range calls {
		out[what+" with "+brief(arg)] = call
	}
	return out
}

func wrongQueue(t *trial) {
	ctx, b := t.ctx, t.b
	group := func(change func(*port.Group)) port.Group {
		g := t.group("orders", "c1")
		change(&g)
		return g
	}
	calls := map[string]func() error{
		"Fetch of no message":        func() error { _, err := b.Fetch(ctx, t.group("orders", "c1"), 0); return err },
		"Fetch of -1 messages":       func() error { _, err := b.Fetch(ctx, t.group("orders", "c1"), -1); return err },
		"Read of no entry":           func() error { _, err := b.Read(ctx, port.Range{Topic: "orders"}); return err },
		"Read of -1 entries":         func() error { _, err := b.Read(ctx, port.Range{Topic: "orders", Max: -1}); return err },
		"Read with a negative wait":  func() error { _, err := b.Read(ctx, port.Range{Topic: "orders", Max: 1, Wait: -1}); return err },
		"Join with negative memory":  func() error { return b.Join(ctx, group(func(g *port.Group) { g.Remember = -1 })) },
		"Fetch without a consumer":   func() error { _, err := b.Fetch(ctx, t.group("orders", ""), 1); return err },
		"Fetch with negative memory": func() error { _, err := b.Fetch(ctx, group(func(g *port.Group) { g.Remember = -1 }), 1); return err },
	}
	for _, loan := range []time.Duration{0, -1, -time.Second, t.caps.MinLoan - 1} {
		g := group(func(g *port.Group) { g.Loan = loan })
		calls[fmt.Sprintf("Join with a loan of %v", loan)] = func() error { return b.Join(ctx, g) }
		calls[fmt.Sprintf("Fetch with a loan of %v", loan)] = func() error { _, err := b.Fetch(ctx, g, 1); return err }
		calls[fmt.Sprintf("Extend with a loan of %v", loan)] = func() error { return b.Extend(ctx, g, port.Hold{Receipt: "r"})[0] }
		calls[fmt.Sprintf("Settle with a loan of %v", loan)] = func() error { return b.settled(g, port.Settlement{Receipt: "r"})[0] }
	}
	t.refuse(calls)
	t.untouched()
}

func wrongSteps(t *trial) {
	good := msg("orders", "m1")
	message := func(change func(*port.Message)) port.Batch {
		m := msg("orders", "m2")
		change(&m)
		return port.Batch{Messages: []port.Message{good, m}}
	}
	steps := map[string]port.Batch{
		"an ID over 512 bytes":   message(func(m *port.Message) { m.ID = strings.Repeat("i", port.MaxKey+1) }),
		"a long ID":              message(func(m *port.Message) { m.ID = strings.Repeat("i", 10_000) }),
		"no ID":                  message(func(m *port.Message) { m.ID = "" }),
		"a long key":             message(func(m *port.Message) { m.Key = strings.Repeat("k", 10_000) }),
		"a long batch ID":        {ID: strings.Repeat("b", port.MaxKey+1), Messages: []port.Message{good}},
		"one key twice":          {Changes: []port.Change{{Key: "orders/1"}, {Key: "orders/1", Delete: true}}},
		"a token without a name": {Messages: []port.Message{good}, Fence: port.Fence{Token: 1}},
		"a name without a token": {Messages: []port.Message{good}, Fence: port.Fence{Name: "leader"}},
		"a token over the limit": {Messages: []port.Message{good}, Fence: port.Fence{Name: "leader", Token: port.MaxToken + 1}},
		"a removal of Earliest":  {Messages: []port.Message{good}, Removes: []port.Removal{{Topic: "orders"}}},
		"a removal of Latest":    {Messages: []port.Message{good}, Removes: []port.Removal{{Topic: "orders", Offset: port.Latest}}},
		"a message too many":     {Messages: numbered("orders", port.MaxParts+1)},
	}
	for what, c := range badChanges() {
		steps["a change with "+what] = port.Batch{Messages: []port.Message{good}, Changes: []port.Change{c}}
	}
	for what, b := range steps {
		t.is(t.b.step(b), "a step with "+what, port.ErrInvalid)
	}
	t.untouched()
	t.b.write(good) // its ID is not known
}

// badChanges are changes that no backend takes.
func badChanges() map[string]port.Change {
	return map[string]port.Change{
		"an empty key":            {},
		"a long key":              {Key: strings.Repeat("k", 10_000)},
		"an unknown condition":    {Key: "orders/1", If: port.Equals + 1},
		"a negative condition":    {Key: "orders/1", If: -1},
		"Old and no Equals":       {Key: "orders/1", Old: []byte("1")},
		"Old and Absent":          {Key: "orders/1", If: port.Absent, Old: []byte("1")},
		"a value and Delete":      {Key: "orders/1", Delete: true, Value: []byte("1")},
		"a time and Delete":       {Key: "orders/1", Delete: true, TTL: time.Hour},
		"KeepTTL and Delete":      {Key: "orders/1", Delete: true, TTL: port.KeepTTL},
		"Absent and Delete":       {Key: "orders/1", Delete: true, If: port.Absent},
		"a negative time":         {Key: "orders/1", TTL: -time.Second},
		"a fence without a token": {Key: "orders/1", Fence: port.Fence{Name: "leader"}},
	}
}

func wrongSettlements(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	r := t.b.one(g).Receipt
	then := port.Batch{Messages: []port.Message{msg("orders.out", "m1")}}
	for what, s := range map[string]port.Settlement{
		"no receipt":                  {},
		"an unknown verdict":          {Receipt: r, Verdict: port.Release + 1},
		"a negative verdict":          {Receipt: r, Verdict: -1},
		"a negative After":            {Receipt: r, Verdict: port.Return, After: -1},
		"After and Ack":               {Receipt: r, After: 1},
		"a reason and Ack":            {Receipt: r, Reason: "x"},
		"a reason and Release":        {Receipt: r, Verdict: port.Release, Reason: "x"},
		"a long reason":               {Receipt: r, Verdict: port.Return, Reason: strings.Repeat("x", port.MaxReason+1)},
		"a step and Return":           {Receipt: r, Verdict: port.Return, Then: then},
		"a step and Release":          {Receipt: r, Verdict: port.Release, Then: then},
		"a step with an ID":           {Receipt: r, Then: port.Batch{ID: "b1", Messages: then.Messages}},
		"a step with a bad key":       {Receipt: r, Then: port.Batch{Messages: then.Messages, Changes: []port.Change{{}}}},
		"a step with a part too many": {Receipt: r, Then: port.Batch{Messages: numbered("orders.out", port.MaxParts+1)}},
	} {
		t.is(t.b.settled(g, s)[0], "Settle with "+what, port.ErrInvalid)
	}
	t.is(t.b.Extend(t.ctx, g, port.Hold{})[0], "Extend without a receipt", port.ErrInvalid, port.ErrStale)
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), nil)
	t.b.settle(g, port.Settlement{Receipt: r, Then: then})
	same(t, "written", stored(t.b.read("orders.out", port.Earliest)), []string{"m1"})
}

func wrongChanges(t *trial) {
	good := port.Change{Key: "orders/good", Value: []byte("1")}
	for what, c := range badChanges() {
		_, err := t.b.Apply(t.ctx, good, c)
		t.is(err, "Apply with "+what, port.ErrInvalid)
	}
	for _, key := range badKeys() {
		_, err := t.b.Get(t.ctx, "orders/good", key)
		t.is(err, "Get of "+brief(key), port.ErrInvalid)
		_, err = t.b.Add(t.ctx, key, 1, 0)
		t.is(err, "Add to "+brief(key), port.ErrInvalid)
	}
	t.untouched()
}

func wrongLeases(t *trial) {
	good := lease("leader", "n1")
	with := func(change func(*port.Lease)) port.Lease {
		l := good
		change(&l)
		return l
	}
	for what, l := range map[string]port.Lease{
		"no owner":     with(func(l *port.Lease) { l.Owner = "" }),
		"a long owner": with(func(l *port.Lease) { l.Owner = strings.Repeat("o", 10_000) }),
		"no nonce":     with(func(l *port.Lease) { l.Nonce = "" }),
		"a long nonce": with(func(l *port.Lease) { l.Nonce = strings.Repeat("n", port.MaxName+1) }),
		"a large Seen": with(func(l *port.Lease) { l.Seen = port.MaxToken }),
		"large data":   with(func(l *port.Lease) { l.Data = make([]byte, port.MaxData+1) }),
	} {
		_, err := t.b.Acquire(t.ctx, l, t.long)
		t.is(err, "Acquire with "+what, port.ErrInvalid)
	}
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		_, err := t.b.Acquire(t.ctx, good, ttl)
		t.is(err, fmt.Sprintf("Acquire for %v", ttl), port.ErrInvalid)
	}
	t.untouched()
	l := t.b.grant(good, t.long)
	for what, wrong := range map[string]port.Lease{
		"no nonce":      {Name: l.Name, Token: l.Token},
		"a large token": {Name: l.Name, Nonce: l.Nonce, Token: port.MaxToken + 1},
		"a long nonce":  {Name: l.Name, Nonce: strings.Repeat("n", 10_000), Token: l.Token},
	} {
		_, err := t.b.renew(t.long, wrong)
		t.is(err, "Renew with "+what, port.ErrInvalid)
		t.is(t.b.release(wrong), "Release with "+what, port.ErrInvalid)
	}
	_, err := t.b.renew(t.long, port.Lease{Name: l.Name, Nonce: l.Nonce})
	t.is(err, "Renew without a token", port.ErrInvalid)
	_, err = t.b.renew(0, l)
	t.is(err, "Renew for nothing", port.ErrInvalid)
	t.process().taken("leader", l)
}
