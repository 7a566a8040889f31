package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// ReadLock waits until nobody holds the lock but other readers, and runs fn once while it is held; [Lock] and [TryLock] of the same name exclude
// it. For the rest it is as Lock.
//
// Readers always wait as with Hold.Fair, and a Lock that finds readers does too: so who reads later waits behind who wants to write, and
// neither is starved. Those who read at the same time share the term's token, which is smaller than that of the next who writes: a resource
// that compares tokens refuses what a reader does after that. They also share a TTL, that of whoever came first.
//
// It is for reading that takes long: uncontended it is ten requests. That nobody writes meanwhile is promised where Caps.LinearReads is true;
// elsewhere a reader that begins while another ends may be overlooked.
func ReadLock(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	b, err := h.lock(l)
	if err != nil {
		return err
	}
	r := &reader{bid: b, settings: h.settings()}
	r.ttl = time.Duration(port.Millis(b.terms.Lease)) * time.Millisecond
	q, err := newQueue(b, r.try)
	if err != nil {
		return err
	}
	g, next, err := q.enter(ctx)
	if err != nil {
		return errors.Join(err, r.abandon(ctx))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(next)
	return b.outcome(b.keep(ctx, g, r.renew, func(lost error) { r.leave(ctx, lost) }, fn))
}

// reader is a bid for a part in a lock.
//
// Those who read together are a group. The lock's lease is held in the name of all of them, with a nonce that all know, so who wants to write
// asks for nothing else. Besides, each has a seat and they have a door, which are leases. Who joins gets or renews the lock with the group's nonce,
// takes a seat, and then sees that the door is still held, by its nonce and token. Who leaves gives its seat back; and if nobody sits
// there any more it closes the door, looks again, and only if nobody sits there now, it gives the lock back.
//
// Why nobody loses the lock to a leaver: a door that was closed is never open again, for its token does not come back, and the nonce with which the
// lock is held is made of it. So who joined found the door open before it was closed, and had its seat before that; the list after the
// closing shows it, as long as it believes that it has the seat. That holds for requests that arrive late or twice: the lock of a group
// whose door is closed and whose seats were seen empty after that can be given back at any time.
type reader struct {
	*bid
	settings settings
	ttl      time.Duration // of a group that this one founds

	own   *bid  // for a door that this one opens
	group group // whose door was open when it was last looked at; none where its door is 0
	seat  port.Lease
	held  []port.Lease // what is renewed: the lock, the seat, and the door while it is open
}

// group are those who read together.
type group struct {
	nonce string // of the door
	door  uint64 // its token
}

// groupOf is the group that a lock or a door is held by.
func groupOf(l port.Lease) group {
	n := noteOf(l)
	return group{n.Read, n.Door}
}

// lock is the nonce of the lock's lease.
func (g group) lock() string { return g.nonce + "-" + strconv.FormatUint(g.door, 10) }

// try joins those who read, or is the first of them.
func (r *reader) try(ctx context.Context, c *crowd) (grant, error) {
	defer func() { r.doubt = false }() // what is in doubt is the group's, and leaving takes care of it
	if c != nil && c.door.Token != 0 {
		if err := r.enroll(c.door); err != nil {
			return grant{lease: c.door}, err
		}
	}
	if r.group.door == 0 {
		if g, err := r.open(ctx); err != nil {
			return g, err
		}
	}
	g, err := r.write(ctx, c)
	if errors.Is(err, port.ErrHeld) { // so that the door is open the next time, and only one request away from it
		if door, err := r.open(ctx); err != nil {
			return door, err
		}
	}
	if err != nil {
		return g, err
	}
	g, err = r.sit(ctx, g, c)
	if err != nil {
		return g, errors.Join(err, r.giveUp(ctx))
	}
	return g, nil
}

// open opens a door for those who read, or finds the one that is open.
func (r *reader) open(ctx context.Context) (grant, error) {
	if err := r.keepFor(r.ttl, r.settings); err != nil {
		return grant{}, err
	}
	if r.own == nil {
		r.own = r.again()
		r.own.want.Name, r.own.want.Seen = r.crowdPrefix()+partDoor, 0
		r.own.note = note{TTL: r.note.TTL, Read: r.own.want.Nonce}
	}
	r.group = group{}
	g, err := r.own.acquire(ctx)
	if err != nil && !errors.Is(err, port.ErrHeld) {
		return g, err
	}
	return g, r.enroll(g.lease)
}

// enroll makes this one of the group that has a door. Its lease is that of the others, for each renews it for all.
func (r *reader) enroll(door port.Lease) error {
	n := noteOf(door)
	if n.Read == "" || n.ttl() <= 0 {
		return fmt.Errorf("cluster: %s: the readers' door is held by %q, who does not read: %w", r.what, door.Owner, port.ErrHeld)
	}
	if err := r.keepFor(n.ttl(), r.settings); err != nil {
		return fmt.Errorf("those who read have a lease of %v, and so has this one: %w", n.ttl(), err)
	}
	r.group = group{n.Read, door.Token}
	r.want.Nonce, r.note.Read, r.note.Door = r.group.lock(), r.group.nonce, r.group.door
	return nil
}

// sit makes a lock that was granted to the group this one's own: it takes a seat, and sees that the door was open all the time.
func (r *reader) sit(ctx context.Context, lock grant, c *crowd) (grant, error) {
	if c == nil {
		now, err := r.crowd(ctx)
		if err != nil {
			return lock, err
		}
		c = &now
	}
	seat := r.place(partReads)
	s, err := seat.take(ctx, c.reading)
	if err != nil {
		return s, errors.Join(err, seat.forget(ctx))
	}
	r.seat = s.lease
	r.held = []port.Lease{lock.lease, r.seat, {Name: r.crowdPrefix() + partDoor, Nonce: r.group.nonce, Token: r.group.door}}
	within, stop := context.WithTimeout(ctx, r.terms.Lease)
	defer stop()
	g := grant{sent: r.terms.Clock.Now(), lease: lock.lease}
	_, errs := unshared(r.leases).Renew(within, r.terms.Lease, r.held...)
	err = errors.Join(errs...)
	if errors.Is(err, port.ErrLost) {
		return g, fmt.Errorf("cluster: %s: those who read are leaving: %w: %w", r.what, port.ErrHeld, err)
	}
	return g, err
}

// renew is hold's. That the door was closed matters to who comes later only.
func (r *reader) renew(ctx context.Context) error {
	_, errs := r.leases.Renew(ctx, r.terms.Lease, r.held...)
	if len(errs) > 2 && errors.Is(errs[2], port.ErrLost) {
		r.held = r.held[:2]
	}
	return errors.Join(errs[0], errs[1])
}

// leave gives back what was held, best effort: it ends by itself.
func (r *reader) leave(ctx context.Context, lost error) {
	if err := r.giveUp(ctx); err != nil && lost == nil {
		r.log.WarnContext(ctx, "the lock could not be given back; it ends by itself", "what", r.what, "id", r.want.Owner, "within", r.terms.Lease, "error", err)
	}
}

// giveUp gives the seat back, and the lock where nobody reads any more.
func (r *reader) giveUp(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), r.terms.Period)
	defer stop()
	if r.seat.Token != 0 {
		if err := r.rid(ctx, r.seat); err != nil {
			return err
		}
	}
	left := r.group
	r.seat, r.group = port.Lease{}, group{}
	if left.door == 0 {
		return nil
	}
	_, err := r.sweep(ctx, left)
	return err
}

