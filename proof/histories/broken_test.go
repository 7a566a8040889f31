package histories_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/proof/histories"
)

// broken are leases that answer something else than they know.
type broken struct {
	port.Leases
	acquired func(want, got port.Lease, err error) (port.Lease, error)
	listed   func([]port.Lease) []port.Lease
	renewed  func(l port.Lease) bool // these are said to be, and are not
}

func (b broken) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	got, err := b.Leases.Acquire(ctx, want, ttl)
	if b.acquired != nil {
		return b.acquired(want, got, err)
	}
	return got, err
}

func (b broken) Holders(ctx context.Context, prefix string) ([]port.Lease, error) {
	all, err := b.Leases.Holders(ctx, prefix)
	if b.listed != nil {
		all = b.listed(all)
	}
	return all, err
}

func (b broken) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	got, errs := make([]port.Lease, len(held)), make([]error, len(held))
	for i, l := range held {
		if got[i] = l; b.renewed == nil || !b.renewed(l) {
			one, err := b.Leases.Renew(ctx, ttl, l)
			got[i], errs[i] = one[0], err[0]
		}
	}
	return got, errs
}

const lockLease = "lock.proof"

// grants lets who asks for the lock have it although another holds it, where that one may be put aside.
func grants(aside func(want, theirs port.Lease) bool) func(l port.Leases) port.Leases {
	return func(l port.Leases) port.Leases {
		mine := func(l port.Lease) bool { return l.Name == lockLease }
		return broken{Leases: l, renewed: mine, acquired: func(want, got port.Lease, err error) (port.Lease, error) {
			if errors.Is(err, port.ErrHeld) && want.Name == lockLease && aside(want, got) {
				want.Token = got.Token + 1
				return want, nil
			}
			return got, err
		}}
	}
}

func reads(l port.Lease) bool { return strings.Contains(string(l.Data), `"read":`) }

// overtakes shows to nobody who waits.
func overtakes(l port.Leases) port.Leases {
	return broken{Leases: l, listed: func(all []port.Lease) []port.Lease {
		return slices.DeleteFunc(all, func(l port.Lease) bool { return strings.HasPrefix(l.Name, "share.proof.q.") })
	}}
}

// loose is a backend that compares no tokens where it changes something.
type loose struct{ port.Backend }

func (l loose) Apply(ctx context.Context, changes ...port.Change) ([]port.Applied, error) {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Fence = port.Fence{}
	}
	return l.Backend.Apply(ctx, changes...)
}

// Each rule is broken in turn, and the history shows it. That of the same clients with nothing broken does not.
func TestEachModelCatchesALockThatBreaksItsRule(t *testing.T) {
	for what, p := range map[string]play{
		"a second holder is let in":              {way: histories.Lock, leases: grants(func(_, _ port.Lease) bool { return true })},
		"a writer is let in beside a reader":     {way: histories.ReadWrite, leases: grants(func(want, theirs port.Lease) bool { return !reads(want) && reads(theirs) })},
		"a reader is let in beside a writer":     {way: histories.ReadWrite, leases: grants(func(want, theirs port.Lease) bool { return reads(want) && !reads(theirs) })},
		"a slot more is given than there are":    {way: histories.Semaphore, slots: 3},
		"the last in the queue goes first":       {way: histories.Fair, leases: overtakes},
		"a reader goes before who queued before": {way: histories.ReadWrite, leases: overtakes},
		"a leader goes on when its lease is over": {way: histories.Lead, leases: func(l port.Leases) port.Leases {
			return broken{Leases: l, renewed: func(port.Lease) bool { return true }}
		}},
		"the register takes a token that is stale": {way: histories.Lock, backend: func(b port.Backend) port.Backend { return loose{b} }},
		"tokens do not grow": {way: histories.Lock, leases: func(l port.Leases) port.Leases {
			return broken{Leases: l, acquired: func(_, got port.Lease, err error) (port.Lease, error) {
				got.Token = 7
				return got, err
			}}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p.clients, p.lasts = 5, 10*playTTL
			h, _ := p.history(t)
			if verdict := porcupine.CheckOperationsTimeout(histories.RulesOf(p.way).Model(), h.Operations(0), time.Minute); verdict != porcupine.Illegal {
				t.Errorf("the history is %v", verdict)
			}
			p.leases, p.backend, p.slots = nil, nil, 0
			h, _ = p.history(t)
			if verdict := judge(t, histories.RulesOf(p.way), h); verdict != porcupine.Ok {
				t.Errorf("with nothing broken it is %v", verdict)
			}
		})
	}
}
