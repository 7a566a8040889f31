package porttest

import (
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

func leaseRules() []rule {
	return []rule{
		{
			"Acquire grants what nobody holds",
			"Acquire grants want.Name to want.Nonce for ttl, and returns the lease with its token.", leaseGranted,
		},
		{
			"a lease that another nonce holds is refused, and tells who",
			"While another nonce holds it, whatever the Owner, it returns that lease beside ErrHeld.", leaseHeld,
		},
		{
			"C17 the nonce that holds renews by Acquire and keeps its token",
			"While the same nonce holds it, Acquire renews: the token stays, Data and Owner become want's.", leaseAcquiredAgain,
		},
		{
			"Renew gives its time from now, and Data and Owner stay",
			"Renew gives each held lease ttl from now, by Name, Nonce and Token; Data and Owner stay.", leaseRenewed,
		},
		{
			"C18 only who holds a lease can renew or release it",
			"ErrLost when that nonce and token do not hold it.", leaseOthers,
		},
		{
			"a lease ends at its time, and not before",
			"Acquire grants want.Name to want.Nonce for ttl.", leaseEnds,
		},
		{
			"C19 a lease that ran out stays lost, even when nobody took it",
			"A lease that ran out stays lost, even when nobody else took it.", leaseStaysLost,
		},
		{
			"a released lease is free at once",
			"Release gives each lease back, by Name, Nonce and Token.", leaseReleased,
		},
		{
			"Release without a token compares the nonce alone",
			"Token 0 compares the nonce alone, for an Acquire of unknown outcome.", leaseReleaseByNonce,
		},
		{
			"Renew and Release answer for each lease, in order",
			"It answers one lease and one error for each, in order.", leaseMany,
		},
		{
			"Holders lists what is held, by name and prefix, without nonces",
			"Holders lists the leases that are held and whose name begins with prefix, by name; every one for \"\". Nonces are left out.", leaseHolders,
		},
		{
			"C15 a lease lives to the millisecond",
			"Durations are counted in whole milliseconds; a fraction is rounded up.", leaseExact,
		},
		{
			"data may be any bytes, and none",
			"Data: what the holder tells of itself; at most MaxData bytes.", leaseData,
		},
	}
}

// lease is what a nonce wants; its owner is the same for every nonce.
func lease(name, nonce string) port.Lease {
	return port.Lease{Name: name, Owner: "host", Nonce: nonce, Data: []byte("data of " + nonce)}
}

// grant is an Acquire that must be granted.
func (p *process) grant(want port.Lease, ttl time.Duration) port.Lease {
	l, err := p.Acquire(p.t.ctx, want, ttl)
	p.t.must(err, "Acquire of lease "+want.Name)
	equal(p.t, "name", l.Name, want.Name)
	equal(p.t, "nonce", l.Nonce, want.Nonce)
	equal(p.t, "owner", l.Owner, want.Owner)
	p.t.bytes("data", l.Data, want.Data)
	if l.Token == 0 || l.Token > port.MaxToken || l.Token <= want.Seen {
		p.t.fatalf("token %d, want one of 1 to 2^53-1 above %d", l.Token, want.Seen)
	}
	return l
}

// taken fails unless the lease is held by who.
func (p *process) taken(name string, who port.Lease) {
	l, err := p.Acquire(p.t.ctx, lease(name, "another"), p.t.long)
	p.t.is(err, "Acquire of lease "+name, port.ErrHeld)
	equal(p.t, "name of what is held", l.Name, name)
	equal(p.t, "owner of what is held", l.Owner, who.Owner)
	equal(p.t, "token of what is held", l.Token, who.Token)
	p.t.bytes("data of what is held", l.Data, who.Data)
}

// renew is Renew of one lease.
func (p *process) renew(ttl time.Duration, l port.Lease) (port.Lease, error) {
	ls, errs := p.Renew(p.t.ctx, ttl, l)
	if len(ls) != 1 || len(errs) != 1 {
		p.t.fatalf("Renew of one lease answered %d leases and %d errors", len(ls), len(errs))
	}
	return ls[0], errs[0]
}

// release is Release of one lease.
func (p *process) release(l port.Lease) error {
	errs := p.Release(p.t.ctx, l)
	equal(p.t, "errors of Release", len(errs), 1)
	return errs[0]
}

// within fails unless ttl is what is left of most, a moment after it was granted.
func (t *trial) within(what string, ttl, most time.Duration) {
	if ttl <= 0 || ttl > most || ttl < most-most/4 {
		t.fatalf("%s: %v left, want %v", what, ttl, most)
	}
}

func leaseGranted(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.long)
	t.within("a lease that was granted", l.TTL, t.long)
	t.process().grant(lease("other", "n2"), t.long)
	t.b.grant(port.Lease{Name: "bare", Owner: "\xff\x00", Nonce: "\xff\x00"}, t.long)
}

