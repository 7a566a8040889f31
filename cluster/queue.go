package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// errReaders is answered to who asks for a lock that readers hold, and does not wait in the queue yet.
var errReaders = errors.New("readers hold it")

// queue is a bid for a lock that waits for its turn. Who waits has a ticket, a lease of its own, and whoever has the smallest token of those
// who live is first. A ticket is drawn after the others were listed, with a token larger than theirs, so who was listed is
// before (the doorway of Lamport's bakery). Only who is first, or saw nobody wait, asks for the lock; who holds it is decided by
// the lock's own lease, whatever the queue looks like.
//
// Each looks only at who is directly in front (as the lock recipe of ZooKeeper has it), so the end of one wakes one.
type queue struct {
	*bid
	// try asks for what is waited for, as [bid.acquire] does. It gets the crowd where that was just listed.
	try func(context.Context, *crowd) (grant, error)

	ticket place
	mine   port.Lease
	first  bool                   // nobody is in front, and nobody will be: later tickets have larger tokens
	unsure bool                   // the last request may have got it
	about  atomic.Pointer[string] // the lease whose end is waited for
}

// newQueue is a queue for the lock of a bid. Its names may be too long where the lock's is not.
func newQueue(b *bid, try func(context.Context, *crowd) (grant, error)) (*queue, error) {
	if _, err := leaseName(kindShare, b.name, partWaits, fmt.Sprint(maxPlaces-1)); err != nil {
		return nil, err
	}
	q := &queue{bid: b, try: try, ticket: b.place(partWaits)}
	q.ticket.terms.Overran = nil // to wait is no work that somebody could overrun
	return q, nil
}

// enter gets the lock at once where nobody waits for it, or else waits. What it returns beside the grant is to be called while the lock is
// held, and lets the next one come to the front.
func (q *queue) enter(ctx context.Context) (grant, func(), error) {
	c, err := q.crowd(ctx)
	if err == nil && len(c.waiting) == 0 {
		var g grant
		if g, err = q.attempt(ctx, &c); err == nil {
			return g, func() {}, nil
		}
	}
	if final(err) {
		return grant{}, nil, errors.Join(err, q.forget(ctx))
	}
	return q.win(ctx)
}

// win waits in the queue until it is first and try succeeds. Who loses its ticket, because it was stopped or cut off for too long, starts
// again at the end.
func (q *queue) win(ctx context.Context) (grant, func(), error) {
	for {
		t, err := q.ticket.campaign(ctx, hearing(q.ticket.prefix), q.draw)
		if err != nil {
			return grant{}, nil, errors.Join(err, q.ticket.forget(ctx), q.forget(ctx))
		}
		var g grant
		ticket := q.ticket
		out, err := hold.Keep(ctx, ticket.terms.Config, t.sent, ticket.renewal(t), func(ctx context.Context, _ *hold.Hold) (err error) {
			q.mine, q.first = t.lease, false
			hear := ears{[]string{q.ticket.prefix, q.want.Name}, q.hears}
			g, err = q.campaign(ctx, hear, q.turn)
			return err
		})
		drop := func() { ticket.release(ctx, t, out.Lost) }
		if err == nil {
			return g, drop, nil
		}
		drop()
		if out.Lost == nil || final(err) || ctx.Err() != nil {
			if out.Lost != nil && ctx.Err() != nil {
				err = fmt.Errorf("cluster: waiting for %s: %w", q.what, context.Cause(ctx))
			}
			return grant{}, nil, errors.Join(err, q.forget(ctx))
		}
		// What the last request may have got is of no use at the end of the queue.
		q.log.WarnContext(ctx, "lost its place in the queue; waiting again at the end", "what", q.what, "id", q.want.Owner,
			"lost", out.Lost, "error", q.forget(ctx))
		q.unsure = false
		q.ticket.bid = ticket.again()
	}
}

// draw takes a ticket.
func (q *queue) draw(ctx context.Context) (grant, error) {
	c, err := q.crowd(ctx)
	if err != nil {
		return grant{}, err
	}
	return q.ticket.take(ctx, c.waiting)
}

// hears reports whether a hint matters: that of who is in front, or of the lock.
func (q *queue) hears(lease string) bool {
	about := q.about.Load()
	return about == nil || *about == lease
}

// turn asks for the lock when it is this one's turn. Else it answers port.ErrHeld with who is in front.
func (q *queue) turn(ctx context.Context) (grant, error) {
	if q.first {
		return q.attempt(ctx, nil)
	}
	if q.unsure { // nobody was in front when it asked, and it may hold it
		if g, err := q.learn(q.acquire(ctx)); q.unsure || err == nil {
			return g, err
		}
	}
	for {
		c, err := q.crowd(ctx)
		if err != nil {
			return grant{}, err
		}
		front, ok := c.ahead(q.mine)
		if !ok {
			q.first = true
			q.about.Store(&q.want.Name)
			return q.attempt(ctx, &c)
		}
		if was := q.about.Swap(&front.Name); was != nil && *was == front.Name {
			return grant{lease: front, ahead: true}, fmt.Errorf("cluster: %s: %q is in front: %w", q.what, front.Owner, port.ErrHeld)
		}
		// A hint about this one may have come while nobody listened for it: once more.
	}
}

// attempt tries once.
func (q *queue) attempt(ctx context.Context, c *crowd) (grant, error) { return q.learn(q.try(ctx, c)) }

// learn notes whether a request may have got it.
func (q *queue) learn(g grant, err error) (grant, error) {
	q.unsure = err != nil && q.doubt && !errors.Is(err, port.ErrHeld)
	return g, err
}

// write is how who wants the lock for itself asks for it when it is its turn. Where readers have left it behind it takes that away.
func (b *bid) write(ctx context.Context, _ *crowd) (grant, error) {
	g, err := b.acquire(ctx)
	if !errors.Is(err, port.ErrHeld) || noteOf(g.lease).Read == "" {
		return g, err
	}
	if swept, fault := b.sweep(ctx, groupOf(g.lease)); !swept || fault != nil {
		return g, err // it is asked again when they are through, or when the lease ends
	}
	return b.acquire(ctx)
}
