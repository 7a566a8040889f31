package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

const defaultTTL = 15 * time.Second

// world is what a test may put in place of the machine's clock and chance.
type world struct {
	clock  hold.Clock
	random func() float64
}

// bid is one wish for one lease. Its nonce is its own, so a term that was lost never shares a token with the next one.
type bid struct {
	leases port.Leases
	terms  hold.Terms
	log    *slog.Logger
	what   string // names it in errors and logs, as in `election "billing"`

	name  string // what the caller calls it
	want  port.Lease
	note  note
	doubt bool // a request of unknown outcome may have got it
}

// settings are those that all kinds of holders have.
type settings struct {
	id         string
	meta       map[string]string
	ttl, drain time.Duration
	log        *slog.Logger
	world      world
}

// newBid checks all that can be checked before any I/O.
func newBid(l port.Leases, what, name, lease string, s settings) (*bid, error) {
	if l == nil {
		return nil, fmt.Errorf("cluster: %s: there are no leases: %w", what, port.ErrInvalid)
	}
	b := &bid{leases: l, what: what, name: name, log: s.log}
	if b.log == nil {
		b.log = slog.Default()
	}
	if s.ttl == 0 {
		s.ttl = defaultTTL
	}
	if s.id == "" {
		s.id = defaultID()
	}
	b.want = port.Lease{Name: lease, Owner: s.id, Nonce: newNonce()}
	b.note.Meta = s.meta
	if err := b.keepFor(s.ttl, s); err != nil {
		return nil, err
	}
	probe := b.want
	if len(s.meta) > 0 { // nothing else may be too long
		probe.Data = b.note.encode()
	}
	if err := probe.Check(port.Caps{}, s.ttl); err != nil {
		return nil, fmt.Errorf("cluster: %s: %w", what, err)
	}
	return b, nil
}

// keepFor sets how long the lease is.
func (b *bid) keepFor(ttl time.Duration, s settings) error {
	cfg := hold.Config{Lease: ttl, Drain: s.drain, Lost: port.ErrLost, Clock: s.world.clock, Random: s.world.random}
	cfg.Overran = func() {
		b.log.Warn("the function has not returned in time after its term was lost; the next holder does not wait for it",
			"what", b.what, "id", b.want.Owner, "drain", b.terms.Drain)
	}
	terms, err := cfg.Terms()
	if err != nil {
		return fmt.Errorf("cluster: %s: %w: %w", b.what, port.ErrInvalid, err)
	}
	b.terms, b.note.TTL = terms, ttl.Milliseconds()
	return nil
}

// again is a bid for the next term.
func (b *bid) again() *bid {
	next := *b
	next.want.Nonce, next.doubt = newNonce(), false
	return &next
}

// grant is a lease that was granted by a request sent at a moment; beside port.ErrHeld, that of the other.
type grant struct {
	sent  hold.Instant
	lease port.Lease
	ahead bool // beside port.ErrHeld: the other does not hold it, but waits in front
}

// acquire asks for the lease once. A grant that took long is old already, because it counts from before it was asked for: so it is
// asked for again at once, which renews it.
func (b *bid) acquire(ctx context.Context) (grant, error) {
	g, err := b.ask(ctx)
	if err == nil && b.terms.Clock.Glance(g.sent) >= b.terms.Period { // hold.Keep looks at all clocks
		b.doubt = true // whatever the second answer is
		return b.ask(ctx)
	}
	return g, err
}

// ask sends one request. It may take longer than the lease, because some backends have to see for that long that nobody renews.
func (b *bid) ask(ctx context.Context) (grant, error) {
	if ctx.Err() != nil {
		return grant{}, context.Cause(ctx)
	}
	limited := within(ctx, b.terms.Lease+b.terms.Lease/2)
	defer limited.stop()
	want := b.want
	note := b.note
	note.Since = time.Now().UnixMilli()
	want.Data = note.encode()
	g := grant{sent: b.terms.Clock.Now()}
	got, err := b.leases.Acquire(limited, want, b.terms.Lease)
	g.lease = got
	if got.Token < port.MaxToken {
		b.want.Seen = max(b.want.Seen, got.Token)
	}
	if err == nil {
		b.note.Since = note.Since
	}
	b.doubt = b.doubt || err != nil && !errors.Is(err, port.ErrHeld) && !errors.Is(err, port.ErrUnavailable) && !final(err)
	return g, err
}

// final reports whether an error will not go away by asking again.
func final(err error) bool {
	return errors.Is(err, port.ErrInvalid) || errors.Is(err, port.ErrUnsupported) || errors.Is(err, port.ErrClosed) || errors.Is(err, errReaders)
}

// win acquires the lease, however long that takes. It returns the cause of ctx when ctx ends, and what is final; what a request of
// unknown outcome may have got is given back then.
func (b *bid) win(ctx context.Context) (grant, error) {
	g, err := b.campaign(ctx, hearing(b.want.Name), b.acquire)
	if err != nil {
		return grant{}, errors.Join(err, b.forget(ctx))
	}
	return g, nil
}

// campaign tries until it succeeds, ends finally, or ctx ends. try answers as [bid.acquire] does: beside port.ErrHeld with the lease that is
// in the way. It is tried at each hint that hear lets through, when the lease that is in the way ends, and once a period.
func (b *bid) campaign(ctx context.Context, hear ears, try func(context.Context) (grant, error)) (grant, error) {
	g, err := try(ctx)
	if err == nil || final(err) {
		return g, err
	}
	return b.contend(ctx, hear, try, g, err)
}

