package redis

import (
	"fmt"
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
			must(b.Write(ctx, port.Batch{Removes: []port.Removal{{Topic: topic, Offset: l.list[3].Offset}}}))
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
			raw("XDEL", b.space.addTopic(nil, topic)[1], l.places[len(l.places)-1].id())
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
