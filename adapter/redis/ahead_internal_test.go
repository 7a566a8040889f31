package redis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// Between reading ahead and lending, everything may change. Then nothing is lent.
func TestWhatChangedSinceItWasReadAheadIsNotLent(t *testing.T) {
	ctx := t.Context()
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b, err := Open(ctx, Config{URL: s.URL()})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	t.Cleanup(func() { must(b.Close()) })
	raw := func(command ...string) {
		t.Helper()
		must(b.client.Do(ctx, b.client.B().Arbitrary(command...).Build()).Error())
	}
	write := func(topic, id string) {
		t.Helper()
		must(b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: topic, ID: id, Body: []byte("x")}}}))
	}
	for what, c := range map[string]struct {
		lent      bool
		meanwhile func(topic string, g port.Group, l lending)
	}{
		"nothing":         {true, func(string, port.Group, lending) {}},
		"more is written": {true, func(topic string, _ port.Group, _ lending) { write(topic, "more") }},
		"an entry is removed": {false, func(topic string, _ port.Group, l lending) {
			must(b.Write(ctx, port.Batch{Removes: []port.Removal{{Topic: topic, Offset: place{l.era, l.places[3].ms, number(l.places[3].n)}.offset()}}}))
		}},
		"somebody else fetches": {false, func(_ string, g port.Group, _ lending) {
			_, err := b.Fetch(ctx, g, 1)
			must(err)
		}},
		"an ID is remembered": {false, func(topic string, g port.Group, l lending) {
			key := b.space.addGroup(nil, g.Topic, g.Name)[5]
			raw("SADD", key, l.list[7].Message.ID)
		}},
		"the group remembers for less": {false, func(topic string, g port.Group, _ lending) {
			raw("HSET", b.space.addGroup(nil, g.Topic, g.Name)[0], "remember", "1")
		}},
		"the log lost its end": {false, func(topic string, g port.Group, l lending) {
			raw("XDEL", b.space.addTopic(nil, topic)[1], l.last)
		}},
		"the topic is another": {false, func(topic string, g port.Group, l lending) {
			raw("HSET", b.space.topicHash(topic), "era", "1")
		}},
		"a delayed message is due": {false, func(topic string, g port.Group, l lending) {
			raw("HSET", b.space.topicHash(topic), "due", "1")
		}},
		"a loan has ended": {false, func(topic string, g port.Group, l lending) {
			raw("ZADD", b.space.addGroup(nil, g.Topic, g.Name)[2], "1", "7")
		}},
		"one that waited is due": {false, func(topic string, g port.Group, l lending) {
			raw("ZADD", b.space.addGroup(nil, g.Topic, g.Name)[3], "1", "7")
		}},
	} {
		t.Run(what, func(t *testing.T) {
			topic := fmt.Sprintf("t%d", time.Now().UnixNano())
			g := port.Group{Topic: topic, Name: "g", Consumer: "c", Loan: time.Hour, Remember: time.Hour}
			must(b.Join(ctx, g))
			for i := range 100 {
				write(topic, fmt.Sprint(i))
			}
			_, err := b.Fetch(ctx, g, 1)
			must(err)
			spot := b.ahead.take(&g)
			if spot == nil || spot.count != 99 {
				t.Fatalf("the spot is %+v", spot)
			}
			l, ok, err := b.readAhead(&g, spot, 40)
			must(err)
			if !ok || len(l.list) != 40 || l.list[0].Message.ID != "1" {
				t.Fatalf("read ahead: %v, %d messages", ok, len(l.list))
			}
			c.meanwhile(topic, g, l)
			list, ok, err := b.lend(l, spot)
			must(err)
			if ok != c.lent || ok != (len(list) == 40) {
				t.Errorf("lent %v, %d messages", ok, len(list))
			}
			if !ok && spot.skips == 0 {
				t.Error("it is tried again at once")
			}
		})
	}
}