// abandon is giveUp for who did not get the lock, and gives back a door that may have been opened.
func (r *reader) abandon(ctx context.Context) error {
	err := r.giveUp(ctx)
	if r.own != nil && err == nil {
		err = r.own.forget(ctx)
	}
	if err != nil {
		return fmt.Errorf("cluster: %s may have been granted, and then ends by itself within %v: %w: %w", r.what, r.terms.Lease, port.ErrUncertain, err)
	}
	return nil
}

// sweep gives the lock back for a group that nobody is of any more, and reports whether nobody was.
func (b *bid) sweep(ctx context.Context, g group) (bool, error) {
	ctx, stop := context.WithTimeout(ctx, b.terms.Period)
	defer stop()
	c, err := b.crowd(ctx)
	if err != nil || len(c.reading) > 0 {
		return false, err
	}
	if err := b.rid(ctx, port.Lease{Name: b.crowdPrefix() + partDoor, Nonce: g.nonce, Token: g.door}); err != nil {
		return false, err // it may be open
	}
	if c, err = b.crowd(ctx); err != nil || len(c.reading) > 0 {
		return false, err
	}
	if err := b.rid(ctx, port.Lease{Name: b.want.Name, Nonce: g.lock()}); err != nil {
		return false, err
	}
	return true, nil
}

// rid releases leases, and answers nil only if none of them is held any more.
func (b *bid) rid(ctx context.Context, held ...port.Lease) error {
	var err error
	for range 2 {
		err = nil
		for _, e := range b.leases.Release(ctx, held...) {
			if !errors.Is(e, port.ErrLost) {
				err = errors.Join(err, e)
			}
		}
		if err == nil || final(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}
