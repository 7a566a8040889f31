package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// rate is by how much a clock may run faster or slower than another: a hundredth.
const rate = 100

// leaseState is the record of a name. It is never deleted, so that tokens only grow.
type leaseState struct {
	held  bool
	token uint64
	ttl   int64 // milliseconds, from the record's time on
	owner string
	nonce string
	data  []byte
}

func (s *leaseState) encode() []byte {
	b := []byte{flag(s.held)}
	b = appendUint(b, s.token)
	b = appendUint(b, s.ttl)
	b = appendBytes(b, s.owner)
	b = appendBytes(b, s.nonce)
	return appendBytes(b, s.data)
}

func decodeLease(c *cell) (*leaseState, error) {
	if !c.found {
		return &leaseState{}, nil
	}
	r := &reader{b: c.data}
	s := &leaseState{held: r.byte() != 0, token: r.uint(), ttl: int64(r.uint()), owner: string(r.bytes()), nonce: string(r.bytes()), data: r.bytes()}
	return s, r.err()
}

// over is when the term ends, by the server's time.
func (s *leaseState) over(at time.Time) time.Time {
	return at.Add(time.Duration(s.ttl) * time.Millisecond)
}

// left is what the term that was written at has left, by the server's time; 0 when it is surely over.
func (b *Backend) leaseLeft(s *leaseState, at time.Time) time.Duration {
	early, _ := b.clock.now()
	return max(0, min(s.over(at).Sub(early), time.Duration(s.ttl)*time.Millisecond).Truncate(time.Millisecond))
}

func (s *leaseState) lease(name string, left time.Duration) port.Lease {
	return port.Lease{Name: name, Owner: s.owner, Token: s.token, Data: slices.Clone(s.data), TTL: left}
}

// sighting is since when this process sees a record of a lease unchanged, by its own clock.
type sighting struct {
	rev   uint64
	since time.Time
}

// watchRecord notes the record, and tells how long it has been seen unchanged.
func (b *Backend) watchRecord(name string, rev uint64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seen[name]
	if s.rev != rev {
		s = sighting{rev: rev, since: time.Now()}
		b.seen[name] = s
	}
	return time.Since(s.since)
}

// Acquire takes what another nonce holds only when this process has seen its record unchanged for the whole lease, and a
// hundredth more, by its own clock. A record that looks over by the server's time is observed so within ctx; one that does not is
// answered at once.
func (b *Backend) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	if err := want.Check(b.caps, ttl); err != nil {
		return port.Lease{}, fmt.Errorf("nats: acquire: %w", err)
	}
	for {
		if err := b.alive(ctx, "acquire"); err != nil {
			return port.Lease{}, err
		}
		a := &acquiring{b: b, want: &want, ttl: ttl}
		o := &op{what: "acquire", writes: true, decide: a.decide}
		if err := b.alone(ctx, o); err != nil {
			return port.Lease{}, err
		}
		if a.err != nil {
			return a.lease, a.err
		}
		if a.wait == 0 {
			if a.changed {
				b.hintLease(want.Name)
			}
			return a.lease, nil
		}
		bell, err := b.bells.listen(ctx, b.space.leaseHint(want.Name))
		if err != nil {
			return port.Lease{}, b.fail(ctx, "acquire", err, false)
		}
		if err := b.wait(ctx, "acquire", bell, a.wait); err != nil {
			return a.lease, fmt.Errorf("%w: %w", err, port.ErrHeld)
		}
	}
}

// acquiring is one try of Acquire.
type acquiring struct {
	b       *Backend
	want    *port.Lease
	ttl     time.Duration
	lease   port.Lease
	wait    time.Duration // observe the record for so long
	changed bool
	err     error
}

func (a *acquiring) decide(t *tx) error {
	a.lease, a.wait, a.changed, a.err = port.Lease{}, 0, false, nil
	b, want := a.b, a.want
	c, err := t.get(b.space.lease(want.Name))
	if err != nil {
		return err
	}
	s, err := decodeLease(c)
	if err != nil {
		return fmt.Errorf("lease %q: %w", want.Name, err)
	}
	left := b.leaseLeft(s, c.at)
	token := s.token
	switch {
	case s.held && s.nonce == want.Nonce && left > 0:
		a.changed = s.owner != want.Owner || string(s.data) != string(want.Data)
	case s.held && s.nonce != want.Nonce:
		need := time.Duration(s.ttl)*time.Millisecond + time.Duration(s.ttl)*time.Millisecond/rate
		seen := b.watchRecord(want.Name, c.rev)
		if seen >= need && left == 0 {
			token, a.changed = b.nextToken(s, want), true
			break
		}
		a.lease = s.lease(want.Name, max(left, time.Millisecond))
		if left > 0 {
			a.err = fmt.Errorf("nats: acquire: lease %q is held by %q: %w", want.Name, s.owner, port.ErrHeld)
		}
		a.wait = max(need-seen, time.Millisecond)
		return nil
	default:
		token, a.changed = b.nextToken(s, want), true
	}
	if token > port.MaxToken {
		a.err = fmt.Errorf("nats: acquire: lease %q had the largest token that there is: %w", want.Name, port.ErrUnavailable)
		return nil
	}
	s = &leaseState{held: true, token: token, ttl: port.Millis(a.ttl), owner: want.Owner, nonce: want.Nonce, data: want.Data}
	t.put(b.space.lease(want.Name), write{data: s.encode()})
	a.lease = s.lease(want.Name, time.Duration(s.ttl)*time.Millisecond)
	a.lease.Nonce = want.Nonce
	return nil
}

