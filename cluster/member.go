package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// Member is one process of the fleet, as it announces itself and as others see it.
type Member struct {
	ID   string                   // one process at a time has it; default host-pid-nonce
	Meta map[string]string        // what the member tells of itself, such as its address; default nothing
	TTL  time.Duration            // how long after a crash it counts as expired; default 15 s
	Tell func() map[string]string // asked before joining and at each heartbeat, a third of TTL apart, for what Meta is from then on; default Meta as it is
	Log  *slog.Logger             // what was decided: joined, lost; default slog.Default()

	Incarnation uint64    // from Members and Watch: grows each time that the ID joins; nothing to Join
	Since       time.Time // from Members and Watch: when it joined, by its own clock; nothing to Join

	world world
}

// Join makes the process a member until ctx ends, and then takes leave, so that others see it as left and not as expired. A membership that
// was lost, because the backend could not be reached for too long, is joined again as a new incarnation.
//
// An ID that another has is waited for as long as that may be a process that has crashed. Then it is [port.ErrHeld]: two processes must
// not share one. A backend that does not answer is asked on; [port.ErrInvalid], [port.ErrUnsupported] and [port.ErrClosed] are
// returned. Join returns nil when ctx ended and leave was taken, and an error when leave could not be taken.
func Join(ctx context.Context, l port.Leases, m Member) error {
	if m.ID == "" {
		m.ID = defaultID()
	}
	lease, err := leaseName(kindMember, m.ID)
	if err != nil {
		return err
	}
	b, err := newBid(l, fmt.Sprintf("member %q", m.ID), m.ID, lease, settings{id: m.ID, meta: m.Meta, ttl: m.TTL, log: m.Log, world: m.world})
	if err != nil {
		return err
	}
	for ; ; b = b.again() {
		if m.Tell != nil {
			b.note.Meta = m.Tell()
		}
		s := seat{bid: b, tell: m.Tell}
		g, err := b.campaign(ctx, hearing(lease), s.try)
		if err != nil {
			return b.ended(ctx, errors.Join(err, b.forget(ctx)))
		}
		b.log.InfoContext(ctx, "joined", "what", b.what, "incarnation", g.lease.Token)
		out, err := hold.Keep(ctx, b.terms.Config, g.sent, s.renewal(g), func(ctx context.Context, _ *hold.Hold) error {
			<-ctx.Done()
			return nil
		})
		if out.Lost == nil && err == nil {
			return s.leave(ctx, g)
		}
		b.log.WarnContext(ctx, "not a member any more", "what", b.what, "incarnation", g.lease.Token, "lost", out.Lost)
		b.release(ctx, g, out.Lost)
	}
}

// seat is a bid for an ID.
type seat struct {
	*bid
	tell  func() map[string]string
	other uint64       // the incarnation that has the ID
	since hold.Instant // when it was first seen

	// What the backend may have is what the last request carried, so a heartbeat whose outcome is unknown tells again.
	told atomic.Pointer[map[string]string]
}

// try acquires the ID, also from one who has left.
func (s *seat) try(ctx context.Context) (grant, error) {
	s.note.Chain = 0 // only who comes directly after one that left knows that it did
	g, err := s.acquire(ctx)
	if !errors.Is(err, port.ErrHeld) {
		return g, err
	}
	n := noteOf(g.lease)
	if n.Left != "" {
		if gone := s.succeed(ctx, g.lease, n); gone != nil {
			return g, gone
		}
		return s.acquire(ctx)
	}
	now := s.terms.Clock.Now()
	if s.other != g.lease.Token {
		s.other, s.since = g.lease.Token, now
		return g, err
	}
	ttl := n.ttl()
	if ttl <= 0 {
		ttl = s.terms.Lease
	}
	if now.Sub(s.since) > ttl+ttl/20+s.terms.Period {
		return g, fmt.Errorf("cluster: %s is alive in another process, and an ID is for one: %w: %w", s.what, port.ErrInvalid, err)
	}
	return g, err
}

// succeed takes the place of an incarnation that has left, and remembers that it had.
func (s *seat) succeed(ctx context.Context, gone port.Lease, n note) error {
	err := s.leases.Release(ctx, port.Lease{Name: gone.Name, Nonce: n.Left, Token: gone.Token})[0]
	if err != nil {
		return err
	}
	s.note.Chain = n.Chain
	if n.Chain == 0 {
		s.note.Chain = gone.Token
	}
	return nil
}

// renewal heartbeats; where there is something new to tell, by an Acquire with the same nonce, which renews and tells it.
func (s *seat) renewal(g grant) func(context.Context) error {
	plain := s.bid.renewal(g)
	s.told.Store(&s.note.Meta)
	return func(ctx context.Context) error {
		if s.tell == nil {
			return plain(ctx)
		}
		meta := s.tell()
		if told := s.told.Load(); told != nil && maps.Equal(meta, *told) {
			return plain(ctx)
		}
		s.told.Store(nil)
		n := s.note
		n.Meta = meta
		want := s.want
		want.Data = n.encode()
		got, err := s.leases.Acquire(ctx, want, s.terms.Lease)
		switch {
		case errors.Is(err, port.ErrHeld):
			return fmt.Errorf("%w: %w", port.ErrLost, err)
		case err != nil:
			return err
		case got.Token != g.lease.Token:
			// It had ended, and this was a grant of its own, of which nobody has heard: what was held is lost.
			return errors.Join(fmt.Errorf("the membership had ended: %w", port.ErrLost), s.giveBack(ctx, got))
		}
		s.told.Store(&meta)
		return nil
	}
}

// leave puts a farewell in the place of the member for one TTL: whoever looks at least that often sees that it left. Until then who
// joins under the same ID may release it by the nonce that it tells.
func (s *seat) leave(ctx context.Context, g grant) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), s.terms.Period)
	defer stop()
	n := s.note
	n.Left = s.want.Nonce
	want := s.want
	want.Data = n.encode()
	var err error
	for range 2 {
		var got port.Lease
		got, err = s.leases.Acquire(ctx, want, s.terms.Lease)
		if err == nil && got.Token != g.lease.Token {
			return errors.Join(fmt.Errorf("cluster: %s had expired before it left: %w", s.what, port.ErrLost), s.giveBack(ctx, got))
		}
		if err == nil || errors.Is(err, port.ErrHeld) || final(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("cluster: %s could not take leave and will be seen as expired: %w", s.what, err)
	}
	s.log.InfoContext(ctx, "left", "what", s.what, "incarnation", g.lease.Token)
	return nil
}

// Members lists who is there, by ID. It is what the backend's list says (an estimate where Caps.LinearReads is false).
func Members(ctx context.Context, l port.Leases) ([]Member, error) {
	held, err := l.Holders(ctx, kindMember+".")
	if err != nil {
		return nil, fmt.Errorf("cluster: members: %w", err)
	}
	var all []Member
	for _, h := range held {
		if n := noteOf(h); n.Left == "" {
			all = append(all, member(h, n))
		}
	}
	return all, nil
}

func member(l port.Lease, n note) Member {
	return Member{
		ID: strings.TrimPrefix(l.Name, kindMember+"."), Meta: n.Meta, TTL: n.ttl(),
		Incarnation: l.Token, Since: n.since(),
	}
}
