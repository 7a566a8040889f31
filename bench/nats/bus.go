package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// busBacklog reads what was published before as users do: by a subscription with the defaults of bus, so the group remembers IDs.
type busBacklog struct {
	*muster
	batches bool // a handler of batches in one worker, or one of single messages in many
}

var busTopic = bus.Topic[[]byte]{Name: subject, Codec: envelope.Bytes{}}

func openBusBacklog(kind setting, batches bool) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		m, err := newMuster(ctx, kind, 1)
		if err != nil {
			return nil, err
		}
		b := &busBacklog{muster: m, batches: batches}
		g := port.Group{Topic: subject, Name: b.subscriber().Name, Loan: bus.MinLoan}
		if err := m.b.Join(ctx, g); err != nil { // so that nothing is published before the group is there
			return nil, errors.Join(err, m.Close())
		}
		return b, nil
	}
}

func (b *busBacklog) subscriber() bus.Group {
	return bus.Group{Name: "workers", Log: slog.New(slog.DiscardHandler)}
}

// Prepare publishes n messages.
func (b *busBacklog) Prepare(n int) error {
	for n > 0 {
		out := make([]bus.Out[[]byte], min(n, published))
		for i := range out {
			out[i].Payload = make([]byte, bodySize)
		}
		if _, err := busTopic.PublishAll(b.ctx, b.b, out...); err != nil {
			return err
		}
		n -= len(out)
	}
	return nil
}

// Move handles n messages, and returns when all are settled.
func (b *busBacklog) Move(n int) error {
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	var handled atomic.Int64
	done := func(some int) {
		if handled.Add(int64(some)) >= int64(n) {
			stop()
		}
	}
	g := b.subscriber()
	if !b.batches {
		return busTopic.Subscribe(ctx, b.b, g, func(context.Context, bus.Message[[]byte]) error {
			done(1)
			return nil
		})
	}
	g.Workers = 1
	return busTopic.SubscribeBatch(ctx, b.b, g, fetchSize, func(_ context.Context, ms []bus.Message[[]byte]) []error {
		done(len(ms))
		return nil
	})
}
