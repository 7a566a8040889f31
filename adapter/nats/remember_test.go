//go:build unix

package nats_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestAGroupRemembersMoreThanItsRecordHoldsForEveryProcess(t *testing.T) {
	const n = 2600 // more than fit into two records of the log
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
	for i, b := range append(bs, embedded(t, c)) { // the last one has seen none of it
		write(0, n)
		write(n+i, n+i+1)
		list, err := b.Fetch(ctx, g, 10)
		if err != nil || len(list) != 1 || list[0].Message.ID != fmt.Sprint(n+i) {
			t.Fatalf("process %d was handed %d messages, %v; want message %d alone", i, len(list), err, n+i)
		}
		if err := b.Settle(ctx, g, port.Settlement{Receipt: list[0].Receipt})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

func TestARememberedAcknowledgementCostsNoAtomicBatch(t *testing.T) {
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute, Remember: time.Hour}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	const rounds, each = 20, 256
	for n := range rounds {
		batch := port.Batch{Messages: make([]port.Message, each)}
		for i := range batch.Messages {
			batch.Messages[i] = port.Message{Topic: "orders", ID: fmt.Sprint(n*each + i)}
		}
		if err := b.Write(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	records := map[string]int{}
	batched := 0
	sub, err := conn.SubscribeSync("muster.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for range rounds {
		list, err := b.Fetch(ctx, g, each)
		if err != nil || len(list) != each {
			t.Fatalf("fetched %d, %v; want %d", len(list), err, each)
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
	}
	if err := b.Signal(ctx, "end", nil); err != nil { // by the same connection: behind all that was written
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(m.Subject, ".n.end") {
			break
		}
		if what := strings.Split(m.Subject, "."); what[2] == "s" {
			records[what[3]]++
		}
		if m.Header.Get("Nats-Batch-Id") != "" {
			batched++
		}
	}
	if records["g"] != 2*rounds || records["r"] < 2 || records["r"] > rounds*each/256 || batched > 0 {
		t.Errorf("%d rounds wrote %v, of them %d in atomic batches; want %d records of the group, a few of the log, and no batch", rounds, records, batched, 2*rounds)
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