func leaseHeld(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.long)
	other := t.process()
	for _, want := range []port.Lease{lease("leader", "n2"), {Name: "leader", Owner: "another", Nonce: "n3", Seen: port.MaxToken - 1}} {
		held, err := other.Acquire(t.ctx, want, t.long)
		t.is(err, "Acquire for another nonce", port.ErrHeld)
		equal(t, "owner", held.Owner, l.Owner)
		equal(t, "token", held.Token, l.Token)
	}
	other.taken("leader", l)
	_, err := t.b.renew(t.long, l)
	t.must(err, "Renew by the holder after others were refused")
}

func leaseAcquiredAgain(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.unit+t.slack)
	want := port.Lease{Name: "leader", Owner: "host.new", Nonce: "n1", Data: []byte("new")}
	again := t.process().grant(want, t.long)
	equal(t, "token", again.Token, l.Token)
	t.within("a lease that was renewed", again.TTL, t.long)
	t.pass(t.unit + t.slack)
	t.b.taken("leader", again)
	_, err := t.b.renew(t.long, l)
	t.must(err, "Renew with the same nonce and token")
	want.Seen = l.Token - 1
	equal(t, "token with what was seen before", t.b.grant(want, t.long).Token, l.Token)
}

func leaseRenewed(t *trial) {
	l := t.b.grant(lease("leader", "n1"), 2*t.unit+t.slack)
	t.pass(t.unit)
	renewed, err := t.process().renew(t.long, port.Lease{Name: l.Name, Nonce: l.Nonce, Token: l.Token})
	t.must(err, "Renew")
	equal(t, "token", renewed.Token, l.Token)
	equal(t, "name", renewed.Name, l.Name)
	t.within("a lease that was renewed", renewed.TTL, t.long)
	t.pass(2*t.unit + t.slack)
	t.b.taken("leader", l)
	l.Owner, l.Data = "another", []byte("other")
	_, err = t.b.renew(t.long, l)
	t.must(err, "Renew")
	held, err := t.b.Acquire(t.ctx, lease("leader", "n2"), t.long)
	t.is(err, "Acquire", port.ErrHeld)
	equal(t, "owner after Renew", held.Owner, "host")
	t.bytes("data after Renew", held.Data, []byte("data of n1"))
	start := time.Now()
	_, err = t.b.renew(t.unit, l)
	t.must(err, "Renew for less")
	t.eventually("a lease that was renewed for less is free", func() (bool, string) {
		_, err := t.b.Acquire(t.ctx, lease("leader", "n2"), t.long)
		return err == nil, fmt.Sprint(err)
	})
	t.notBefore(start, t.unit, "a lease that was renewed ended")
}

