package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Log   *slog.Logger      // what was decided; default slog.Default()

	world world
}

func (h Hold) bid(l port.Leases, what, lease string) (*bid, error) {
	return newBid(l, fmt.Sprintf("%s %q", what, h.Name), h.Name, lease,
		settings{id: h.ID, meta: h.Meta, ttl: h.TTL, drain: h.Drain, log: h.Log, world: h.world})
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
func Lock(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	b, err := h.lock(l)
	if err != nil {
		return err
	}
	g, err := b.win(ctx)
	if err != nil {
		return err
	}
	return b.once(ctx, g, fn)
}

// TryLock is Lock without waiting: [port.ErrHeld] with the holder's ID when another holds it. A backend that does not answer is asked twice,
// and what the requests may have got is given back.
func TryLock(ctx context.Context, l port.Leases, h Hold, fn func(context.Context, Term) error) error {
	b, err := h.lock(l)
	if err != nil {
		return err
	}
	g, err := b.try(ctx)
	if err != nil {
		return err
	}
	return b.once(ctx, g, fn)
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

// once runs fn with a grant.
func (b *bid) once(ctx context.Context, g grant, fn func(context.Context, Term) error) error {
	lost, err := b.run(ctx, g, fn)
	if lost != nil && !errors.Is(err, lost) {
		err = errors.Join(err, lost)
	}
	if lost != nil {
		err = fmt.Errorf("cluster: %s: %w", b.what, err)
	}
	return err
}
