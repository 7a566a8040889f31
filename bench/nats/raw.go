package main

import (
	"context"
	"errors"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/musterhq/muster/bench"
)

// raw is nats.go by hand.
type raw struct {
	ctx     context.Context
	p       *place
	c       *client.Conn
	js      jetstream.JetStream
	callers int
}

func openRaw(kind setting, callers int) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) { return newRaw(ctx, kind, callers) }
}

func newRaw(ctx context.Context, kind setting, callers int) (r *raw, err error) {
	r = &raw{ctx: ctx, callers: callers}
	if r.p, err = newPlace(ctx, kind.apart, kind.synced); err != nil {
		return nil, err
	}
	if r.c, err = client.Connect(r.p.url); err != nil {
		return nil, errors.Join(err, r.p.close())
	}
	if r.js, err = jetstream.New(r.c, jetstream.WithPublishAsyncMaxPending(1<<20)); err == nil {
		_, err = r.js.CreateStream(ctx, jetstream.StreamConfig{Name: "bench", Subjects: []string{subject}})
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Move publishes n messages, each in a call of its own that returns when the message is stored.
func (r *raw) Move(n int) error {
	return share(n, r.callers, func() error {
		_, err := r.js.Publish(r.ctx, subject, make([]byte, bodySize))
		return err
	})
}

func (r *raw) Close() error {
	r.c.Close()
	return r.p.close()
}

// rawBacklog is a pull consumer with plain acknowledgements: nobody learns whether one arrived.
type rawBacklog struct {
	*raw
	news jetstream.MessagesContext
}

func openRawBacklog(kind setting, n int) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		r, err := newRaw(ctx, kind, 1)
		if err != nil {
			return nil, err
		}
		b := &rawBacklog{raw: r}
		if err := b.fill(n); err != nil {
			return nil, errors.Join(err, r.Close())
		}
		return b, nil
	}
}

// fill publishes n messages, and returns when all are stored.
func (r *rawBacklog) fill(n int) error {
	answers := make([]jetstream.PubAckFuture, 0, n)
	for range n {
		a, err := r.js.PublishAsync(subject, make([]byte, bodySize))
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	for _, a := range answers {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return err
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
	return nil
}

// Move takes n messages.
func (r *rawBacklog) Move(n int) error {
	if r.news == nil {
		c, err := r.js.CreateConsumer(r.ctx, "bench", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000})
		if err != nil {
			return err
		}
		if r.news, err = c.Messages(jetstream.PullMaxMessages(1000)); err != nil {
			return err
		}
	}
	for range n {
		m, err := r.news.Next()
		if err != nil {
			return err
		}
		if err := m.Ack(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rawBacklog) Close() error {
	if r.news != nil {
		r.news.Stop()
	}
	return r.raw.Close()
}