func (b *Backend) nextToken(s *leaseState, want *port.Lease) uint64 {
	early, _ := b.clock.now()
	return max(s.token+1, want.Seen+1, uint64(early.UnixMicro()))
}

// hintLease tells who waits for the lease to look again.
func (b *Backend) hintLease(name string) {
	err := b.conn.Publish(b.space.leaseHint(name), nil)
	if err == nil && b.cluster != "" {
		err = b.keepLeaseHint(name)
	}
	if err != nil {
		return // nobody is told: polling is the truth
	}
}

// Renew judges each lease alone; those of one call are one write.
func (b *Backend) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	leases := make([]port.Lease, len(held))
	if err := port.CheckTTL(b.caps, "renewal", ttl, false); err != nil {
		return leases, all(len(held), fmt.Errorf("nats: renew: %w", err))
	}
	errs := b.terms(ctx, "renew", held, false, func(t *tx, i int, s *leaseState) {
		s.ttl = port.Millis(ttl)
		t.put(b.space.lease(held[i].Name), write{data: s.encode()})
		leases[i] = s.lease(held[i].Name, time.Duration(s.ttl)*time.Millisecond)
		leases[i].Nonce = held[i].Nonce
	})
	for i, err := range errs {
		if err != nil {
			leases[i] = port.Lease{}
		}
	}
	return leases, errs
}

// Release judges each lease alone; those of one call are one write.
func (b *Backend) Release(ctx context.Context, held ...port.Lease) []error {
	errs := b.terms(ctx, "release", held, true, func(t *tx, i int, s *leaseState) {
		*s = leaseState{token: s.token}
		t.put(b.space.lease(held[i].Name), write{data: s.encode()})
	})
	for i, err := range errs {
		if err == nil {
			b.hintLease(held[i].Name)
		}
	}
	return errs
}

// terms changes each lease that is held by this nonce and token.
func (b *Backend) terms(ctx context.Context, what string, held []port.Lease, anyToken bool, change func(t *tx, i int, s *leaseState)) []error {
	if err := b.alive(ctx, what); err != nil {
		return all(len(held), err)
	}
	errs := make([]error, len(held))
	for from := 0; from < len(held); from += multiSubjects {
		to := min(from+multiSubjects, len(held))
		o := &op{what: what, writes: true, decide: func(t *tx) error {
			for i := from; i < to; i++ {
				if errs[i] = held[i].CheckHeld(anyToken); errs[i] == nil {
					t.want(b.space.lease(held[i].Name))
				}
			}
			for i := from; i < to; i++ {
				if errs[i] != nil {
					errs[i] = fmt.Errorf("nats: %s: %w", what, errs[i])
					continue
				}
				s, err := t.term(&held[i], anyToken)
				if errors.Is(err, port.ErrLost) {
					errs[i] = fmt.Errorf("nats: %s: lease %q is not held by this nonce and token: %w", what, held[i].Name, err)
					continue
				}
				if err != nil {
					return err
				}
				change(t, i, s)
			}
			return nil
		}}
		if err := b.alone(ctx, o); err != nil {
			for i := from; i < to; i++ {
				if errs[i] == nil {
					errs[i] = err
				}
			}
		}
	}
	return errs
}

// term is the record of a lease that is held by this nonce and token; ErrLost when it is not.
func (t *tx) term(held *port.Lease, anyToken bool) (*leaseState, error) {
	c, err := t.get(t.b.space.lease(held.Name))
	if err != nil {
		return nil, err
	}
	s, err := decodeLease(c)
	if err != nil {
		return nil, fmt.Errorf("lease %q: %w", held.Name, err)
	}
	if !s.held || s.nonce != held.Nonce || t.b.leaseLeft(s, c.at) == 0 {
		return nil, port.ErrLost
	}
	if s.token != held.Token && !(anyToken && held.Token == 0) {
		return nil, port.ErrLost
	}
	return s, nil
}

// Holders judges by the server's time.
func (b *Backend) Holders(ctx context.Context, prefix string) ([]port.Lease, error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("nats: holders: %w", err)
	}
	if err := b.alive(ctx, "holders"); err != nil {
		return nil, err
	}
	var subjects []string
	root := b.space.lease("")
	err := b.subjects(ctx, b.space.leases(), func(s string) bool {
		if strings.HasPrefix(s, root+prefix) {
			subjects = append(subjects, s)
		}
		return true
	})
	if err != nil {
		return nil, b.fail(ctx, "holders", err, false)
	}
	found, err := b.cells(ctx, subjects)
	if err != nil {
		return nil, b.fail(ctx, "holders", err, false)
	}
	var list []port.Lease
	for subject, r := range found {
		s, err := decodeLease(&cell{found: !r.gone, data: r.data})
		if err != nil {
			return nil, fmt.Errorf("nats: holders: %s: %w: %w", subject, port.ErrUnavailable, err)
		}
		if left := b.leaseLeft(s, r.at); s.held && left > 0 {
			list = append(list, s.lease(strings.TrimPrefix(subject, root), left))
		}
	}
	slices.SortFunc(list, func(a, b port.Lease) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
