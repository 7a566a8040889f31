package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestAKeyThatHoldsAnotherTypeIsNamedAndNothingHappens(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	ctx := t.Context()
	g := group("orders", "c1")
	join(t, b, g)
	lease := port.Lease{Name: "orders", Owner: "o", Nonce: "n"}
	calls := map[string]func() error{
		"write": func() error {
			return b.Write(ctx, port.Batch{ID: "b", Messages: []port.Message{message("orders", "m")}})
		},
		"later": func() error {
			m := message("orders", "later")
			m.At = time.Now().Add(time.Hour)
			return b.Write(ctx, port.Batch{Messages: []port.Message{m}})
		},
		"addressed": func() error {
			m := message("orders", "addressed")
			m.Group = "g"
			return b.Write(ctx, port.Batch{Messages: []port.Message{m}})
		},
		"fence": func() error {
			out, err := b.Apply(ctx, port.Change{Key: "orders/1", Fence: port.Fence{Name: "f", Token: 1}})
			if err != nil {
				return err
			}
			return out[0].Err
		},
		"fetch":  func() error { _, err := b.Fetch(ctx, g, 1); return err },
		"extend": func() error { return b.Extend(ctx, g, port.Hold{Receipt: "1.1.1.m"})[0] },
		"join":   func() error { h := g; h.Name = "other"; return b.Join(ctx, h) },
		"declare": func() error {
			return b.Declare(ctx, port.Topic{Name: "orders", MaxCount: time.Now().UnixNano()})
		},
		"read":    func() error { _, err := b.Read(ctx, port.Range{Topic: "orders", Max: 1}); return err },
		"acquire": func() error { _, err := b.Acquire(ctx, lease, time.Hour); return err },
		"get":     func() error { _, err := b.Get(ctx, "orders/1"); return err },
		"getttl":  func() error { _, err := b.GetTTL(ctx, "orders/1"); return err },
		"inspect": func() error {
			for _, err := range b.Inspect(ctx, "orders") {
				return err
			}
			return nil
		},
	}
	for _, c := range []struct{ key, kind, call string }{
		{"topic:{orders}", "hash", "write"},
		{"log:{orders}", "stream", "write"},
		{"known:{orders}:0", "set", "write"},
		{"known:{orders}:2", "set", "write"},
		{"steps:{orders}:1", "set", "write"},
		{"later:{orders}", "zset", "later"},
		{"own:{orders}:g", "hash", "addressed"},
		{"state:{orders}:g", "hash", "addressed"},
		{"wait:{orders}:g", "zset", "addressed"},
		{"fences:{orders}", "hash", "fence"},
		{"group:{orders}:g", "hash", "fetch"},
		{"loans:{orders}:g", "zset", "fetch"},
		{"wait:{orders}:g", "zset", "fetch"},
		{"lent:{orders}:g", "hash", "fetch"},
		{"log:{orders}", "stream", "join"},
		{"known:{orders}:1", "set", "declare"},
		{"log:{orders}", "stream", "read"},
		{"leases:{orders}", "hash", "acquire"},
		{"kv:{orders}/1", "string", "getttl"},
		{"log:{orders}", "stream", "inspect"},
	} {
		key, other := "muster:"+c.key, []string{"SET", "muster:" + c.key, "x"}
		if c.kind == "string" {
			other = []string{"SADD", key, "x"}
		}
		aside := r.int("EXISTS", key) == 1
		if aside {
			r.do("RENAME", key, "aside")
		}
		r.do(other...)
		err := calls[c.call]()
		wantError(t, c.call+" with "+c.key, err, port.ErrInvalid, key, "should be a "+c.kind)
		if errors.Is(err, port.ErrUncertain) || errors.Is(err, port.ErrUnavailable) {
			t.Errorf("%s with %s: %v", c.call, c.key, err)
		}
		r.do("DEL", key)
		if aside {
			r.do("RENAME", "aside", key)
		}
		if got := r.int("XLEN", "muster:log:{orders}"); got != 0 {
			t.Fatalf("%s with %s left %d entries", c.call, c.key, got)
		}
	}
	r.do("SADD", "muster:kv:{orders}/1", "x")
	wantError(t, "get", calls["get"](), port.ErrInvalid, `"orders/1"`)
	r.do("DEL", "muster:kv:{orders}/1")
	for what, call := range calls {
		if what == "extend" || what == "fetch" {
			continue
		}
		if err := call(); err != nil {
			t.Errorf("%s when all is well again: %v", what, err)
		}
	}
	if got := fetch(t, b, g, 10); len(got) != 2 {
		t.Errorf("%d messages, want the written and the addressed", len(got))
	}
}

