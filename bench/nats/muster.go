package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/port"
)

// muster is the backend on a server of its own: of a folder, in this process, or of another process.
type muster struct {
	ctx     context.Context
	b       *nats.Backend
	p       *place // or nil
	group   port.Group
	callers int
	id      atomic.Int64
}

func openMuster(kind setting, callers int) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) { return newMuster(ctx, kind, callers) }
}

func newMuster(ctx context.Context, kind setting, callers int) (m *muster, err error) {
	m = &muster{ctx: ctx, callers: callers}
	if m.p, err = newPlace(ctx, kind.apart, kind.synced); err != nil {
		return nil, err
	}
	if m.b, err = nats.Open(ctx, nats.Config{URL: m.p.url}); err != nil {
		return nil, errors.Join(err, m.p.close())
	}
	return m, nil
}

// Move publishes n messages, each in a call of its own that returns when the message is stored.
func (m *muster) Move(n int) error {
	return share(n, m.callers, func() error {
		id := strconv.FormatInt(m.id.Add(1), 10)
		return m.b.Write(m.ctx, port.Batch{Messages: []port.Message{{Topic: subject, ID: id, Body: make([]byte, bodySize)}}})
	})
}

func (m *muster) Close() error { return errors.Join(m.b.Close(), m.p.close()) }

// musterBacklog reads what was published before, and acknowledges it.
type musterBacklog struct{ *muster }

func openMusterBacklog(kind setting, n int, remember time.Duration) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		m, err := newMuster(ctx, kind, 1)
		if err != nil {
			return nil, err
		}
		m.group = port.Group{Topic: subject, Name: "workers", Consumer: "c1", Loan: time.Minute, Remember: remember}
		if err := m.b.Join(ctx, m.group); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		b := &musterBacklog{m}
		if err := b.fill(n); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return b, nil
	}
}

// fill publishes n messages.
func (m *musterBacklog) fill(n int) error {
	for n > 0 {
		batch := port.Batch{Messages: make([]port.Message, min(n, published))}
		for i := range batch.Messages {
			batch.Messages[i] = port.Message{Topic: subject, ID: strconv.FormatInt(m.id.Add(1), 10), Body: make([]byte, bodySize)}
		}
		if err := m.b.Write(m.ctx, batch); err != nil {
			return err
		}
		n -= len(batch.Messages)
	}
	return nil
}

// Move takes n messages.
func (m *musterBacklog) Move(n int) error {
	for n > 0 {
		list, err := m.b.Fetch(m.ctx, m.group, min(n, fetchSize))
		if err != nil {
			return err
		}
		acks := make([]port.Settlement, len(list))
		for i := range list {
			acks[i].Receipt = list[i].Receipt
		}
		if err := errors.Join(m.b.Settle(m.ctx, m.group, acks...)...); err != nil {
			return err
		}
		n -= len(list)
	}
	return nil
}
