package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/bench"
)

// goRedis is what most programs do by hand: one command for each message, ten messages a read, one acknowledgement each.
type goRedis struct {
	ctx    context.Context
	client *redis.Client
	body   []byte

	swapScript *redis.Script
}

func (f *field) goRedis(wrap func(*goRedis) bench.Contest, streams ...string) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		if err := f.server.clear(ctx); err != nil {
			return nil, err
		}
		g := &goRedis{ctx: ctx, client: redis.NewClient(&redis.Options{Addr: f.server.addr, PoolSize: 64}), body: payload(), swapScript: redis.NewScript(swapText)}
		for _, s := range streams {
			if err := g.client.XGroupCreateMkStream(ctx, s, rawGroup, "0").Err(); err != nil {
				return nil, errors.Join(err, g.Close())
			}
		}
		return wrap(g), nil
	}
}

func (g *goRedis) Close() error { return g.client.Close() }

func (g *goRedis) publish(stream string, body any) error {
	return g.client.XAdd(g.ctx, &redis.XAddArgs{Stream: stream, Values: []any{"m", body}}).Err()
}

func (g *goRedis) fill(stream string, n int) error {
	for n > 0 {
		p := g.client.Pipeline()
		for range min(n, 500) {
			p.XAdd(g.ctx, &redis.XAddArgs{Stream: stream, Values: []any{"m", g.body}})
		}
		if _, err := p.Exec(g.ctx); err != nil {
			return err
		}
		n -= 500
	}
	return nil
}

// loop works off n messages one after the other.
func (g *goRedis) loop(stream string, n int, each func(redis.XMessage) error) error {
	for n > 0 {
		read, err := g.client.XReadGroup(g.ctx, &redis.XReadGroupArgs{Group: rawGroup, Consumer: "one", Streams: []string{stream, ">"}, Count: 10, Block: time.Second}).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range read[0].Messages {
			if each != nil {
				if err := each(m); err != nil {
					return err
				}
			}
			if err := g.client.XAck(g.ctx, stream, rawGroup, m.ID).Err(); err != nil {
				return err
			}
			n--
		}
	}
	return nil
}

type goRedisPublish struct {
	*goRedis
	many int
}

func (g *goRedisPublish) Move(n int) error {
	return callers(n, g.many, func() error { return g.publish(rawStream, g.body) })
}

type goRedisBacklog struct{ *goRedis }

func (g *goRedisBacklog) Prepare(n int) error { return g.fill(rawStream, n) }
func (g *goRedisBacklog) Move(n int) error    { return g.loop(rawStream, n, nil) }

type goRedisFlow struct {
	*goRedis
	many int
}

func (g *goRedisFlow) Move(n int) error {
	done := make(chan error, 1)
	go func() { done <- g.loop(rawStream, n, nil) }()
	err := callers(n, g.many, func() error { return g.publish(rawStream, g.body) })
	return errors.Join(err, <-done)
}

type goRedisHops struct {
	*goRedis
	hops int
}

func (g *goRedisHops) Prepare(n int) error { return g.fill(hopStream(0), n) }

func (g *goRedisHops) Move(n int) error {
	n /= g.hops
	errs := make([]error, g.hops)
	var work sync.WaitGroup
	for i := range g.hops {
		work.Go(func() {
			errs[i] = g.loop(hopStream(i), n, func(m redis.XMessage) error { return g.publish(hopStream(i+1), m.Values["m"]) })
		})
	}
	work.Wait()
	return errors.Join(errs...)
}
