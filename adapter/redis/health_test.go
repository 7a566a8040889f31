package redis_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func says(h port.Health, what string) bool {
	return slices.ContainsFunc(h.Details, func(d string) bool { return strings.Contains(d, what) })
}

func TestWhatIsPromisedFollowsFromHowTheServerIsSetUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  testserver.RedisConfig
		durable port.Durability
		says    []string // none: healthy
	}{
		{"each write is synced", testserver.RedisConfig{}, port.DurableProcess, nil},
		{"synced each second", testserver.RedisConfig{Appendfsync: "everysec"}, port.DurableNone, []string{"appendfsync everysec, so up to 2 s of what was acknowledged may be lost when the server is killed: set appendfsync always."}},
		{"synced by the machine", testserver.RedisConfig{Appendfsync: "no"}, port.DurableNone, []string{"appendfsync no"}},
		{"no file", testserver.RedisConfig{Appendfsync: "off"}, port.DurableNone, []string{"The append-only file is off"}},
		{
			"any key may go",
			testserver.RedisConfig{Lines: []string{"maxmemory-policy allkeys-lru"}},
			port.DurableNone,
			[]string{"The server may evict any key when its memory is full (maxmemory-policy allkeys-lru), messages among them: set maxmemory-policy noeviction."},
		},
		{
			"keys with an end may go",
			testserver.RedisConfig{Lines: []string{"maxmemory-policy volatile-ttl"}},
			port.DurableProcess,
			[]string{"what is known of message IDs"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, redis.Config{URL: testserver.Redis(t, c.config).URL()})
			caps := b.Caps()
			if caps.Durable != c.durable || caps.Exclusion != (c.durable == port.DurableProcess) || !caps.LinearReads || !caps.Fenced {
				t.Errorf("caps: %+v", caps)
			}
			h := b.Health(t.Context())
			if want := port.Healthy; len(c.says) == 0 && h.State != want {
				t.Errorf("health: %+v", h)
			}
			for _, s := range c.says {
				if h.State != port.Degraded || !says(h, s) {
					t.Errorf("health does not say %q: %+v", s, h)
				}
			}
		})
	}
}

func TestHealthSeesASetUpThatWasMadeWorseLater(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	b := open(t, redis.Config{URL: s.URL()})
	if h := b.Health(t.Context()); h.State != port.Healthy || h.RoundTrip <= 0 {
		t.Fatalf("health: %+v", h)
	}
	direct(t, s).do("CONFIG", "SET", "appendfsync", "everysec")
	if h := b.Health(t.Context()); h.State != port.Degraded || !says(h, "appendfsync everysec") {
		t.Errorf("health: %+v", h)
	}
	if b.Caps().Durable != port.DurableProcess {
		t.Error("the caps have changed")
	}
	s.Kill()
	if h := b.Health(t.Context()); h.State != port.Unavailable || !says(h, "The server does not answer") {
		t.Errorf("health: %+v", h)
	}
}

func TestAReplicaIsTold(t *testing.T) {
	master := testserver.Redis(t, testserver.RedisConfig{Lines: []string{"repl-diskless-sync-delay 0"}})
	replica := testserver.Redis(t, testserver.RedisConfig{ReplicaOf: master})
	m := direct(t, master)
	m.eventually("the replica is there", func() bool { return m.int("WAIT", "1", "100") == 1 })
	b := open(t, redis.Config{URL: replica.URL()})
	if b.Caps().LinearReads {
		t.Error("a replica's reads are said to be linear")
	}
	if h := b.Health(t.Context()); h.State != port.Degraded || !says(h, "refuses writes: connect to the master") {
		t.Errorf("health of the replica: %+v", h)
	}
	err := b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}})
	wantError(t, "write", err, port.ErrUnavailable, replica.Addr(), "this is a replica that is read only: connect to the master")
	_, err = b.Acquire(t.Context(), port.Lease{Name: "orders", Owner: "o", Nonce: "n"}, time.Hour)
	wantError(t, "acquire", err, port.ErrUnavailable, "connect to the master")
	if h := open(t, redis.Config{URL: master.URL()}).Health(t.Context()); h.State != port.Degraded || !says(h, "a fail-over to one of them may lose what it had acknowledged") {
		t.Errorf("health of the master: %+v", h)
	}
	direct(t, replica).do("REPLICAOF", "NO", "ONE")
	write(t, b, message("orders", "1"))
}

func TestAGroupThatNobodyServesIsReported(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	ctx := t.Context()
	if err := b.Declare(ctx, port.Topic{Name: "orders", MaxCount: 2}); err != nil {
		t.Fatal(err)
	}
	served, unserved := group("orders", "c1"), group("orders", "c2")
	unserved.Name = "forgotten"
	join(t, b, served)
	join(t, b, unserved)
	write(t, b, message("orders", "1"), message("orders", "2"))
	for _, d := range fetch(t, b, served, 2) {
		if err := b.Settle(ctx, served, port.Settlement{Receipt: d.Receipt})[0]; err != nil {
			t.Fatal(err)
		}
	}
	err := b.Write(ctx, port.Batch{Messages: []port.Message{message("orders", "3")}})
	wantError(t, "write to a full topic", err, port.ErrUnavailable, "topic orders is full of what its groups have not finished", "drop those that nobody serves")
	if err := b.Declare(ctx, port.Topic{Name: "orders", MaxCount: 1}); err != nil {
		t.Fatal(err)
	}
	r.eventually("a janitor notes it", func() bool { return r.int("SISMEMBER", "muster:held", "orders") == 1 })
	if h := b.Health(ctx); h.State != port.Healthy {
		t.Errorf("it is reported at once, when its consumers may have a pause: %+v", h)
	}
	r.do("HINCRBY", "muster:topic:{orders}", "since", "-60000")
	fresh := open(t, redis.Config{URL: s.URL()})
	const sentence = "Topic orders is over its limits because of group forgotten, which has not finished its oldest messages while nobody has any of them on loan: serve the group, or give it up with Drop."
	if h := fresh.Health(ctx); h.State != port.Degraded || !slices.Contains(h.Details, sentence) {
		t.Errorf("health: %+v", h)
	}
	for info, err := range b.Inspect(ctx, "orders") {
		if err != nil {
			t.Fatal(err)
		}
		if g := info.Groups[0]; g.Name != "forgotten" || g.Lag != 2 || len(g.Consumers) != 0 {
			t.Errorf("inspect: %+v", g)
		}
	}
	if err := b.Drop(ctx, "orders", "forgotten"); err != nil {
		t.Fatal(err)
	}
	if h := fresh.Health(ctx); h.State != port.Healthy {
		t.Errorf("health after Drop: %+v", h)
	}
	r.eventually("the topic is brought within its limits", func() bool { return r.int("XLEN", "muster:log:{orders}") == 1 })
	r.eventually("the note is taken off", func() bool { return r.int("SISMEMBER", "muster:held", "orders") == 0 })
}

func TestATopicThatCannotBeTrimmedIsReportedAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	for _, topic := range []string{"a", "b", "c"} {
		if err := b.Declare(t.Context(), port.Topic{Name: topic, MaxCount: 1}); err != nil {
			t.Fatal(err)
		}
		write(t, b, message(topic, "1"))
	}
	r.do("SET", "muster:log:{b}", "x")
	r.eventually("it is reported", func() bool {
		return says(b.Health(t.Context()), "Topic b was not brought within its limits")
	})
	r.do("DEL", "muster:log:{b}")
	r.eventually("it is well again", func() bool { return b.Health(t.Context()).State == port.Healthy })
}
