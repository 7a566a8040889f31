package porttest

import (
	"context"
	"iter"
	"time"

	"github.com/musterhq/muster/port"
)

// bent is a process of a backend that does some things in a way of its own. A hook that is nil leaves a method as it is.
type bent struct {
	port.Backend
	caps    func() port.Caps
	signal  func(ctx context.Context, channel string, payload []byte) error
	listen  func(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error)
	declare func(ctx context.Context, t port.Topic) error
	join    func(ctx context.Context, g port.Group) error
	write   func(ctx context.Context, b port.Batch) error
	fetch   func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error)
	extend  func(ctx context.Context, g port.Group, h ...port.Hold) []error
	settle  func(ctx context.Context, g port.Group, s port.Settlement) error
	read    func(ctx context.Context, r port.Range) ([]port.Stored, error)
	apply   func(ctx context.Context, c port.Change) (port.Applied, error)
	add     func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)
	keys    func(ctx context.Context, pattern string) iter.Seq2[string, error]
	clear   func(ctx context.Context) (int, error)
	acquire func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error)
	renew   func(ctx context.Context, ttl time.Duration, l port.Lease) (port.Lease, error)
	release func(ctx context.Context, l port.Lease) error
	closing func() error
}

func (b *bent) Caps() port.Caps {
	if b.caps == nil {
		return b.Backend.Caps()
	}
	return b.caps()
}

func (b *bent) Signal(ctx context.Context, channel string, payload []byte) error {
	if b.signal == nil {
		return b.Backend.Signal(ctx, channel, payload)
	}
	return b.signal(ctx, channel, payload)
}

func (b *bent) Listen(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error) {
	if b.listen == nil {
		return b.Backend.Listen(ctx, patterns...)
	}
	return b.listen(ctx, patterns...)
}

func (b *bent) Declare(ctx context.Context, t port.Topic) error {
	if b.declare == nil {
		return b.Backend.Declare(ctx, t)
	}
	return b.declare(ctx, t)
}

func (b *bent) Join(ctx context.Context, g port.Group) error {
	if b.join == nil {
		return b.Backend.Join(ctx, g)
	}
	return b.join(ctx, g)
}

func (b *bent) Write(ctx context.Context, batch port.Batch) error {
	if b.write == nil {
		return b.Backend.Write(ctx, batch)
	}
	return b.write(ctx, batch)
}

func (b *bent) Fetch(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
	if b.fetch == nil {
		return b.Backend.Fetch(ctx, g, limit)
	}
	return b.fetch(ctx, g, limit)
}

func (b *bent) Extend(ctx context.Context, g port.Group, h ...port.Hold) []error {
	if b.extend == nil {
		return b.Backend.Extend(ctx, g, h...)
	}
	return b.extend(ctx, g, h...)
}

func (b *bent) Settle(ctx context.Context, g port.Group, s ...port.Settlement) []error {
	if b.settle == nil {
		return b.Backend.Settle(ctx, g, s...)
	}
	errs := make([]error, len(s))
	for i := range s {
		errs[i] = b.settle(ctx, g, s[i])
	}
	return errs
}

// settleOne is the straight way of one settlement.
func (b *bent) settleOne(ctx context.Context, g port.Group, s port.Settlement) error {
	return b.Backend.Settle(ctx, g, s)[0]
}

func (b *bent) Read(ctx context.Context, r port.Range) ([]port.Stored, error) {
	if b.read == nil {
		return b.Backend.Read(ctx, r)
	}
	return b.read(ctx, r)
}

func (b *bent) Apply(ctx context.Context, cs ...port.Change) ([]port.Applied, error) {
	if b.apply == nil {
		return b.Backend.Apply(ctx, cs...)
	}
	done := make([]port.Applied, len(cs))
	for i, c := range cs {
		var err error
		if done[i], err = b.apply(ctx, c); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// applyOne is the straight way of one change.
func (b *bent) applyOne(ctx context.Context, c port.Change) (port.Applied, error) {
	done, err := b.Backend.Apply(ctx, c)
	if err != nil {
		return port.Applied{}, err
	}
	return done[0], nil
}

func (b *bent) Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if b.add == nil {
		return b.Backend.Add(ctx, key, delta, ttl)
	}
	return b.add(ctx, key, delta, ttl)
}

func (b *bent) Keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	if b.keys == nil {
		return b.Backend.Keys(ctx, pattern)
	}
	return b.keys(ctx, pattern)
}

func (b *bent) Clear(ctx context.Context) (int, error) {
	if b.clear == nil {
		return b.Backend.Clear(ctx)
	}
	return b.clear(ctx)
}

func (b *bent) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	if b.acquire == nil {
		return b.Backend.Acquire(ctx, want, ttl)
	}
	return b.acquire(ctx, want, ttl)
}

func (b *bent) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	if b.renew == nil {
		return b.Backend.Renew(ctx, ttl, held...)
	}
	ls, errs := make([]port.Lease, len(held)), make([]error, len(held))
	for i, l := range held {
		ls[i], errs[i] = b.renew(ctx, ttl, l)
	}
	return ls, errs
}

// renewOne is the straight way of one lease.
func (b *bent) renewOne(ctx context.Context, ttl time.Duration, l port.Lease) (port.Lease, error) {
	ls, errs := b.Backend.Renew(ctx, ttl, l)
	return ls[0], errs[0]
}

func (b *bent) Release(ctx context.Context, held ...port.Lease) []error {
	if b.release == nil {
		return b.Backend.Release(ctx, held...)
	}
	errs := make([]error, len(held))
	for i, l := range held {
		errs[i] = b.release(ctx, l)
	}
	return errs
}

func (b *bent) Close() error {
	if b.closing == nil {
		return b.Backend.Close()
	}
	return b.closing()
}