// contend is campaign after the first try was answered.
func (b *bid) contend(ctx context.Context, hear ears, try func(context.Context) (grant, error), g grant, err error) (grant, error) {
	err = listen(ctx, b.leases, hear, b.terms.Period, func(w *waiter) error {
		for failures := 0; ; {
			if ctx.Err() != nil {
				return b.waited(context.Cause(ctx), g, err)
			}
			var wait time.Duration
			if errors.Is(err, port.ErrHeld) {
				if failures > 0 {
					b.log.InfoContext(ctx, "the backend answers again", "what", b.what, "id", b.want.Owner)
				}
				failures = 0
				wait = b.look(g.lease.TTL)
			} else {
				if failures++; failures == 1 {
					b.log.WarnContext(ctx, "the backend does not answer; trying on", "what", b.what, "id", b.want.Owner, "error", err)
				}
				wait = b.backoff(failures)
			}
			if cause := w.wait(ctx, wait); cause != nil {
				return b.waited(cause, g, err)
			}
			if g, err = try(ctx); err == nil || final(err) {
				return err
			}
		}
	})
	return g, err
}

// waited is the cause for which waiting ended, with what it waited for.
func (b *bid) waited(cause error, g grant, last error) error {
	switch {
	case errors.Is(last, port.ErrHeld) && g.ahead:
		return fmt.Errorf("cluster: waiting for %s, in the queue behind %q: %w", b.what, g.lease.Owner, cause)
	case errors.Is(last, port.ErrHeld):
		return fmt.Errorf("cluster: waiting for %s, held by %q: %w", b.what, g.lease.Owner, cause)
	}
	return fmt.Errorf("cluster: waiting for %s: %w (the backend: %v)", b.what, cause, last) //nolint:errorlint // that the wait ended is what happened
}

// look is when a lease that another holds is asked for again without a hint: a moment after it ends, and once a period, because a hint
// may have been lost. Those who wait are spread, and the one who comes first is not later than a fiftieth of the lease.
func (b *bid) look(left time.Duration) time.Duration {
	spread := time.Duration(float64(b.terms.Lease/50) * b.terms.Random())
	if left <= 0 { // it is ending, or the backend cannot tell
		left = b.terms.Period / 8
	}
	return min(left+time.Millisecond, b.terms.Period) + spread
}

// backoff is when a backend that does not answer is asked again.
func (b *bid) backoff(failures int) time.Duration {
	wait := b.terms.Period / 8 << min(failures-1, 3)
	return time.Duration(float64(wait) * (1 - b.terms.Jitter*b.terms.Random()))
}

// forget gives back what a request of unknown outcome may have got.
func (b *bid) forget(ctx context.Context) error {
	if !b.doubt {
		return nil
	}
	err := b.giveBack(ctx, port.Lease{Name: b.want.Name, Nonce: b.want.Nonce})
	if err == nil || errors.Is(err, port.ErrLost) {
		return nil
	}
	return fmt.Errorf("cluster: %s may have been granted, and then ends by itself within %v: %w: %w", b.what, b.terms.Lease, port.ErrUncertain, err)
}

// giveBack releases leases, with a second try where the first may have failed. It goes on when ctx has ended.
func (b *bid) giveBack(ctx context.Context, held ...port.Lease) error {
	limited := within(context.WithoutCancel(ctx), b.terms.Period)
	defer limited.stop()
	var err error
	for range 2 {
		err = errors.Join(b.leases.Release(limited, held...)...)
		if err == nil || errors.Is(err, port.ErrLost) || final(err) || limited.Err() != nil {
			return err
		}
	}
	return err
}

// run runs fn while the lease is kept, and gives it back when fn has returned. Lost says why it was lost before that.
func (b *bid) run(ctx context.Context, g grant, fn func(context.Context, Term) error) (lost, err error) {
	return b.keep(ctx, g, b.renewal(g), func(lost error) { b.release(ctx, g, lost) }, fn)
}

// keep runs fn while renew renews, and calls release when fn has returned, with why it was lost before that.
func (b *bid) keep(ctx context.Context, g grant, renew func(context.Context) error, release func(lost error), fn func(context.Context, Term) error) (lost, err error) {
	returned := false
	defer func() {
		if !returned { // a panic goes on, and the next holder need not wait
			release(nil)
		}
	}()
	out, err := hold.Keep(ctx, b.terms.Config, g.sent, renew, func(ctx context.Context, h *hold.Hold) error {
		return fn(ctx, b.term(g, h))
	})
	returned = true
	if !out.Overran {
		release(out.Lost)
	}
	return out.Lost, err
}

// renewal is hold's: port.ErrLost when the lease is not ours any more.
func (b *bid) renewal(g grant) func(context.Context) error {
	return func(ctx context.Context) error {
		_, errs := b.leases.Renew(ctx, b.terms.Lease, g.lease)
		return errs[0]
	}
}

// release gives the lease back, best effort: it ends by itself. That it is gone already is news only where nobody said so.
func (b *bid) release(ctx context.Context, g grant, lost error) {
	err := b.giveBack(ctx, g.lease)
	if err == nil || lost != nil && errors.Is(err, port.ErrLost) {
		return
	}
	b.log.WarnContext(ctx, "the lease could not be given back; it ends by itself", "what", b.what, "id", b.want.Owner, "within", b.terms.Lease, "error", err)
}

func (b *bid) term(g grant, h *hold.Hold) Term {
	return Term{
		Name: b.name, Holder: b.want.Owner, Token: g.lease.Token, Since: b.note.since(), Meta: b.note.Meta,
		lease: b.want.Name, held: h,
	}
}
