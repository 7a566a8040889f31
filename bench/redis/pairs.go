package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/port"
)

// pairs compares single calls with those of the direct client, in short slices next to each other.
func (f *field) pairs(ctx context.Context, out io.Writer, quartets int) error {
	const key, rawKey = "bench/one", "muster:kv:{bench}/one"
	if err := f.server.clear(ctx); err != nil {
		return err
	}
	get := func(r rueidis.Client) error {
		return r.Do(ctx, r.B().Get().Key(rawKey).Build()).Error()
	}
	set := func(r rueidis.Client) error {
		return r.Do(ctx, r.B().Set().Key(rawKey).Value(rueidis.BinaryString(payload())).Build()).Error()
	}
	add := func(r rueidis.Client) error {
		return r.Do(ctx, r.B().Xadd().Key(rawStream).Id("*").FieldValue().FieldValue("m", rueidis.BinaryString(payload())).Build()).Error()
	}
	body := payload()
	swap := func(r rueidis.Client) error {
		return rawStore{&raw{ctx: ctx, client: r, body: rueidis.BinaryString(body)}}.swap(rawKey)
	}
	var last atomic.Uint64
	once := func(r rueidis.Client) error {
		return (&raw{ctx: ctx, client: r, body: rueidis.BinaryString(body)}).publishOnce(rawStream, last.Add(1))
	}
	publish := func(b *redis.Backend) error {
		return (&muster{ctx: ctx, b: b, kind: full, body: body}).publish(musterTopic)()
	}
	lock := func(r rueidis.Client) error { return rawLock{&raw{ctx: ctx, client: r}}.lock("bench") }
	for _, c := range []struct {
		name   string
		raw    func(rueidis.Client) error
		muster func(*redis.Backend) error
	}{
		{"set", set, func(b *redis.Backend) error {
			_, err := b.Apply(ctx, port.Change{Key: key, Value: body})
			return err
		}},
		{"get", get, func(b *redis.Backend) error {
			_, err := b.Get(ctx, key)
			return err
		}},
		{"compare", swap, func(b *redis.Backend) error { return musterStore{&muster{ctx: ctx, b: b, body: body}}.swap(key) }},
		{"lock", lock, func(b *redis.Backend) error { return musterLock{&muster{ctx: ctx, b: b}, true}.lock("bench") }},
		{"publish", add, publish},
		{"publish what is remembered", once, publish},
	} {
		pairs, err := bench.Pairs(ctx, 20*time.Millisecond, quartets, f.rawOp(c.raw), f.musterOp(c.muster))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, p := range pairs {
			_, err := fmt.Fprintf(out, "%s: %.0f a second by hand; %s %.3f of it, half of the quartets %.3f to %.3f\n",
				c.name, p.Rate, p.Name, p.Ratio(), bench.Quantile(p.Ratios, 0.25), bench.Quantile(p.Ratios, 0.75))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *field) rawOp(do func(rueidis.Client) error) bench.Op {
	return bench.Op{Name: "rueidis", Open: func(context.Context) (func() error, func() error, error) {
		c, err := rueidis.NewClient(rawOptions(f.server.addr, true))
		return func() error { return do(c) }, func() error { c.Close(); return nil }, err
	}}
}

func (f *field) musterOp(do func(*redis.Backend) error) bench.Op {
	return bench.Op{Name: "muster", Open: func(ctx context.Context) (func() error, func() error, error) {
		b, err := redis.Open(ctx, redis.Config{URL: "redis://" + f.server.addr + "/0"})
		if err != nil {
			return nil, nil, err
		}
		if err := do(b); err != nil {
			return nil, nil, errors.Join(err, b.Close())
		}
		return func() error { return do(b) }, b.Close, nil
	}}
}
