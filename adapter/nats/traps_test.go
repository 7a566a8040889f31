//go:build unix

package nats_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// A consumer of JetStream hands out nothing more when 1,000 of its messages are not acknowledged, whoever has them.
func TestAConsumerThatSettlesNothingStallsNobodyElse(t *testing.T) {
	const (
		held = 5_000
		more = 100
	)
	s := newProcess(t)
	hoarder, other := open(t, nats.Config{URL: s.url()}), open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Loan: time.Hour}
	if err := hoarder.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	publish := func(from, to int) {
		t.Helper()
		for n := from; n < to; n += 100 {
			var b port.Batch
			for i := n; i < n+100; i++ {
				b.Messages = append(b.Messages, port.Message{Topic: g.Topic, ID: fmt.Sprint(i)})
			}
			if err := hoarder.Write(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch := func(b *nats.Backend, consumer string, n int) (list []port.Delivery) {
		t.Helper()
		mine := g
		mine.Consumer = consumer
		for len(list) < n {
			some, err := b.Fetch(ctx, mine, n-len(list))
			if err != nil {
				t.Fatalf("fetch by %s after %d of %d: %v", consumer, len(list), n, err)
			}
			list = append(list, some...)
		}
		return list
	}
	settle := func(b *nats.Backend, consumer string, list []port.Delivery) {
		t.Helper()
		mine := g
		mine.Consumer = consumer
		for part := range slices.Chunk(list, 500) {
			var all []port.Settlement
			for _, d := range part {
				all = append(all, port.Settlement{Receipt: d.Receipt})
			}
			if err := errors.Join(b.Settle(ctx, mine, all...)...); err != nil {
				t.Fatalf("settlement by %s: %v", consumer, err)
			}
		}
	}
	publish(0, held)
	hoard := fetch(hoarder, "hoarder", held)
	publish(held, held+more)
	for i, d := range fetch(other, "other", more) {
		if want := fmt.Sprint(held + i); d.Message.ID != want {
			t.Errorf("the other got message %s, want %s", d.Message.ID, want)
		}
		settle(other, "other", []port.Delivery{d})
	}
	for info, err := range other.Inspect(ctx, g.Topic) {
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Groups[0]; st.Loaned != held || st.Lag != 0 {
			t.Errorf("the group has %d messages on loan and %d to come, want %d and 0", st.Loaned, st.Lag, held)
		}
	}
	settle(hoarder, "hoarder", hoard)
	for info, err := range other.Inspect(ctx, g.Topic) {
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Groups[0]; st.Loaned != 0 {
			t.Errorf("after its settlements %d messages are still on loan", st.Loaned)
		}
	}
}

// All loans of a group are in one record, which is as large as a message may be at most.
func TestAGroupWithAsManyLoansAsItsRecordHoldsSaysSoAndGoesOn(t *testing.T) {
	const batch = 400
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: strings.Repeat("c", 128), Loan: time.Hour}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	published := 0
	publish := func() {
		t.Helper()
		var step port.Batch
		for range batch {
			step.Messages = append(step.Messages, port.Message{Topic: g.Topic, ID: fmt.Sprint(published)})
			published++
		}
		if err := b.Write(ctx, step); err != nil {
			t.Fatal(err)
		}
	}
	var held []port.Delivery
	var full error
	for full == nil {
		publish()
		list, err := b.Fetch(ctx, g, batch)
		held, full = append(held, list...), err
	}
	t.Logf("full with %d messages on loan", len(held))
	if !errors.Is(full, port.ErrUnavailable) || !strings.Contains(full.Error(), fmt.Sprintf(`group "workers" of topic "orders" has %d messages on loan`, len(held))) {
		t.Fatalf("fetch with %d messages on loan: %v, want ErrUnavailable and why", len(held), full)
	}
	// Every verdict has room, also the one with the longest reason and a delay that keeps the message in the record.
	returned := held[:batch]
	for _, d := range returned {
		err := b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, After: time.Hour, Reason: strings.Repeat("r", port.MaxReason)})[0]
		if err != nil {
			t.Fatalf("return by a full group: %v", err)
		}
	}
	for part := range slices.Chunk(held[batch:], batch) {
		var all []port.Settlement
		for _, d := range part {
			all = append(all, port.Settlement{Receipt: d.Receipt})
		}
		if err := errors.Join(b.Settle(ctx, g, all...)...); err != nil {
			t.Fatalf("settlement by a full group: %v", err)
		}
	}
	for rest := published - len(held); rest > 0; {
		list, err := b.Fetch(ctx, g, rest)
		if err != nil {
			t.Fatalf("fetch when there is room again: %v", err)
		}
		rest -= len(list)
	}
}