// What was taken out of a pack is in the log still.
func TestWhatWasTakenOutOfAPackIsNotLent(t *testing.T) {
	b := namesake(t, testserver.Redis(t, testserver.RedisConfig{}), "packs")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g := port.Group{Topic: "orders", Name: "g", Consumer: "c", Loan: time.Hour, Remember: time.Hour}
	must(b.Join(t.Context(), g))
	var step port.Batch
	for i := range 100 {
		step.Messages = append(step.Messages, port.Message{Topic: g.Topic, ID: strconv.Itoa(i)})
	}
	must(b.Write(t.Context(), step))
	log, err := b.Read(t.Context(), port.Range{Topic: g.Topic, Max: 100})
	must(err)
	removed := map[string]bool{}
	for _, i := range []int{10, 31, 32, 33, 60} {
		removed[log[i].Message.ID] = true
		must(b.Write(t.Context(), port.Batch{Removes: []port.Removal{{Topic: g.Topic, Offset: log[i].Offset}}}))
	}
	_, err = b.Fetch(t.Context(), g, 1)
	must(err)
	spot := b.ahead.take(&g)
	if spot == nil {
		t.Fatal("no spot")
	}
	l, ok, err := b.readAhead(&g, spot, 40)
	must(err)
	if !ok {
		t.Fatal("nothing was read ahead")
	}
	if list, ok, err := b.lend(l, spot); ok || err != nil {
		t.Fatalf("%d messages were lent, %v", len(list), err)
	}
	got := 1
	for got < 100-len(removed) {
		list, err := b.Fetch(t.Context(), g, 40)
		must(err)
		got += len(list)
		for _, d := range list {
			if removed[d.Message.ID] {
				t.Errorf("message %s was taken out", d.Message.ID)
			}
		}
	}
}

// A pack whose messages are all taken out, or trimmed, leaves nothing behind.
func TestNothingIsLeftOfAPackThatIsGone(t *testing.T) {
	b := namesake(t, testserver.Redis(t, testserver.RedisConfig{}), "packs")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Declare(t.Context(), port.Topic{Name: "orders", Window: -1}))
	fields := func() int {
		n := 0
		h := direct(t, b, "HKEYS", b.space.topicHash("orders"))
		names, err := h.AsStrSlice()
		must(err)
		for _, f := range names {
			if strings.HasPrefix(f, "x:") {
				n++
			}
		}
		return n
	}
	entries := func() int64 {
		m := direct(t, b, "XLEN", b.space.addTopic(nil, "orders")[1])
		n, err := m.AsInt64()
		must(err)
		return n
	}
	var step port.Batch
	for i := range 96 {
		step.Messages = append(step.Messages, port.Message{Topic: "orders", ID: strconv.Itoa(i)})
	}
	must(b.Write(t.Context(), step))
	log, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 100})
	must(err)
	if entries() != 3 {
		t.Fatalf("96 messages are in %d entries", entries())
	}
	remove := func(from, to int) {
		t.Helper()
		for _, s := range log[from:to] {
			must(b.Write(t.Context(), port.Batch{Removes: []port.Removal{{Topic: "orders", Offset: s.Offset}}}))
		}
	}
	remove(32, 63)
	if fields() != 31 || entries() != 3 {
		t.Fatalf("%d messages of a pack are marked, in %d entries", fields(), entries())
	}
	remove(63, 64)
	if fields() != 0 || entries() != 2 {
		t.Errorf("of a pack that is gone %d messages are marked; %d entries", fields(), entries())
	}
	remove(10, 20)
	remove(70, 80)
	must(b.Declare(t.Context(), port.Topic{Name: "orders", MaxCount: 30}))
	_, err = b.trim(t.Context(), "orders")
	must(err)
	log, err = b.Read(t.Context(), port.Range{Topic: "orders", Max: 100})
	must(err)
	if len(log) != 30 {
		t.Errorf("%d messages are kept", len(log))
	}
	if fields() != 20 || entries() != 2 {
		t.Errorf("%d messages are marked, in %d entries", fields(), entries())
	}
	must(b.Declare(t.Context(), port.Topic{Name: "orders", MaxCount: 10}))
	_, err = b.trim(t.Context(), "orders")
	must(err)
	if fields() != 10 || entries() != 1 {
		t.Errorf("%d messages are marked, in %d entries", fields(), entries())
	}
}
