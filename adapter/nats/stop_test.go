//go:build unix

package nats_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

func TestAFetchThatWasEndedLeavesNothingOnLoan(t *testing.T) {
	const n = 200
	b := embedded(t, nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true})
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Hour}
	if err := b.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			list, err := b.Fetch(ctx, g, 10)
			for _, d := range list {
				if err := b.Settle(t.Context(), g, port.Settlement{Receipt: d.Receipt, Verdict: port.Release})[0]; err != nil {
					t.Error(err)
				}
			}
			if err == nil && len(list) == 0 {
				t.Error("fetch returned neither a message nor an error")
			}
		})
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(i)}}}); err != nil {
			t.Error(err)
		}
		stop()
		wg.Wait()
	}
	for info, err := range b.Inspect(t.Context(), "orders") {
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Groups[0]; s.Loaned != 0 || s.Lag != n {
			t.Errorf("the group stands at %+v, want %d messages to be fetched and none on loan", s, n)
		}
	}
}

type order struct{ N int }

type receipt struct{ N int }

// Two processes share a group, each stopped and started over and over; what they emit is counted at the end.
func TestTheBusLosesAndDoublesNothingWhileWorkersComeAndGo(t *testing.T) {
	const n = 300
	c := nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true}
	bs := []*nats.Backend{embedded(t, c), embedded(t, c)}
	ctx, over := context.WithTimeout(t.Context(), 2*time.Minute)
	defer over()
	placed, sent := bus.Topic[order]{Name: "orders.placed"}, bus.Topic[receipt]{Name: "orders.sent"}
	handle := func(_ context.Context, m bus.Message[order]) error {
		if m.Payload.N%10 == 3 && m.Attempt == 0 {
			return fmt.Errorf("order %d fails the first time", m.Payload.N)
		}
		bus.Emit(m, sent, receipt{N: m.Payload.N})
		return nil
	}
	var wg sync.WaitGroup
	for i, b := range bs {
		wg.Go(func() {
			for life := 0; ctx.Err() == nil; life++ {
				short, stop := context.WithTimeout(ctx, time.Duration(50+37*(life+i)%200)*time.Millisecond)
				if err := placed.Subscribe(short, b, bus.Group{Name: "shipping"}, handle); err != nil {
					t.Error(err)
				}
				stop()
			}
		})
	}
	for i := range n {
		if _, err := placed.Publish(ctx, bs[i%2], order{N: i}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int]int{}
	eventually(t, "every order is sent", func() error {
		seen = map[int]int{}
		for after := port.Earliest; ; {
			list, err := bs[0].Read(ctx, port.Range{Topic: sent.Name, After: after, Max: 100})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				var k int
				if _, err := fmt.Sscanf(payload(e.Message.Body), `{"N":%d}`, &k); err != nil {
					t.Fatalf("body %s: %v", e.Message.Body, err)
				}
				seen[k]++
			}
			after = list[len(list)-1].Offset
		}
		if len(seen) < n {
			return fmt.Errorf("%d of %d", len(seen), n)
		}
		return nil
	})
	over()
	wg.Wait()
	for k, times := range seen {
		if times != 1 {
			t.Errorf("order %d was sent %d times", k, times)
		}
	}
}

// payload is the payload in an envelope.
func payload(body []byte) string {
	for i := range body {
		if s := string(body[i:]); len(s) > 5 && s[:5] == `{"N":` {
			return s
		}
	}
	return ""
}

func TestManyWhoFetchAtOnceSkipNothing(t *testing.T) {
	const n = 2000
	c := nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true}
	bs := []*nats.Backend{embedded(t, c), embedded(t, c)}
	g := port.Group{Topic: "orders", Name: "workers", Loan: time.Hour}
	if err := bs[0].Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			mine := g
			mine.Consumer = fmt.Sprintf("c%d", i)
			for ctx.Err() == nil {
				list, err := bs[i%2].Fetch(ctx, mine, 3+i%5)
				if err != nil {
					continue
				}
				mu.Lock()
				for _, d := range list {
					seen[d.Message.ID]++
				}
				if len(seen) == n {
					done()
				}
				mu.Unlock()
			}
		})
	}
	for k := 0; k < n; {
		var batch port.Batch
		for range 1 + k%7 {
			if k < n {
				batch.Messages = append(batch.Messages, port.Message{Topic: "orders", ID: fmt.Sprint(k)})
				k++
			}
		}
		if err := bs[k%2].Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if len(seen) != n {
		t.Errorf("%d of %d messages were handed out", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("message %s was handed out %d times", id, times)
		}
	}
}
