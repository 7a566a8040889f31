package redis_test

import (
	"bytes"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestAFullServerTakesNothingInAndLetsEverythingOut(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", MaxMemory: "100mb"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	ctx := t.Context()
	g := group("orders", "c1")
	join(t, b, g)
	lease, err := b.Acquire(ctx, port.Lease{Name: "orders", Owner: "o", Nonce: "n"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	late := message("orders", "late")
	late.At = time.UnixMilli(r.now() + 1)
	write(t, b, late)
	body, written := bytes.Repeat([]byte("x"), 100<<10), 40
	for i := range written {
		write(t, b, port.Message{Topic: "orders", ID: strconv.Itoa(i), Body: body})
	}
	r.do("CONFIG", "SET", "maxmemory", "2mb")
	last := port.Batch{ID: "last", Messages: []port.Message{message("orders.out", "o2")}}
	err = b.Write(ctx, last)
	wantError(t, "write", err, port.ErrUnavailable, s.Addr(), "the server's memory is full: raise maxmemory")
	if errors.Is(err, port.ErrUncertain) {
		t.Fatal(err)
	}
	_, err = b.Apply(ctx, port.Change{Key: "orders/1", Value: body})
	wantError(t, "apply", err, port.ErrUnavailable, "memory is full")
	_, err = b.Acquire(ctx, port.Lease{Name: "others", Owner: "o", Nonce: "n"}, time.Hour)
	wantError(t, "acquire", err, port.ErrUnavailable, "memory is full")

	// What is there can be worked off.
	got := fetch(t, b, g, 5)
	if len(got) != 5 {
		t.Fatalf("%d messages fetched", len(got))
	}
	emit := port.Batch{Messages: []port.Message{message("orders.out", "o")}}
	take := port.Batch{Changes: []port.Change{{Key: "orders/1", Delete: true}}}
	errs := b.Settle(ctx, g,
		port.Settlement{Receipt: got[0].Receipt},
		port.Settlement{Receipt: got[1].Receipt, Then: emit},
		port.Settlement{Receipt: got[2].Receipt, Verdict: port.Return, Reason: "why"},
		port.Settlement{Receipt: got[3].Receipt, Then: take},
		port.Settlement{Receipt: got[4].Receipt, Verdict: port.Release},
	)
	wantError(t, "settle with a message", errs[1], port.ErrUnavailable, "memory is full")
	if err := errors.Join(errs[0], errs[2], errs[3], errs[4]); err != nil {
		t.Errorf("settle without: %v", err)
	}
	if err := errors.Join(b.Extend(ctx, g, port.Hold{Receipt: got[1].Receipt, Begin: true})...); err != nil {
		t.Errorf("extend: %v", err)
	}
	if _, errs := b.Renew(ctx, time.Hour, lease); errs[0] != nil {
		t.Errorf("renew: %v", errs[0])
	}
	if _, err := b.Acquire(ctx, port.Lease{Name: "orders", Owner: "o", Nonce: "n"}, time.Hour); err != nil {
		t.Errorf("acquire again what is held: %v", err)
	}
	if _, err := b.Read(ctx, port.Range{Topic: "orders", Max: 1}); err != nil {
		t.Errorf("read: %v", err)
	}
	if h := b.Health(ctx); h.State != port.Degraded || !says(h, "refuses writes when it is full") {
		t.Errorf("health: %+v", h)
	}
	seen := map[string]bool{got[0].Message.ID: true, got[1].Message.ID: true, got[3].Message.ID: true}
	for len(seen) < written+1 {
		for _, d := range fetch(t, b, g, 100) {
			seen[d.Message.ID] = true
			if err := errors.Join(b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt})...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Declare(ctx, port.Topic{Name: "orders", MaxCount: 1}); err != nil {
		t.Errorf("declare: %v", err)
	}
	if err := b.Drop(ctx, "orders.out", ""); !errors.Is(err, port.ErrNotFound) {
		t.Errorf("the refused step left something: %v", err)
	}

	// And it recovers by itself.
	r.do("CONFIG", "SET", "maxmemory", "0")
	if err := errors.Join(b.Settle(ctx, g, port.Settlement{Receipt: got[1].Receipt, Then: emit})...); err != nil {
		t.Errorf("settle when there is room: %v", err)
	}
	if err := b.Write(ctx, last); err != nil {
		t.Errorf("write when there is room: %v", err)
	}
	wantIDs(t, b, "orders.out", "o", "o2")
}

func TestOneAnswerIsBoundedWhateverTheSizesAre(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	const small, large, size = 1000, 3, 8 << 20
	for i := range small {
		if i%100 == 0 {
			var m []port.Message
			for k := range 100 {
				m = append(m, port.Message{Topic: "orders", ID: strconv.Itoa(i + k)})
			}
			write(t, b, m...)
		}
	}
	body := bytes.Repeat([]byte("x"), size)
	for i := range large {
		write(t, b, port.Message{Topic: "orders", ID: strconv.Itoa(small + i), Body: body})
	}
	next := 0
	for next < small+large {
		sum := 0
		for _, d := range fetch(t, b, g, 500) {
			if d.Message.ID != strconv.Itoa(next) {
				t.Fatalf("message %s comes where %d should", d.Message.ID, next)
			}
			next++
			sum += len(d.Message.Body)
		}
		if sum > 4<<20+size {
			t.Fatalf("%d bytes in one answer", sum)
		}
	}
	next = 0
	for after := port.Earliest; next < small+large; {
		list, err := b.Read(t.Context(), port.Range{Topic: "orders", After: after, Max: 500})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, e := range list {
			if e.Message.ID != strconv.Itoa(next) {
				t.Fatalf("entry %s comes where %d should", e.Message.ID, next)
			}
			next++
			sum += len(e.Message.Body)
			after = e.Offset
		}
		if sum > 4<<20+size {
			t.Fatalf("%d bytes in one answer", sum)
		}
	}
}

func TestAStepThatIsTooHeavyIsRefusedBeforeItIsSent(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	write(t, b, message("orders", "1"))
	body := make([]byte, 8<<20)
	var heavy port.Batch
	for i := range 17 {
		heavy.Messages = append(heavy.Messages, port.Message{Topic: "orders.out", ID: strconv.Itoa(i), Body: body})
	}
	wantError(t, "write", b.Write(t.Context(), heavy), port.ErrInvalid, "142606336 bytes", "write it as several")
	got := fetch(t, b, g, 1)
	wantError(t, "settle", b.Settle(t.Context(), g, port.Settlement{Receipt: got[0].Receipt, Then: heavy})[0], port.ErrInvalid, "142606336 bytes")
	wantIDs(t, b, "orders.out")
}
