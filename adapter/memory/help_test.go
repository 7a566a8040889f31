package memory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

const loan = 10 * time.Second

// bubble runs a test in a bubble of testing/synctest.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func member(topic, name, consumer string) port.Group {
	return port.Group{Topic: topic, Name: name, Consumer: consumer, Loan: loan}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("got %v, want %v", err, w)
		}
	}
}

func write(t *testing.T, b port.Backend, topic string, ids ...string) {
	t.Helper()
	var batch port.Batch
	for _, id := range ids {
		batch.Messages = append(batch.Messages, port.Message{Topic: topic, ID: id, Body: []byte(id)})
	}
	ok(t, b.Write(t.Context(), batch))
}

func join(t *testing.T, b port.Backend, groups ...port.Group) {
	t.Helper()
	for _, g := range groups {
		ok(t, b.Join(t.Context(), g))
	}
}

// fetch fetches what is there, within a second.
func fetch(t *testing.T, b port.Backend, g port.Group, limit int) []port.Delivery {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	list, err := b.Fetch(ctx, g, limit)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return list
}

func settle(t *testing.T, b port.Backend, g port.Group, s port.Settlement) error {
	t.Helper()
	return b.Settle(t.Context(), g, s)[0]
}

func idsOf(list []port.Delivery) []string {
	names := make([]string, 0, len(list))
	for _, d := range list {
		names = append(names, d.Message.ID)
	}
	return names
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func logOf(t *testing.T, b port.Backend, topic string) []string {
	t.Helper()
	list, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 1000})
	ok(t, err)
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.Message.ID)
	}
	return names
}

func valueOf(t *testing.T, b port.Backend, key string) string {
	t.Helper()
	list, err := b.Get(t.Context(), key)
	ok(t, err)
	if !list[0].Found {
		return "none"
	}
	return string(list[0].Bytes)
}

func infoOf(t *testing.T, b port.Backend, topic string) port.TopicInfo {
	t.Helper()
	for info, err := range b.Inspect(t.Context(), topic) {
		ok(t, err)
		return info
	}
	return port.TopicInfo{}
}

func counter(t *testing.T, b port.Backend, name string) int64 {
	t.Helper()
	s, err := b.Stats(t.Context())
	ok(t, err)
	return s.Counters[name]
}

// at is a hook that does f at one point of an operation, the first time that it comes by.
func at(name string, p memory.Point, f func() memory.Fault) func(memory.Op) memory.Fault {
	done := false
	return func(op memory.Op) memory.Fault {
		if done || op.Name != name || op.Point != p {
			return memory.Fault{}
		}
		done = true
		return f()
	}
}