func leaseOthers(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.long)
	other := t.process()
	for what, wrong := range map[string]port.Lease{
		"another nonce":             {Name: "leader", Owner: "host", Nonce: "n2", Token: l.Token},
		"a smaller token":           {Name: "leader", Owner: "host", Nonce: "n1", Token: max(l.Token-1, 1)},
		"a larger token":            {Name: "leader", Owner: "host", Nonce: "n1", Token: l.Token + 1},
		"another name":              {Name: "nobody", Owner: "host", Nonce: "n1", Token: l.Token},
		"the owner for a nonce":     {Name: "leader", Owner: "host", Nonce: "host", Token: l.Token},
		"another nonce and a token": {Name: "leader", Owner: "host", Nonce: "n3", Token: l.Token + 1},
	} {
		if wrong.Nonce == l.Nonce && wrong.Name == l.Name && wrong.Token == l.Token {
			continue
		}
		_, err := other.renew(t.long, wrong)
		t.is(err, "Renew with "+what, port.ErrLost)
		t.is(other.release(wrong), "Release with "+what, port.ErrLost)
	}
	t.is(other.release(port.Lease{Name: "leader", Owner: "host", Nonce: "n2"}), "Release by another nonce without a token", port.ErrLost)
	other.taken("leader", l)
	t.must(t.b.release(l), "Release by the holder")
	t.is(t.b.release(l), "a second Release", port.ErrLost)
	_, err := t.b.renew(t.long, l)
	t.is(err, "Renew after Release", port.ErrLost)
	t.b.grant(lease("leader", "n2"), t.long)
	t.is(t.b.release(l), "Release of what another holds now", port.ErrLost)
}

func leaseEnds(t *trial) {
	start := time.Now()
	t.b.grant(lease("leader", "n1"), 2*t.unit)
	other := t.process()
	t.eventually("a lease that nobody renews is free", func() (bool, string) {
		held, err := other.Acquire(t.ctx, lease("leader", "n2"), t.long)
		return err == nil, fmt.Sprint(held, err)
	})
	t.notBefore(start, 2*t.unit, "a lease ended")
}

func leaseStaysLost(t *trial) {
	start := time.Now()
	l := t.b.grant(lease("leader", "n1"), t.unit)
	t.eventually("a lease that nobody renews is lost", func() (bool, string) {
		held, err := t.b.Holders(t.ctx, "")
		t.must(err, "Holders")
		return len(held) == 0, fmt.Sprint(held)
	})
	t.notBefore(start, t.unit, "a lease ended")
	for range 2 {
		_, err := t.b.renew(t.long, l)
		t.is(err, "Renew of a lease that ran out", port.ErrLost)
	}
	t.is(t.b.release(l), "Release of a lease that ran out", port.ErrLost)
	t.is(t.b.release(port.Lease{Name: l.Name, Nonce: l.Nonce}), "Release of it by its nonce", port.ErrLost)
	held, err := t.process().Holders(t.ctx, "")
	t.must(err, "Holders")
	equal(t, "holders after Renew of a lease that ran out", len(held), 0)
	again := t.b.grant(lease("leader", "n1"), t.long)
	t.check(again.Token > l.Token, "the same nonce gets a new token for a new term")
	_, err = t.b.renew(t.long, l)
	t.is(err, "Renew of the term before", port.ErrLost)
}

func leaseReleased(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.long)
	t.must(t.process().release(l), "Release")
	l2 := t.b.grant(lease("leader", "n2"), t.long)
	t.check(l2.Token > l.Token, "the token grew")
	t.b.taken("leader", l2)
}

func leaseReleaseByNonce(t *trial) {
	l := t.b.grant(lease("leader", "n1"), t.long)
	t.is(t.b.release(port.Lease{Name: "leader", Nonce: "n2"}), "Release by another nonce", port.ErrLost)
	t.b.taken("leader", l)
	t.must(t.process().release(port.Lease{Name: "leader", Nonce: "n1"}), "Release by the nonce")
	t.b.grant(lease("leader", "n2"), t.long)
	t.is(t.b.release(port.Lease{Name: "leader", Nonce: "n1"}), "Release by the nonce when another holds", port.ErrLost)
}

