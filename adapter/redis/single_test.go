package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// recorded is a topic whose messages 1 and 2 lie in the log, and whose record is in force.
func recorded(t *testing.T) (b *Backend, keys []string) {
	b = namesake(t, testserver.Redis(t, testserver.RedisConfig{}), "recorded")
	for _, id := range []string{"1", "2"} {
		if err := b.Write(t.Context(), batch(id)); err != nil {
			t.Fatal(err)
		}
	}
	keys = b.space.addTopic(nil, "orders")
	if said(t, b, "HGET", keys[0], "plain") == "" {
		t.Fatal("the record is not in force")
	}
	return b, keys
}

func batch(ids ...string) (b port.Batch) {
	for _, id := range ids {
		b.Messages = append(b.Messages, port.Message{Topic: "orders", ID: id})
	}
	return b
}

func TestAMessageThatTheLogRefusesIsNotKnown(t *testing.T) {
	for what, step := range map[string]port.Batch{"one": batch("3"), "several": batch("3", "4")} {
		t.Run(what, func(t *testing.T) {
			b, keys := recorded(t)
			direct(t, b, "RENAME", keys[1], "aside")
			direct(t, b, "SET", keys[1], "x")
			if err := b.Write(t.Context(), step); !errors.Is(err, port.ErrInvalid) {
				t.Fatalf("where the log is none: %v", err)
			}
			direct(t, b, "RENAME", "aside", keys[1])
			if err := b.Write(t.Context(), step); err != nil {
				t.Errorf("where it is there again: %v", err)
			}
			stored, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 10})
			if err != nil || len(stored) != 2+len(step.Messages) {
				t.Errorf("the log has %d messages: %v", len(stored), err)
			}
		})
	}
}

// The record stays in force where somebody waits, and says so; whichever of the short scripts writes, it wakes them.
func TestWhoWaitsIsWokenByTheShortScripts(t *testing.T) {
	for what, step := range map[string]port.Batch{
		"one":           batch("3"),
		"several":       batch("3", "4"),
		"a larger one":  {Messages: []port.Message{{Topic: "orders", ID: "3", Body: make([]byte, 1000)}}},
		"one as a step": {ID: "step", Messages: batch("3").Messages},
	} {
		t.Run(what, func(t *testing.T) {
			b, keys := recorded(t)
			heard := make(chan rueidis.PubSubMessage, 8)
			c, release := b.client.Dedicate()
			defer release()
			c.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) { heard <- m }})
			if err := c.Do(t.Context(), c.B().Subscribe().Channel("one", "another").Build()).Error(); err != nil {
				t.Fatal(err)
			}
			direct(t, b, "HSET", keys[0], "waiters", "one another", "plain", said(t, b, "HGET", keys[0], "plain")+"w")
			if err := b.Write(t.Context(), step); err != nil {
				t.Fatal(err)
			}
			for _, channel := range []string{"one", "another"} {
				select {
				case m := <-heard:
					if m.Channel != channel || m.Message != keys[0] {
						t.Errorf("heard %q on %q", m.Message, m.Channel)
					}
				case <-time.After(time.Minute):
					t.Fatalf("nothing is heard on %q", channel)
				}
			}
			if record := said(t, b, "HGET", keys[0], "plain"); record == "" || strings.HasSuffix(record, "w") {
				t.Errorf("the record is %q", record)
			}
			m := direct(t, b, "HEXISTS", keys[0], "waiters")
			if n, err := m.AsInt64(); err != nil || n != 0 {
				t.Error("who was woken is still registered", err)
			}
		})
	}
}
