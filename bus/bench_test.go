package bus_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// flow publishes b.N messages in batches while a group works them off, and waits until all are handled.
func flow[T any](b *testing.B, topic bus.Topic[T], v T, work func(ctx context.Context, q port.Queue, seen func(int)) error) {
	q := memory.New(memory.Config{})
	ctx, stop := context.WithCancel(b.Context())
	all := make(chan struct{})
	var handled atomic.Int64
	seen := func(n int) {
		if handled.Add(int64(n)) == int64(b.N) {
			close(all)
		}
	}
	done := make(chan error, 1)
	go func() { done <- work(ctx, q, seen) }()
	outs := make([]bus.Out[T], 100)
	for i := range outs {
		outs[i].Payload = v
	}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= len(outs) {
		for int64(b.N-left)-handled.Load() > 20_000 {
			runtime.Gosched() // a publisher that waits for its group, as one with a bounded topic has to
		}
		if _, err := topic.PublishAll(ctx, q, outs[:min(left, len(outs))]...); err != nil {
			b.Fatal(err)
		}
	}
	<-all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

var quiet = slog.New(slog.DiscardHandler)

// The whole way of a message, publish to settlement, in one process. bench/ sets it beside others.
func BenchmarkMessage(b *testing.B) {
	raw := bus.Topic[[]byte]{Name: "bench.raw", Codec: envelope.Bytes{}, Keep: port.Topic{MaxCount: 100_000, Window: -1}}
	typed := bus.Topic[order]{Name: "bench.typed", Keep: port.Topic{MaxCount: 100_000, Window: -1}}
	g := bus.Group{Name: "g", Workers: 1, Log: quiet, Remember: -1}
	b.Run("raw bytes in batches", func(b *testing.B) {
		flow(b, raw, make([]byte, 256), func(ctx context.Context, q port.Queue, seen func(int)) error {
			return raw.SubscribeBatch(ctx, q, g, 200, func(_ context.Context, ms []bus.Message[[]byte]) []error {
				seen(len(ms))
				return nil
			})
		})
	})
	b.Run("raw bytes one by one", func(b *testing.B) {
		g := g
		g.Workers = 16
		flow(b, raw, make([]byte, 256), func(ctx context.Context, q port.Queue, seen func(int)) error {
			return raw.Subscribe(ctx, q, g, func(context.Context, bus.Message[[]byte]) error {
				seen(1)
				return nil
			})
		})
	})
	b.Run("JSON one by one", func(b *testing.B) {
		g := g
		g.Workers = 16
		flow(b, typed, order{"order-1", "ann", 500}, func(ctx context.Context, q port.Queue, seen func(int)) error {
			return typed.Subscribe(ctx, q, g, func(context.Context, bus.Message[order]) error {
				seen(1)
				return nil
			})
		})
	})
}
