package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/musterhq/muster/port"
)

const maxSlots = 1000

// Semaphore waits until one of Hold.Slots is free, and runs fn once while it is held; for the rest it is as [Lock]. Each slot is a
// lease with fencing tokens of its own, so Term.Fence is about the slot. Callers that give different numbers of slots hold,
// together, as many as the largest number says.
func Semaphore(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	h.Slots = cmp.Or(h.Slots, 1)
	if h.Slots < 1 || h.Slots > maxSlots {
		return fmt.Errorf("cluster: semaphore %q: %d slots, 1 to %d are allowed: %w", h.Name, h.Slots, maxSlots, port.ErrInvalid)
	}
	if h.Fair {
		return fmt.Errorf("cluster: semaphore %q: Fair is for a lock: %w", h.Name, port.ErrInvalid)
	}
	last, err := leaseName(kindSlot, h.Name, strconv.Itoa(h.Slots-1))
	if err != nil {
		return err
	}
	b, err := h.bid(l, "semaphore", last)
	if err != nil {
		return err
	}
	s := slots{bid: b, prefix: last[:strings.LastIndexByte(last, '.')+1], n: h.Slots}
	s.pick(int(b.terms.Random() * float64(s.n)))
	g, err := b.campaign(ctx, hearing(s.prefix), s.try)
	if err != nil {
		return errors.Join(err, b.forget(ctx))
	}
	return b.outcome(b.run(ctx, g, fn))
}

// slots is a bid for any one of several leases.
type slots struct {
	*bid   // for the slot that was picked
	prefix string
	n      int
	listed bool // the slots were looked at once; before that the picked one may well be free
}

// pick sets the bid on a slot. Its tokens are its own.
func (s *slots) pick(slot int) {
	s.want.Name, s.want.Seen = s.prefix+strconv.Itoa(slot), 0
}

// try asks for the picked slot, and then for those that the list shows as free. A slot that may have been granted is asked for
// alone until that is known, so that nobody holds two.
func (s *slots) try(ctx context.Context) (grant, error) {
	if s.doubt || !s.listed {
		g, err := s.acquire(ctx)
		if !errors.Is(err, port.ErrHeld) {
			return g, err
		}
		s.doubt, s.listed = false, true
	}
	held, err := s.leases.Holders(ctx, s.prefix)
	if err != nil {
		return grant{}, err
	}
	taken := make([]bool, s.n)
	next := grant{lease: port.Lease{TTL: s.terms.Lease}}
	for _, h := range held {
		slot, err := strconv.Atoi(strings.TrimPrefix(h.Name, s.prefix))
		if err != nil || slot < 0 || slot >= s.n {
			continue // of a longer name, or of a caller with more slots
		}
		taken[slot] = true
		if h.TTL <= next.lease.TTL {
			next.lease = h
		}
	}
	err = fmt.Errorf("cluster: %s: all %d slots are taken: %w", s.what, s.n, port.ErrHeld)
	from := int(s.terms.Random() * float64(s.n))
	for i := range s.n {
		slot := (from + i) % s.n
		if taken[slot] {
			continue
		}
		s.pick(slot)
		g, err := s.acquire(ctx)
		if !errors.Is(err, port.ErrHeld) {
			return g, err
		}
		if g.lease.TTL <= next.lease.TTL {
			next = g
		}
	}
	return next, err
}
