package memory_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// benchmarkHop writes, fetches and settles batches of n messages of 256 bytes. It keeps the last 10,000 entries and knows the
// IDs of the window's time, as a service of this speed would have it.
func benchmarkHop(b *testing.B, n int, window time.Duration, remember time.Duration) {
	ctx := b.Context()
	be := memory.New(memory.Config{})
	if err := be.Declare(ctx, port.Topic{Name: "orders.placed", MaxCount: 10_000, Window: window}); err != nil {
		b.Fatal(err)
	}
	g := port.Group{Topic: "orders.placed", Name: "billing", Consumer: "w1", Loan: 30 * time.Second, Remember: remember}
	if err := be.Join(ctx, g); err != nil {
		b.Fatal(err)
	}
	// IDs are made beforehand: their cost is the envelope's. They come round long after the window has forgotten them.
	messages := make([]port.Message, n)
	body := make([]byte, 256)
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = fmt.Sprintf("0192e4a6-7c3b-7def-8a1b-%012x", i)
	}
	settlements := make([]port.Settlement, n)
	b.ReportAllocs()
	next := 0
	for b.Loop() {
		for i := range messages {
			messages[i] = port.Message{Topic: "orders.placed", ID: names[next&(1<<16-1)], Body: body}
			next++
		}
		if err := be.Write(ctx, port.Batch{Messages: messages}); err != nil {
			b.Fatal(err)
		}
		list, err := be.Fetch(ctx, g, n)
		if err != nil || len(list) != n {
			b.Fatal(len(list), err)
		}
		for i := range list {
			settlements[i] = port.Settlement{Receipt: list[i].Receipt}
		}
		for _, err := range be.Settle(ctx, g, settlements...) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next), "ns/message")
}

func BenchmarkWriteFetchSettle(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) { benchmarkHop(b, n, -1, 0) })
		b.Run(fmt.Sprintf("batch=%d,window=10ms", n), func(b *testing.B) { benchmarkHop(b, n, 10*time.Millisecond, 0) })
		b.Run(fmt.Sprintf("batch=%d,window=10ms,remember=10ms", n), func(b *testing.B) { benchmarkHop(b, n, 10*time.Millisecond, 10*time.Millisecond) })
	}
}

// BenchmarkChannel is what a message costs at least: it goes through a channel, and its acknowledgement through another.
func BenchmarkChannel(b *testing.B) {
	work, done := make(chan port.Message, 100), make(chan string, 100)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go func() {
		for {
			select {
			case m := <-work:
				done <- m.ID
			case <-ctx.Done():
				return
			}
		}
	}()
	body := make([]byte, 256)
	b.ReportAllocs()
	sent, got := 0, 0
	for b.Loop() {
		for range 100 {
			work <- port.Message{Topic: "orders.placed", ID: "0192e4a6-7c3b-7def-8a1b-000000000001", Body: body}
		}
		sent += 100
		for ; got < sent; got++ {
			<-done
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/message")
}

func BenchmarkGet(b *testing.B) {
	ctx := b.Context()
	be := memory.New(memory.Config{})
	if _, err := be.Apply(ctx, port.Change{Key: "orders/1", Value: make([]byte, 256)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := be.Get(ctx, "orders/1"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	ctx := b.Context()
	be := memory.New(memory.Config{})
	value := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := be.Apply(ctx, port.Change{Key: "orders/1", Value: value, TTL: time.Minute}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRenew(b *testing.B) {
	ctx := b.Context()
	be := memory.New(memory.Config{})
	l, err := be.Acquire(ctx, port.Lease{Name: "leader", Owner: "a", Nonce: "1"}, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := be.Renew(ctx, time.Minute, l); errs[0] != nil {
			b.Fatal(errs[0])
		}
	}
}
