package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// kind is how much of Muster a contender asks for.
type kind struct {
	bare  bool // the payload alone travels, without an envelope
	plain bool // no IDs are remembered: neither in the topic's window nor by the group
}

// muster is one process on the adapter for Redis, as a user opens it.
type muster struct {
	ctx  context.Context
	b    *redis.Backend
	kind kind
	body []byte
}

func (f *field) muster(k kind, wrap func(*muster) bench.Contest, topics ...string) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		if err := f.server.clear(ctx); err != nil {
			return nil, err
		}
		b, err := redis.Open(ctx, redis.Config{URL: "redis://" + f.server.addr + "/0"})
		if err != nil {
			return nil, err
		}
		m := &muster{ctx: ctx, b: b, kind: k, body: payload()}
		for _, t := range topics {
			g := port.Group{Topic: t, Name: "bench", Loan: 30 * time.Second, Remember: max(0, m.group().Remember)}
			if err := b.Join(ctx, g); err != nil {
				return nil, errors.Join(err, b.Close())
			}
		}
		return wrap(m), nil
	}
}

func (m *muster) Close() error { return m.b.Close() }

func (m *muster) topic(name string) bus.Topic[[]byte] {
	t := bus.Topic[[]byte]{Name: name, Codec: envelope.Bytes{}, Bare: m.kind.bare}
	if m.kind.plain {
		t.Keep.Window = -1
	}
	return t
}

func (m *muster) group() bus.Group {
	g := bus.Group{Name: "bench", Log: slog.New(slog.DiscardHandler)}
	if m.kind.plain {
		g.Remember = -1
	}
	return g
}

func (m *muster) publish(name string) func() error {
	t := m.topic(name)
	return func() error {
		_, err := t.Publish(m.ctx, m.b, m.body)
		return err
	}
}

func (m *muster) fill(name string, n int) error {
	t := m.topic(name)
	out := make([]bus.Out[[]byte], min(n, 500))
	for i := range out {
		out[i].Payload = m.body
	}
	for n > 0 {
		some := out[:min(n, len(out))]
		if _, err := t.PublishAll(m.ctx, m.b, some...); err != nil {
			return err
		}
		n -= len(some)
	}
	return nil
}

// handleBatch is how many messages a handler of batches takes at most.
const handleBatch = 500

// loop works off n messages in batches and returns when all are settled.
func (m *muster) loop(name string, n int, each func(bus.Message[[]byte])) error {
	ctx, stop := context.WithCancel(m.ctx)
	defer stop()
	left := int64(n)
	var handled atomic.Int64
	g := m.group()
	g.Workers = 1
	return m.topic(name).SubscribeBatch(ctx, m.b, g, handleBatch, func(_ context.Context, ms []bus.Message[[]byte]) []error {
		if each != nil {
			for i := range ms {
				each(ms[i])
			}
		}
		if handled.Add(int64(len(ms))) >= left {
			stop()
		}
		return nil
	})
}

// Topics of one family.
const musterTopic = "bench.in"

func hopTopic(i int) string { return "bench.hop" + strconv.Itoa(i) }

type musterPublish struct {
	*muster
	many int
}

func (m *musterPublish) Move(n int) error { return callers(n, m.many, m.publish(musterTopic)) }

type musterBacklog struct{ *muster }

func (m *musterBacklog) Prepare(n int) error { return m.fill(musterTopic, n) }
func (m *musterBacklog) Move(n int) error    { return m.loop(musterTopic, n, nil) }

type musterFlow struct {
	*muster
	many int
}

func (m *musterFlow) Move(n int) error {
	done := make(chan error, 1)
	go func() { done <- m.loop(musterTopic, n, nil) }()
	err := callers(n, m.many, m.publish(musterTopic))
	return errors.Join(err, <-done)
}

type musterWorkers struct {
	*muster
	rest func()
}

func (m *musterWorkers) Prepare(n int) error { return m.fill(musterTopic, n) }

func (m *musterWorkers) Move(n int) error {
	ctx, stop := context.WithCancel(m.ctx)
	defer stop()
	var handled atomic.Int64
	g := m.group()
	g.Workers = 64
	return m.topic(musterTopic).Subscribe(ctx, m.b, g, func(context.Context, bus.Message[[]byte]) error {
		m.rest()
		if handled.Add(1) == int64(n) {
			stop()
		}
		return nil
	})
}

type musterHops struct {
	*muster
	hops int
}

func (m *musterHops) Prepare(n int) error { return m.fill(hopTopic(0), n) }

func (m *musterHops) Move(n int) error {
	n /= m.hops
	errs := make([]error, m.hops)
	var work sync.WaitGroup
	for i := range m.hops {
		to := m.topic(hopTopic(i + 1))
		work.Go(func() {
			errs[i] = m.loop(hopTopic(i), n, func(in bus.Message[[]byte]) { bus.Emit(in, to, in.Payload) })
		})
	}
	work.Wait()
	return errors.Join(errs...)
}