func TestAStepThatMeetsAnotherTypeTakesNoOtherStepOfItsCallWithIt(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	write(t, b, message("orders", "1"), message("orders", "2"), message("orders", "3"), message("orders", "4"))
	got := fetch(t, b, g, 4)
	r.do("SADD", "muster:kv:{orders}/a-set", "x")
	r.do("SET", "muster:log:{orders}.bad", "x")
	emit := func(topic, id string) port.Batch {
		return port.Batch{Messages: []port.Message{message(topic, id)}}
	}
	bad := emit("orders.out", "o2")
	bad.Changes = []port.Change{{Key: "orders/a-set", If: port.Equals, Old: []byte("x"), Value: []byte("y")}}
	errs := b.Settle(t.Context(), g,
		port.Settlement{Receipt: got[0].Receipt, Then: emit("orders.out", "o1")},
		port.Settlement{Receipt: got[1].Receipt, Then: bad},
		port.Settlement{Receipt: got[2].Receipt, Then: emit("orders.bad", "o3")},
		port.Settlement{Receipt: got[3].Receipt, Then: emit("orders.out", "o4")},
	)
	if errs[0] != nil || errs[3] != nil {
		t.Errorf("the good steps: %v, %v", errs[0], errs[3])
	}
	wantError(t, "a condition on a set", errs[1], port.ErrInvalid, `"orders/a-set"`)
	wantError(t, "a log that is a string", errs[2], port.ErrInvalid, "muster:log:{orders}.bad", "should be a stream")
	wantIDs(t, b, "orders.out", "o1", "o4")
	r.do("DEL", "muster:kv:{orders}/a-set", "muster:log:{orders}.bad")
	bad.Changes = nil
	errs = b.Settle(t.Context(), g,
		port.Settlement{Receipt: got[1].Receipt, Then: bad}, port.Settlement{Receipt: got[2].Receipt, Then: emit("orders.bad", "o3")})
	if err := errors.Join(errs...); err != nil {
		t.Errorf("when all is well again: %v", err)
	}
	write(t, b, message("orders.out", "o5"))
	wantIDs(t, b, "orders.out", "o1", "o4", "o2", "o5")
	wantIDs(t, b, "orders.bad", "o3")
}

func TestADelayedMessageThatWasDueStaysWholeWhenItsCallIsRefused(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	due := time.UnixMilli(r.now() + 20)
	late := message("orders.a", "late")
	late.At = due
	write(t, b, late)
	r.do("SET", "muster:log:{orders}.b", "x")
	r.awaitTime(due)
	err := b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders.a", "1"), message("orders.b", "1")}})
	wantError(t, "write", err, port.ErrInvalid, "muster:log:{orders}.b")
	write(t, b, message("orders.a", "2"))
	wantIDs(t, b, "orders.a", "late", "2")
}

func TestAFetchThatIsRefusedLosesNoMessageThatWaits(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	m := message("orders", "addressed")
	m.Group = "g"
	write(t, b, message("orders", "returned"))
	back := port.Settlement{Receipt: fetch(t, b, g, 1)[0].Receipt, Verdict: port.Return}
	if err := b.Settle(t.Context(), g, back)[0]; err != nil {
		t.Fatal(err)
	}
	r.awaitTime(time.UnixMilli(r.now())) // the other waits behind it
	write(t, b, m)
	r.do("RENAME", "muster:own:{orders}:g", "aside")
	r.do("SET", "muster:own:{orders}:g", "x")
	_, err := b.Fetch(t.Context(), g, 2)
	wantError(t, "fetch", err, port.ErrInvalid, "muster:own:{orders}:g")
	r.do("RENAME", "aside", "muster:own:{orders}:g")
	if got := fetch(t, b, g, 2); len(got) != 2 || got[0].Message.ID != "returned" || got[1].Message.ID != "addressed" {
		t.Errorf("fetched %v", got)
	}
}

func TestATopicWhoseHashIsGoneIsRefusedUntilItsLogIsGoneToo(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	write(t, b, message("orders", "1"))
	r.do("DEL", "muster:topic:{orders}")
	err := b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "2")}})
	wantError(t, "write", err, port.ErrUnavailable, "muster:topic:{orders}", "delete the topic's other keys")
	r.do("DEL", "muster:log:{orders}", "muster:known:{orders}:0", "muster:known:{orders}:1", "muster:known:{orders}:2")
	write(t, b, message("orders", "2"))
	wantIDs(t, b, "orders", "2")
}
