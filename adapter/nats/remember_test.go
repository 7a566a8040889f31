//go:build unix

package nats_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestAGroupRemembersMoreThanItsRecordHoldsForEveryProcess(t *testing.T) {
	const n = 2600 // more than two chunks of marks
	c := nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true}
	bs := []*nats.Backend{embedded(t, c), embedded(t, c)}
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute, Remember: time.Hour}
	if err := bs[0].Declare(ctx, port.Topic{Name: "orders", Window: -1}); err != nil {
		t.Fatal(err)
	}
	if err := bs[0].Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		for from < to {
			var batch port.Batch
			for ; len(batch.Messages) < 200 && from < to; from++ {
				batch.Messages = append(batch.Messages, port.Message{Topic: "orders", ID: fmt.Sprint(from)})
			}
			if err := bs[0].Write(ctx, batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, n)
	for got := 0; got < n; {
		b := bs[got%2]
		list, err := b.Fetch(ctx, g, 101)
		if err != nil {
			t.Fatal(err)
		}
		acks := make([]port.Settlement, len(list))
		for i := range list {
			acks[i].Receipt = list[i].Receipt
		}
		for _, err := range b.Settle(ctx, g, acks...) {
			if err != nil {
				t.Fatal(err)
			}
		}
		got += len(list)
	}
	write(0, n)
	write(n, n+1)
	for i, b := range append(bs, embedded(t, c)) { // the last one has seen none of it
		list, err := b.Fetch(ctx, g, 10)
		if err != nil || len(list) != 1 || list[0].Message.ID != fmt.Sprint(n) {
			t.Fatalf("process %d was handed %d messages, %v; want message %d alone", i, len(list), err, n)
		}
		if err := b.Settle(ctx, g, port.Settlement{Receipt: list[0].Receipt, Verdict: port.Release})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

func TestTwoProcessesAcknowledgeOneIDOnce(t *testing.T) {
	c := nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true}
	bs := []*nats.Backend{embedded(t, c), embedded(t, c)}
	ctx := t.Context()
	if err := bs[0].Declare(ctx, port.Topic{Name: "orders", Window: -1}); err != nil {
		t.Fatal(err)
	}
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute, Remember: time.Hour}
	if err := bs[0].Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		id := fmt.Sprint(i)
		var list []port.Delivery
		for range bs {
			if err := bs[0].Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: id}}}); err != nil {
				t.Fatal(err)
			}
		}
		for len(list) < 2 {
			some, err := bs[0].Fetch(ctx, g, 2-len(list))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, some...)
		}
		errs := make(chan error, 2)
		for k, b := range bs {
			go func() { errs <- b.Settle(ctx, g, port.Settlement{Receipt: list[k].Receipt})[0] }()
		}
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		if d, ok := errors.AsType[*port.DuplicateError](second); first != nil || !ok || !d.Whole {
			t.Fatalf("two acknowledgements of ID %s: %v and %v; want one, and one duplicate", id, first, second)
		}
	}
}