func leaseMany(t *trial) {
	var held []port.Lease
	for i := range 4 {
		held = append(held, t.b.grant(lease(fmt.Sprintf("slot.%d", i), fmt.Sprintf("n%d", i)), t.long))
	}
	t.must(t.b.release(held[2]), "Release")
	ls, errs := t.b.Renew(t.ctx, 2*t.long, held[3], held[2], held[0])
	equal(t, "leases", len(ls), 3)
	equal(t, "errors", len(errs), 3)
	for i, want := range []port.Lease{held[3], {}, held[0]} {
		if want.Name == "" {
			t.is(errs[i], "Renew of what was released", port.ErrLost)
			continue
		}
		t.must(errs[i], "Renew of "+want.Name)
		equal(t, "name", ls[i].Name, want.Name)
		equal(t, "token", ls[i].Token, want.Token)
		t.within("after Renew", ls[i].TTL, 2*t.long)
	}
	errs = t.b.Release(t.ctx, held[1], held[2], held[0])
	equal(t, "errors", len(errs), 3)
	t.must(errs[0], "Release of the first")
	t.is(errs[1], "Release of what was released", port.ErrLost)
	t.must(errs[2], "Release of the third")
	ls, errs = t.b.Renew(t.ctx, t.long)
	equal(t, "answers of Renew of nothing", len(ls)+len(errs)+len(t.b.Release(t.ctx)), 0)
}

func leaseHolders(t *trial) {
	names := []string{"a", "a.1", "a.2", "a.b", "ab", "b.1"}
	tokens := map[string]uint64{}
	for i, name := range slices.Backward(names) {
		tokens[name] = t.b.grant(lease(name, fmt.Sprintf("n%d", i)), t.long).Token
	}
	t.b.grant(lease("a.brief", "brief"), t.unit)
	t.b.grant(lease("a.given", "given"), t.long)
	t.must(t.b.release(port.Lease{Name: "a.given", Nonce: "given"}), "Release")
	other := t.process()
	for prefix, want := range map[string][]string{"": names, "a": names[:5], "a.": names[1:4], "a.1": {"a.1"}, "c": nil, "b.1": {"b.1"}, "b.12": nil} {
		t.eventually("holders with prefix "+brief(prefix), func() (bool, string) {
			held, err := other.Holders(t.ctx, prefix)
			t.must(err, "Holders")
			var got []string
			for _, l := range held {
				if l.Name == "a.brief" { // until it ended
					return false, "a.brief is there"
				}
				equal(t, "nonce told by Holders", l.Nonce, "")
				equal(t, "token told by Holders", l.Token, tokens[l.Name])
				equal(t, "owner told by Holders", l.Owner, "host")
				t.check(len(l.Data) > 0 && l.TTL > 0 && l.TTL <= t.long, "data and time are told by Holders")
				got = append(got, l.Name)
			}
			return slices.Equal(got, want), brief(got)
		})
	}
}

func leaseExact(t *trial) {
	for i, ttl := range []time.Duration{1900 * time.Millisecond, 500 * time.Millisecond} {
		name := fmt.Sprintf("leader.%d", i)
		start := time.Now()
		l, err := t.b.Acquire(t.ctx, lease(name, "n1"), ttl)
		if ttl < t.caps.MinTTL {
			t.is(err, fmt.Sprintf("Acquire for %v", ttl), port.ErrInvalid)
			t.b.grant(lease(name, "n2"), t.long)
			continue
		}
		t.must(err, "Acquire")
		if took := time.Since(start); l.TTL > ttl || l.TTL < ttl-took-t.grain {
			t.fatalf("a lease that was granted for %v has %v", ttl, l.TTL)
		}
		t.eventually("the lease ends", func() (bool, string) {
			_, err := t.b.Acquire(t.ctx, lease(name, "n2"), t.long)
			return err == nil, fmt.Sprint(err)
		})
		t.notBefore(start, ttl, "a lease ended")
	}
}

func leaseData(t *trial) {
	for i, data := range [][]byte{nil, {}, {0}, []byte("\xff\xfe\x00"), make([]byte, port.MaxData)} {
		want := lease(fmt.Sprintf("leader.%d", i), "n1")
		want.Data = data
		l := t.b.grant(want, t.long)
		t.process().taken(want.Name, l)
	}
}
