package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// manner is how messages are published and handled.
type manner bool

const (
	inBatches manner = true  // PublishAll and SubscribeBatch, one worker
	oneByOne  manner = false // Publish and Subscribe, 16 workers
)

// knowing is what topic and group remember: nothing, as the contenders that cannot, or ids, as is the default.
type knowing bool

const (
	plain        knowing = false
	deduplicated knowing = true
)

// kept is how many handled messages a topic keeps: enough for what is under way, for a topic that is full of what its group has
// not finished refuses to be published to.
const kept = 4 * ahead

// traffic is one topic with its group at work.
type traffic[T any] struct {
	ctx    context.Context
	q      port.Queue
	topic  bus.Topic[T]
	value  T
	batch  []bus.Out[T] // nil: one by one
	credit *credit
	stop   context.CancelFunc
	done   chan error
}

func openBytes(m manner, k knowing) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		_, raw := payload()
		return open(ctx, bus.Topic[[]byte]{Name: "bench.bytes", Codec: envelope.Bytes{}, Bare: true}, raw, m, k)
	}
}

func openJSON(m manner) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		o, _ := payload()
		return open(ctx, bus.Topic[order]{Name: "bench.json"}, o, m, plain)
	}
}

func open[T any](ctx context.Context, topic bus.Topic[T], value T, m manner, k knowing) (bench.Contest, error) {
	g := bus.Group{Name: "bench", Log: slog.New(slog.DiscardHandler)}
	topic.Keep.MaxCount = kept
	if k == plain {
		topic.Keep.Window, g.Remember = -1, -1
	}
	ctx, stop := context.WithCancel(ctx)
	t := &traffic[T]{ctx: ctx, q: memory.New(memory.Config{}), topic: topic, value: value, credit: newCredit(), stop: stop, done: make(chan error, 1)}
	joined := port.Group{Topic: topic.Name, Name: g.Name, Loan: time.Second}
	if err := t.q.Join(ctx, joined); err != nil { // so that nothing is published before the group is there
		stop()
		return nil, err
	}
	if m == oneByOne {
		go func() { t.done <- topic.Subscribe(ctx, t.q, g, t.handle) }()
		return t, nil
	}
	t.batch = make([]bus.Out[T], publishBatch)
	for i := range t.batch {
		t.batch[i].Payload = value
	}
	g.Workers = 1
	go func() { t.done <- topic.SubscribeBatch(ctx, t.q, g, handleBatch, t.handleAll) }()
	return t, nil
}

func (t *traffic[T]) handle(context.Context, bus.Message[T]) error {
	t.credit.done(1)
	return nil
}

func (t *traffic[T]) handleAll(_ context.Context, ms []bus.Message[T]) []error {
	t.credit.done(len(ms))
	return nil
}

// Move publishes n messages and waits until the group has finished all of them.
func (t *traffic[T]) Move(n int) error {
	for n > 0 {
		if t.batch == nil {
			t.credit.take(1)
			if _, err := t.topic.Publish(t.ctx, t.q, t.value); err != nil {
				return err
			}
			n--
			continue
		}
		some := t.batch[:min(n, len(t.batch))]
		t.credit.take(len(some))
		if _, err := t.topic.PublishAll(t.ctx, t.q, some...); err != nil {
			return err
		}
		n -= len(some)
	}
	t.credit.all()
	return t.settled()
}

// settled waits until nothing is handed out that is not settled: the last settlements follow the last handlers in microseconds.
func (t *traffic[T]) settled() error {
	for {
		for info, err := range t.q.Inspect(t.ctx, t.topic.Name) {
			if err != nil {
				return err
			}
			if info.Groups[0].Loaned == 0 {
				return nil
			}
		}
		runtime.Gosched()
	}
}

// Close ends the subscription.
func (t *traffic[T]) Close() error {
	t.stop()
	if err := <-t.done; err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	return nil
}
