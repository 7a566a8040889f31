package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// Hold is what is to be held, and by whom. Only Name is required.
type Hold struct {
	Name  string
	ID    string            // who, for people to read; default host-pid-nonce
	Meta  map[string]string // what the holder tells of itself; default nothing
	TTL   time.Duration     // how long after a crash another gets it; default 15 s
	Drain time.Duration     // what fn needs to stop, a fiftieth of TTL up to about a quarter; default TTL/5
	Slots int               // of a Semaphore alone: how many hold it at once, the same number for all callers; default 1
	Fair  bool              // of Lock and TryLock: nobody overtakes who came before and is fair too; default false
	Log   *slog.Logger      // what was decided; default slog.Default()

	world world
}

func (h Hold) bid(l port.Leases, what, lease string) (*bid, error) {
	return newBid(l, what+` "`+h.Name+`"`, h.Name, lease, h.settings()) // a name that was checked has nothing to quote
}

func (h Hold) settings() settings {
	return settings{id: h.ID, meta: h.Meta, ttl: h.TTL, drain: h.Drain, log: h.Log, world: h.world}
}

func (h Hold) lock(l port.Leases) (*bid, error) {
	lease, err := leaseName(kindLock, h.Name)
	if err != nil {
		return nil, err
	}
	if h.Slots != 0 {
		return nil, fmt.Errorf("cluster: lock %q: Slots %d is for a semaphore: %w", h.Name, h.Slots, port.ErrInvalid)
	}
	return h.bid(l, "lock", lease)
}

// Lock waits until the lock is free, and runs fn once while it is held. Uncontended it is two requests: one to get it, one to give it back.
//
// The ctx of fn ends as that of [Lead] does, and fn has Drain to return from then on. Lock returns fn's error after the lock was given back;
// joined to it, one that matches [port.ErrLost] when the lock was lost before fn returned: then another may have had it in the
// meantime. Where ctx ends while Lock waits, the error matches ctx's cause and names the holder. A backend that does not answer is asked
// on until ctx ends; [port.ErrInvalid], [port.ErrUnsupported] and [port.ErrClosed] are returned. A panic of fn passes through after the
// lock was given back.
//
// With Hold.Fair those who wait get it in the order in which they came, which costs one request more, and when others wait a ticket that each renews.
// Who dies in the queue is passed over when its ticket ends, at most TTL later; who is stopped or cut off for so long that it loses its ticket
// starts again at the end. A Lock that is not fair may come between, and holds up nobody for longer than it holds the lock: where
// the order matters, all callers are fair. A Lock that finds readers ([ReadLock]) waits in the queue in any case.
func Lock(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	b, err := h.lock(l)
	if err != nil {
		return err
	}
	if h.Fair {
		q, err := newQueue(b, b.write)
		if err != nil {
			return err
		}
		return q.lock(ctx, q.enter, fn)
	}
	g, err := b.alone(ctx)
	if err != nil && !final(err) {
		g, err = b.contend(ctx, hearing(b.want.Name), b.alone, g, err)
	}
	if err == nil {
		return b.outcome(b.run(ctx, g, fn))
	}
	if errors.Is(err, errReaders) {
		if q, err := newQueue(b, b.write); err == nil {
			return q.lock(ctx, q.win, fn)
		}
	}
	return errors.Join(err, b.forget(ctx))
}

// alone asks for a lock that is no matter of readers.
func (b *bid) alone(ctx context.Context) (grant, error) {
	g, err := b.acquire(ctx)
	if errors.Is(err, port.ErrHeld) && noteOf(g.lease).Read != "" {
		return g, errReaders
	}
	return g, err
}

// lock runs fn with the lock that get gets.
func (q *queue) lock(ctx context.Context, get func(context.Context) (grant, func(), error), fn func(context.Context, Term) error) error {
	g, next, err := get(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(next)
	return q.outcome(q.run(ctx, g, fn))
}

// TryLock is Lock without waiting: [port.ErrHeld] with the holder's ID when another holds it; with Hold.Fair also when another waits for it. A
// backend that does not answer is asked twice, and what the requests may have got is given back.
func TryLock(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	b, err := h.lock(l)
	if err != nil {
		return err
	}
	if h.Fair {
		c, err := b.crowd(ctx)
		if err != nil {
			return err
		}
		if len(c.waiting) > 0 {
			return fmt.Errorf("cluster: %s: %q waits for it: %w", b.what, c.waiting[0].Owner, port.ErrHeld)
		}
	}
	g, err := b.try(ctx)
	if err != nil {
		return err
	}
	return b.outcome(b.run(ctx, g, fn))
}

// try acquires without waiting for another holder.
func (b *bid) try(ctx context.Context) (grant, error) {
	g, err := b.acquire(ctx)
	if err != nil && !errors.Is(err, port.ErrHeld) && !final(err) {
		g, err = b.acquire(ctx)
	}
	if err != nil {
		return grant{}, errors.Join(fmt.Errorf("cluster: %s: %w", b.what, err), b.forget(ctx))
	}
	return g, nil
}

// outcome is what a lock's caller hears of how fn and the lock ended.
func (b *bid) outcome(lost, err error) error {
	if lost != nil && !errors.Is(err, lost) {
		err = errors.Join(err, lost)
	}
	if lost != nil {
		err = fmt.Errorf("cluster: %s: %w", b.what, err)
	}
	return err
}
