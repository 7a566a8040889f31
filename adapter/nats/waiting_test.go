//go:build unix

package nats_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestManyThatWaitAllComeBackOnceWithTheirAccount(t *testing.T) {
	const n = 1500 // more than one record and one page hold
	b := embedded(t, nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	for i := range n / 300 {
		var batch port.Batch
		for j := range 300 {
			batch.Messages = append(batch.Messages, port.Message{Topic: "orders", ID: fmt.Sprint(i*300 + j)})
		}
		if err := b.Write(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(each func([]port.Delivery)) {
		for got := 0; got < n; {
			list, err := b.Fetch(ctx, g, n)
			if err != nil {
				t.Fatal(err)
			}
			each(list)
			got += len(list)
		}
	}
	fetch(func(list []port.Delivery) {
		var back []port.Settlement
		for i, d := range list {
			back = append(back, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, After: time.Second + time.Duration(i%7)*300*time.Millisecond, Reason: "reason of " + d.Message.ID})
		}
		for _, err := range b.Settle(ctx, g, back...) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	for info, err := range b.Inspect(ctx, "orders") {
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Groups[0]; s.Delayed+s.Lag != n || s.Loaned != 0 {
			t.Errorf("group stands at %+v, want %d that wait", s, n)
		}
	}
	seen := map[string]bool{}
	fetch(func(list []port.Delivery) {
		var acks []port.Settlement
		for _, d := range list {
			if seen[d.Message.ID] || d.Attempt != 1 || d.Lost != 0 || d.Reason != "reason of "+d.Message.ID {
				t.Errorf("message %s: seen before %v, attempts %d, lost %d, reason %q", d.Message.ID, seen[d.Message.ID], d.Attempt, d.Lost, d.Reason)
			}
			seen[d.Message.ID] = true
			acks = append(acks, port.Settlement{Receipt: d.Receipt})
		}
		for _, err := range b.Settle(ctx, g, acks...) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestManyDelayedMessagesComeInTheirOrder(t *testing.T) {
	const n = 900
	b := embedded(t, nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true})
	ctx := t.Context()
	var start time.Time
	topic := ""
	for lead := time.Second; topic == "" || time.Now().After(start); lead *= 2 { // all are written before the first is due
		topic = fmt.Sprintf("orders.%v", lead)
		start = time.Now().Add(lead)
		for i := range 3 {
			var batch port.Batch
			for j := range n / 3 {
				k := j*3 + i
				batch.Messages = append(batch.Messages, port.Message{Topic: topic, ID: fmt.Sprintf("%04d", k), At: start.Add(time.Duration(k) * time.Millisecond)})
			}
			if err := b.Write(ctx, batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := ""
	for after, got := port.Earliest, 0; got < n; {
		list, err := b.Read(ctx, port.Range{Topic: topic, After: after, Max: 100, Wait: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Message.ID <= last {
				t.Fatalf("message %s came after %s", e.Message.ID, last)
			}
			if early := start.Add(-5 * time.Millisecond); e.At.Before(early) {
				t.Fatalf("message %s came at %v, before %v", e.Message.ID, e.At, early)
			}
			last = e.Message.ID
		}
		got += len(list)
		after = list[len(list)-1].Offset
	}
}
