package main

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill"
	wire "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/musterhq/muster/bench"
)

// mill is watermill-nats as it comes: a stream that it makes itself, and acknowledgements that are confirmed.
type mill struct {
	p       *place
	out     *wire.Publisher
	callers int
}

func openMill(kind setting, callers int) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) { return newMill(ctx, kind, callers) }
}

func newMill(ctx context.Context, kind setting, callers int) (m *mill, err error) {
	m = &mill{callers: callers}
	if m.p, err = newPlace(ctx, kind.apart, kind.synced); err != nil {
		return nil, err
	}
	m.out, err = wire.NewPublisher(wire.PublisherConfig{URL: m.p.url, Marshaler: &wire.NATSMarshaler{}, JetStream: wire.JetStreamConfig{AutoProvision: true}}, watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(err, m.p.close())
	}
	return m, nil
}

// Move publishes n messages, each in a call of its own that returns when the message is stored.
func (m *mill) Move(n int) error {
	return share(n, m.callers, func() error {
		return m.out.Publish(subject, message.NewMessage(watermill.NewUUID(), make([]byte, bodySize)))
	})
}

func (m *mill) Close() error { return errors.Join(m.out.Close(), m.p.close()) }

// millBacklog reads what was published before, and acknowledges it.
type millBacklog struct {
	*mill
	in   *wire.Subscriber
	news <-chan *message.Message
}

func openMillBacklog(kind setting, n int) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		m, err := newMill(ctx, kind, 64)
		if err != nil {
			return nil, err
		}
		b := &millBacklog{mill: m}
		if err := m.Move(n); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		b.in, err = wire.NewSubscriber(wire.SubscriberConfig{
			URL: m.p.url, QueueGroupPrefix: "workers", Unmarshaler: &wire.NATSMarshaler{},
			JetStream: wire.JetStreamConfig{AutoProvision: true, DurablePrefix: "workers"},
		}, watermill.NopLogger{})
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		if b.news, err = b.in.Subscribe(ctx, subject); err != nil {
			return nil, errors.Join(err, b.Close())
		}
		return b, nil
	}
}

// Move takes n messages.
func (b *millBacklog) Move(n int) error {
	for range n {
		m, ok := <-b.news
		if !ok {
			return errors.New("the subscription ended")
		}
		m.Ack()
	}
	return nil
}

func (b *millBacklog) Close() error { return errors.Join(b.in.Close(), b.mill.Close()) }
