package porttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

func tokenRules() []rule {
	return []rule{
		{
			"tokens grow over releases, expiries and what was seen",
			"A new grant's token is larger than that of every grant before it and than want.Seen.", tokensGrow,
		},
		{
			"a token is anchored to the server's time",
			"It is the largest of the last token + 1, want.Seen + 1, and the server's time in microseconds.", tokensAnchored,
		},
		{
			"the largest tokens are exact",
			"MaxToken: the largest fencing token: every backend carries it exactly.", tokensExact,
		},
	}
}

func tokensGrow(t *trial) {
	var last uint64
	for i := range 12 {
		nonce := fmt.Sprintf("n%d", i)
		var l port.Lease
		t.eventually("the lease is granted", func() (bool, string) {
			want := lease("leader", nonce)
			if i%4 == 3 {
				want.Seen = last + 1_000_000_000
			}
			var err error
			l, err = t.process().Acquire(t.ctx, want, t.unit)
			if err == nil && l.Token <= max(last, want.Seen) {
				t.fatalf("grant %d has token %d after %d, with %d seen", i, l.Token, last, want.Seen)
			}
			return err == nil, fmt.Sprint(err)
		})
		last = l.Token
		if i%2 == 0 {
			if err := t.b.release(l); err != nil {
				t.is(err, "Release", port.ErrLost) // it ran out on a slow machine
			}
		}
	}
}

func tokensAnchored(t *trial) {
	const skew = time.Minute // between this clock and the server's
	now := time.Now()
	l := t.b.grant(lease("leader", "n1"), t.long)
	t.check(l.Token >= uint64(now.Add(-skew).UnixMicro()) && l.Token <= uint64(time.Now().Add(skew).UnixMicro()),
		fmt.Sprintf("token %d of a first grant is the server's time in microseconds", l.Token))
	t.must(t.b.release(l), "Release")
	ahead := lease("leader", "n2")
	ahead.Seen = uint64(now.Add(1000 * time.Hour).UnixMicro())
	l = t.b.grant(ahead, t.long)
	equal(t, "token after what was seen", l.Token, ahead.Seen+1)
	t.must(t.b.release(l), "Release")
	equal(t, "token after the last", t.b.grant(lease("leader", "n3"), t.long).Token, ahead.Seen+2)
}

func tokensExact(t *trial) {
	want := lease("leader", "n1")
	want.Seen = port.MaxToken - 2
	l := t.b.grant(want, t.long)
	equal(t, "token", l.Token, port.MaxToken-1)
	_, err := t.b.renew(t.long, l)
	t.must(err, "Renew")
	t.process().taken("leader", l)
	t.is(t.b.release(port.Lease{Name: l.Name, Nonce: l.Nonce, Token: l.Token - 1}), "Release with the token before", port.ErrLost)
	t.must(t.b.release(l), "Release")
	equal(t, "the next token", t.b.grant(lease("leader", "n2"), t.long).Token, port.MaxToken)
}

func watchRules() []rule {
	return []rule{
		{
			"a hint names a lease with the prefix",
			"WatchLeases yields hints that a lease whose name begins with prefix was granted, changed or released: look again.", watchHints,
		},
		{
			"watching ends with its ctx, without an error",
			"It ends as Signals.Listen does.", watchCtx,
		},
		{
			"a wrong prefix is refused",
			"CheckPrefix answers ErrInvalid for a prefix that no lease's name can begin with.", watchArguments,
		},
	}
}

func watchHints(t *trial) {
	ctx, cancel := context.WithCancel(t.ctx)
	seq, err := t.b.WatchLeases(ctx, "jobs.")
	t.must(err, "WatchLeases")
	wait := t.spawn(func() {
		for l, err := range seq { // a hint may be missing: none has to come
			if errors.Is(err, port.ErrGap) {
				continue
			}
			t.must(err, "WatchLeases")
			t.check(strings.HasPrefix(l.Name, "jobs."), "a hint for "+l.Name+" has the prefix")
		}
	})
	other := t.process()
	for i := range 20 {
		other.grant(lease(fmt.Sprintf("other.%d", i), "n1"), t.long)
		l := other.grant(lease(fmt.Sprintf("jobs.%d", i), "n1"), t.long)
		other.grant(lease(l.Name, "n1"), t.long)
		t.must(other.release(l), "Release")
	}
	t.pass(t.quiet)
	cancel()
	wait()
}

func watchCtx(t *trial) {
	ctx, cancel := context.WithCancel(t.ctx)
	seq, err := t.b.WatchLeases(ctx, "")
	t.must(err, "WatchLeases")
	wait := t.spawn(func() {
		for _, err := range seq {
			t.must(err, "WatchLeases")
		}
	})
	t.pass(t.quiet)
	cancel()
	wait()
}

func watchArguments(t *trial) {
	for _, prefix := range []string{".a", "a..", "a*", "a b", "\xff", strings.Repeat("p", 10_000)} {
		_, err := t.b.WatchLeases(t.ctx, prefix)
		t.is(err, "WatchLeases with prefix "+brief(prefix), port.ErrInvalid)
		_, err = t.b.Holders(t.ctx, prefix)
		t.is(err, "Holders with prefix "+brief(prefix), port.ErrInvalid)
	}
}
