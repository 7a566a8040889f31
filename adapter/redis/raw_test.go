package redis_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// raw speaks to the server beside the backend.
type raw struct {
	t *testing.T
	c rueidis.Client
}

func direct(t *testing.T, s *testserver.Server) raw {
	t.Helper()
	o, err := rueidis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.DisableCache, o.ForceSingleClient = true, true
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return raw{t, c}
}

func (r raw) ask(command ...string) rueidis.RedisResult {
	return r.c.Do(r.t.Context(), r.c.B().Arbitrary(command...).Build())
}

func (r raw) do(command ...string) {
	r.t.Helper()
	if err := r.ask(command...).Error(); err != nil && !rueidis.IsRedisNil(err) {
		r.t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
}

func (r raw) int(command ...string) int64 {
	r.t.Helper()
	n, err := r.ask(command...).AsInt64()
	if err != nil {
		r.t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return n
}

// now is the server's time in milliseconds.
func (r raw) now() int64 {
	r.t.Helper()
	list, err := r.ask("TIME").AsStrSlice()
	if err != nil {
		r.t.Fatal(err)
	}
	s, err1 := strconv.ParseInt(list[0], 10, 64)
	us, err2 := strconv.ParseInt(list[1], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		r.t.Fatal(err)
	}
	return s*1000 + us/1000
}

// awaitTime returns when the server's clock is past a time.
func (r raw) awaitTime(at time.Time) {
	r.t.Helper()
	for r.now() <= at.UnixMilli() {
		r.pause(time.Millisecond)
	}
}

// pause waits until it is worth to ask again.
func (r raw) pause(d time.Duration) {
	r.t.Helper()
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
		r.t.Fatal(r.t.Context().Err())
	}
}

// eventually asks until ok reports true.
func (r raw) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); r.pause(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// wantError checks for a sentinel and for what the text says.
func wantError(t *testing.T, what string, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %q does not say %q", what, err, s)
		}
	}
}

func group(topic, consumer string) port.Group {
	return port.Group{Topic: topic, Name: "g", Consumer: consumer, Loan: time.Hour, Remember: time.Minute}
}

func message(topic, id string) port.Message {
	return port.Message{Topic: topic, ID: id, Body: []byte("body of " + id)}
}

func write(t *testing.T, b *redis.Backend, m ...port.Message) {
	t.Helper()
	if err := b.Write(t.Context(), port.Batch{Messages: m}); err != nil {
		t.Fatal(err)
	}
}

func join(t *testing.T, b *redis.Backend, g port.Group) {
	t.Helper()
	if err := b.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, b *redis.Backend, g port.Group, limit int) []port.Delivery {
	t.Helper()
	list, err := b.Fetch(t.Context(), g, limit)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// ids are those of the log, in order; each offset is above the one before.
func ids(t *testing.T, b *redis.Backend, topic string) []string {
	t.Helper()
	var out []string
	for after := port.Earliest; ; {
		list, err := b.Read(t.Context(), port.Range{Topic: topic, After: after, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return out
		}
		for _, e := range list {
			if e.Offset <= after {
				t.Errorf("offset %s of %s comes after %s", e.Offset, e.Message.ID, after)
			}
			after = e.Offset
			out = append(out, e.Message.ID)
		}
	}
}

func wantIDs(t *testing.T, b *redis.Backend, topic string, want ...string) {
	t.Helper()
	if got := ids(t, b, topic); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the log of %s holds %v, want %v", topic, got, want)
	}
}
