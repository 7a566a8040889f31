//go:build unix

package nats_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// bout is writers and workers on a server that is killed under them.
type bout struct {
	t       *testing.T
	url     string
	writers int
	each    int        // messages that are handled between two breaks, at least
	handled func() int // messages that were handled, or -1

	mu      sync.Mutex
	more    sync.Cond
	begun   int // messages that are written or were
	allowed int
	over    bool
}

// done counts the messages that were handled, and has more written than that: whoever waits for one more does not wait in vain.
func (b *bout) done() int {
	n := b.handled()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = max(b.allowed, n+2*b.each)
	b.more.Broadcast()
	return n
}

// next waits until one more may be written. It returns false when the bout is over.
func (b *bout) next() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.begun >= b.allowed && !b.over {
		b.more.Wait()
	}
	if b.over {
		return false
	}
	b.begun++
	return true
}

// end lets no more be written, and returns how many were begun.
func (b *bout) end() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.more.Broadcast()
	return b.begun
}

func (b *bout) open() *nats.Backend {
	return open(b.t, nats.Config{URL: b.url, Namespace: "bout", Timeout: 2 * time.Second})
}

// write repeats each step under its ID until its outcome is known.
func (b *bout) write(ctx context.Context, w int) {
	back := b.open()
	for i := 0; b.next(); i++ {
		id := fmt.Sprintf("w%d.%05d", w, i)
		step := port.Batch{
			ID:       id,
			Messages: []port.Message{{Topic: "orders.in", ID: id, Body: []byte(id)}},
			Changes:  []port.Change{{Key: "orders/written/" + id, Value: []byte(id), If: port.Absent}},
		}
		for {
			err := back.Write(ctx, step)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			if !errors.Is(err, port.ErrUnavailable) && !errors.Is(err, port.ErrUncertain) {
				b.t.Errorf("write of %s: %v", id, err)
				return
			}
		}
	}
}

// work handles each message by a step that would show if it were done twice.
func (b *bout) work(ctx context.Context, n int) {
	back := b.open()
	g := port.Group{Topic: "orders.in", Name: "workers", Consumer: fmt.Sprintf("c%d", n), Loan: 3 * time.Second, Remember: time.Hour}
	for ctx.Err() == nil {
		list, err := back.Fetch(ctx, g, 7)
		if err != nil {
			continue
		}
		settle := make([]port.Settlement, len(list))
		for i, d := range list {
			settle[i] = port.Settlement{Receipt: d.Receipt, Then: port.Batch{
				Messages: []port.Message{{Topic: "orders.out", ID: fmt.Sprintf("%s by %d of %s", d.Message.ID, n, d.Receipt), Body: []byte(d.Message.ID)}},
				Changes:  []port.Change{{Key: "orders/done/" + d.Message.ID, If: port.Absent}},
			}}
		}
		for ctx.Err() == nil {
			again := false
			for _, err := range back.Settle(ctx, g, settle...) {
				again = again || errors.Is(err, port.ErrUncertain) || errors.Is(err, port.ErrUnavailable)
				if errors.Is(err, port.ErrConflict) {
					b.t.Errorf("a message was handled twice: %v", err)
				}
			}
			if !again {
				break
			}
		}
	}
}

// run starts writers and workers, has breakIt break something again and again while they are at it, and fails unless each message has
// one result in the end.
func (b *bout) run(breaks int, breakIt func(n int)) {
	t := b.t
	first := b.open()
	g := port.Group{Topic: "orders.in", Name: "workers", Consumer: "c", Loan: 3 * time.Second}
	if err := first.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
	defer stop()
	b.more.L = &b.mu
	b.handled = func() int {
		n := 0
		for _, err := range first.Keys(ctx, "orders/done/*") {
			if err != nil {
				return -1
			}
			n++
		}
		return n
	}
	var writers, workers sync.WaitGroup
	defer b.end()
	for w := range b.writers {
		writers.Go(func() { b.write(ctx, w) })
	}
	for n := range 3 {
		workers.Go(func() { b.work(ctx, n) })
	}
	done := 0
	for n := 1; n <= breaks; n++ {
		b.await("some of the work is done", done+b.each)
		breakIt(n)
		done = b.done()
	}
	all := b.end()
	writers.Wait()
	b.await("all of the work is done", all)
	stop()
	workers.Wait()
	b.count(first, all)
}

// await waits until so many messages are done.
func (b *bout) await(what string, want int) {
	b.t.Helper()
	eventually(b.t, what, func() error {
		if n := b.done(); n < want {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	})
}

// count fails unless each message has one result.
func (b *bout) count(back *nats.Backend, all int) {
	t := b.t
	outs := map[string]int{}
	for after := port.Earliest; ; {
		list, err := back.Read(t.Context(), port.Range{Topic: "orders.out", After: after, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			outs[string(e.Message.Body)]++
		}
		after = list[len(list)-1].Offset
	}
	if len(outs) != all {
		t.Errorf("%d of %d messages have a result", len(outs), all)
	}
	for id, n := range outs {
		if n != 1 {
			t.Errorf("message %s has %d results", id, n)
		}
	}
}

func TestNothingIsLostOrDoneTwiceWhenTheServerIsKilled(t *testing.T) {
	s := newProcess(t)
	b := &bout{t: t, url: s.url(), writers: 4, each: 120}
	b.run(4, func(int) {
		s.kill()
		s.start()
	})
}
