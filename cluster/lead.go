package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/musterhq/muster/port"
)

// Candidate is who wants to lead. The zero value is a candidate of the default election.
type Candidate struct {
	Election string            // default "default"
	ID       string            // who, for people to read; default host-pid-nonce
	Meta     map[string]string // what the leader tells of itself, such as its address; default nothing
	TTL      time.Duration     // how long after a crash another leads; default 15 s
	Drain    time.Duration     // what fn needs to stop, a fiftieth of TTL up to about a quarter; default TTL/5
	Log      *slog.Logger      // what was decided: terms won and lost; default slog.Default()

	world world
}

func (c Candidate) bid(l port.Leases) (*bid, error) {
	c.Election = cmp.Or(c.Election, "default")
	lease, err := leaseName(kindLead, c.Election)
	if err != nil {
		return nil, err
	}
	return newBid(l, fmt.Sprintf("election %q", c.Election), c.Election, lease,
		settings{id: c.ID, meta: c.Meta, ttl: c.TTL, drain: c.Drain, log: c.Log, world: c.world})
}

// Lead runs for an election until ctx ends, and runs fn each time that it is won.
//
// The ctx of fn ends when ctx does, with its cause, and when the term is lost, with a cause that matches [port.ErrLost]: by this process's
// own clock, at the latest Drain before the lease can end, counted from before the last successful renewal was sent, whatever
// the network does. From then on fn has Drain to return. Term.Held is false before the ctx ends.
//
// fn returned while it held the term: Lead resigns and returns fn's error; others hear of it at once. The term was lost: Lead waits for fn to
// return, gives the lease back, logs fn's error, and runs again; the next term has a larger token. ctx ended: Lead waits for fn
// with the lease held, resigns, and returns nil, or fn's error where that is not merely the end of ctx. A backend that does not answer
// is asked on and on; [port.ErrInvalid], [port.ErrUnsupported] and [port.ErrClosed] are returned. A panic of fn passes through
// after the lease was given back.
func Lead(ctx context.Context, l port.Leases, c Candidate, fn func(context.Context, Term) error) error {
	b, err := c.bid(l)
	if err != nil {
		return err
	}
	for ; ; b = b.again() {
		g, err := b.win(ctx)
		if err != nil {
			return b.ended(ctx, err)
		}
		b.log.InfoContext(ctx, "leading", "what", b.what, "id", b.want.Owner, "token", g.lease.Token)
		lost, err := b.run(ctx, g, fn)
		if lost == nil {
			return b.ended(ctx, err)
		}
		b.log.WarnContext(ctx, "not leading any more", "what", b.what, "id", b.want.Owner, "token", g.lease.Token, "lost", lost, "error", err)
		if ctx.Err() != nil {
			return b.ended(ctx, err)
		}
	}
}

// ended is nil where err is only the end of ctx.
func (b *bid) ended(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) && !errors.Is(err, port.ErrUncertain):
		return nil
	case ctx.Err() != nil && errors.Is(err, port.ErrLost):
		return nil
	}
	return err
}
