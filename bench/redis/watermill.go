package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/bench"
)

// mill is Watermill with its publisher and subscriber on Redis streams. Its subscriber hands out a message when the one before was
// acknowledged, one by one.
type mill struct {
	ctx     context.Context
	client  *redis.Client
	publish *redisstream.Publisher
	body    []byte

	mu   sync.Mutex
	in   map[string]<-chan *message.Message
	subs []*redisstream.Subscriber
}

func (f *field) mill(wrap func(*mill) bench.Contest, streams ...string) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		if err := f.server.clear(ctx); err != nil {
			return nil, err
		}
		m := &mill{ctx: ctx, client: redis.NewClient(&redis.Options{Addr: f.server.addr, PoolSize: 64}), body: payload(), in: map[string]<-chan *message.Message{}}
		for _, s := range streams {
			if err := m.client.XGroupCreateMkStream(ctx, s, rawGroup, "0").Err(); err != nil {
				return nil, errors.Join(err, m.client.Close())
			}
		}
		var err error
		if m.publish, err = redisstream.NewPublisher(redisstream.PublisherConfig{Client: m.client}, watermill.NopLogger{}); err != nil {
			return nil, errors.Join(err, m.client.Close())
		}
		return wrap(m), nil
	}
}

func (m *mill) Close() error {
	errs := []error{m.publish.Close(), ignoreClosed(m.client.Close())}
	for _, s := range m.subs {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// ignoreClosed is err unless it says that Watermill has closed the client with its publisher.
func ignoreClosed(err error) error {
	if errors.Is(err, redis.ErrClosed) {
		return nil
	}
	return err
}

func (m *mill) message() *message.Message { return message.NewMessage(watermill.NewUUID(), m.body) }

func (m *mill) fill(stream string, n int) error {
	return callers(n, 64, func() error { return m.publish.Publish(stream, m.message()) })
}

// messages are those of a stream, from one subscriber for as long as the contest lasts: what it has read ahead is not lost between
// two moves.
func (m *mill) messages(stream string) (<-chan *message.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if in, ok := m.in[stream]; ok {
		return in, nil
	}
	client := redis.NewClient(m.client.Options()) // a subscriber closes the client that it was given
	sub, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client, ConsumerGroup: rawGroup, Consumer: "one"}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	m.subs = append(m.subs, sub)
	in, err := sub.Subscribe(m.ctx, stream)
	if err == nil {
		m.in[stream] = in
	}
	return in, err
}

// loop works off n messages, each handled and then acknowledged.
func (m *mill) loop(stream string, n int, each func(*message.Message) error) error {
	in, err := m.messages(stream)
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		msg := <-in
		if each != nil {
			if err := each(msg); err != nil {
				return err
			}
		}
		msg.Ack()
	}
	return nil
}

type millPublish struct {
	*mill
	many int
}

func (m *millPublish) Move(n int) error {
	return callers(n, m.many, func() error { return m.publish.Publish(rawStream, m.message()) })
}

type millBacklog struct{ *mill }

func (m *millBacklog) Prepare(n int) error { return m.fill(rawStream, n) }
func (m *millBacklog) Move(n int) error    { return m.loop(rawStream, n, nil) }

type millFlow struct {
	*mill
	many int
}

func (m *millFlow) Move(n int) error {
	done := make(chan error, 1)
	go func() { done <- m.loop(rawStream, n, nil) }()
	err := callers(n, m.many, func() error { return m.publish.Publish(rawStream, m.message()) })
	return errors.Join(err, <-done)
}

// millHops publishes each message on, unless its ID is known to Redis, before it acknowledges it: not one step, and the nearest to it
// that Watermill has.
type millHops struct {
	*mill
	hops int
}

func (m *millHops) Prepare(n int) error { return m.fill(hopStream(0), n) }

func (m *millHops) Move(n int) error {
	n /= m.hops
	errs := make([]error, m.hops)
	var work sync.WaitGroup
	for i := range m.hops {
		work.Go(func() {
			errs[i] = m.loop(hopStream(i), n, func(in *message.Message) error {
				first, err := m.client.SetNX(m.ctx, "seen:"+hopStream(i)+":"+in.UUID, "1", 10*time.Minute).Result()
				if err != nil || !first {
					return err
				}
				return m.publish.Publish(hopStream(i+1), message.NewMessage(in.UUID, in.Payload))
			})
		})
	}
	work.Wait()
	return errors.Join(errs...)
}
