package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// leases are the records by name. A record outlives its term until a new grant's token would be larger without it.
type leases struct {
	records map[string]*record
	most    int // records that are kept before the next sweep
}

const leastSweep = 1024

type record struct {
	lease port.Lease // its Token is the last one of the name
	end   int64      // of the term; 0: released
}

func (r *record) held(now moment) bool { return now.ns < r.end }

// shown is the lease as a caller gets it.
func (r *record) shown(now moment) port.Lease {
	l := r.lease
	l.Data = bytes.Clone(l.Data)
	l.TTL = time.Duration(r.end - now.ns)
	return l
}

// Acquire leaves the nonce out of the lease that it returns beside ErrHeld. A name whose last token is MaxToken is answered
// with ErrUnavailable.
func (b *Backend) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	if err := want.Check(b.caps, ttl); err != nil {
		return port.Lease{}, fmt.Errorf("memory: acquire: %w", err)
	}
	type answer struct {
		lease port.Lease
		held  error
	}
	a, err := do(ctx, b, "acquire", func(c call) (answer, error) {
		lease, held, err := b.space.acquire(want, ttl)
		return answer{lease: lease, held: held}, err
	})
	if err != nil {
		return port.Lease{}, err
	}
	return a.lease, a.held
}

func (s *space) acquire(want port.Lease, ttl time.Duration) (_ port.Lease, held, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	r := s.leases.records[want.Name]
	switch {
	case r == nil:
		s.leases.sweep(now)
		r = &record{lease: port.Lease{Name: want.Name}}
	case r.held(now) && r.lease.Nonce != want.Nonce:
		other := r.shown(now)
		other.Nonce = ""
		return other, fmt.Errorf("memory: acquire: lease %q is held by %q: %w", want.Name, other.Owner, port.ErrHeld), nil
	}
	renews := r.held(now)
	changed := !renews || r.lease.Owner != want.Owner || !bytes.Equal(r.lease.Data, want.Data)
	token := r.lease.Token
	if !renews {
		token = max(token+1, want.Seen+1, uint64(now.t.UnixMicro()))
	}
	if token > port.MaxToken {
		return port.Lease{}, nil, fmt.Errorf("memory: acquire: lease %q had the largest token that there is: %w", want.Name, port.ErrUnavailable)
	}
	r.lease.Owner, r.lease.Nonce, r.lease.Token, r.lease.Data = want.Owner, want.Nonce, token, bytes.Clone(want.Data)
	r.end = now.after(ttl)
	s.leases.records[want.Name] = r
	if changed {
		s.hint(want.Name)
	}
	return r.shown(now), nil, nil
}

// sweep forgets names that nobody holds and whose next token would be larger anyway.
func (l *leases) sweep(now moment) {
	if len(l.records) < l.most {
		return
	}
	for name, r := range l.records {
		if !r.held(now) && r.lease.Token < uint64(now.t.UnixMicro()) {
			delete(l.records, name)
		}
	}
	l.most = max(2*len(l.records), leastSweep)
}

// term is the record of a lease that is held by this nonce and token, or by this nonce where anyToken leaves it open.
func (l *leases) term(held *port.Lease, anyToken bool, now moment) *record {
	r := l.records[held.Name]
	if r == nil || !r.held(now) || r.lease.Nonce != held.Nonce {
		return nil
	}
	if r.lease.Token != held.Token && !(anyToken && held.Token == 0) {
		return nil
	}
	return r
}

// Renew judges each lease alone.
func (b *Backend) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	leases := make([]port.Lease, len(held))
	if err := port.CheckTTL(b.caps, "renewal", ttl, false); err != nil {
		return leases, all(len(held), fmt.Errorf("memory: renew: %w", err))
	}
	errs := each(ctx, b, "renew", len(held), func(c call) []error {
		return c.eachOf(len(held), func(i int, now moment) (err error) {
			leases[i], err = c.renew(&held[i], ttl, now)
			return err
		})
	})
	for i, err := range errs {
		if err != nil {
			leases[i] = port.Lease{}
		}
	}
	return leases, errs
}

func (c call) renew(held *port.Lease, ttl time.Duration, now moment) (port.Lease, error) {
	if err := held.CheckHeld(false); err != nil {
		return port.Lease{}, fmt.Errorf("memory: renew: %w", err)
	}
	r := c.b.space.leases.term(held, false, now)
	if r == nil {
		return port.Lease{}, c.leaseLost(held)
	}
	r.end = now.after(ttl)
	return r.shown(now), nil
}

// Release judges each lease alone.
func (b *Backend) Release(ctx context.Context, held ...port.Lease) []error {
	return each(ctx, b, "release", len(held), func(c call) []error {
		return c.eachOf(len(held), func(i int, now moment) error { return c.release(&held[i], now) })
	})
}

func (c call) release(held *port.Lease, now moment) error {
	if err := held.CheckHeld(true); err != nil {
		return fmt.Errorf("memory: release: %w", err)
	}
	s := c.b.space
	r := s.leases.term(held, true, now)
	if r == nil {
		return c.leaseLost(held)
	}
	*r = record{lease: port.Lease{Name: r.lease.Name, Token: r.lease.Token}}
	s.hint(held.Name)
	return nil
}

func (c call) leaseLost(held *port.Lease) error {
	return fmt.Errorf("memory: %s: lease %q is not held by this nonce and token: %w", c.name, held.Name, port.ErrLost)
}

// Holders is exact.
func (b *Backend) Holders(ctx context.Context, prefix string) ([]port.Lease, error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("memory: holders: %w", err)
	}
	return do(ctx, b, "holders", func(c call) ([]port.Lease, error) { return b.space.holders(prefix), nil })
}

func (s *space) holders(prefix string) []port.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var list []port.Lease
	for name, r := range s.leases.records {
		if r.held(now) && strings.HasPrefix(name, prefix) {
			l := r.shown(now)
			l.Nonce = ""
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b port.Lease) int { return strings.Compare(a.Name, b.Name) })
	return list
}
