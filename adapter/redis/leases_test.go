package redis_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

const leasesKey = "muster:leases:{orders}"

func acquire(t *testing.T, b *redis.Backend, want port.Lease, ttl time.Duration) port.Lease {
	t.Helper()
	l, err := b.Acquire(t.Context(), want, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func giveBack(t *testing.T, b *redis.Backend, held ...port.Lease) {
	t.Helper()
	for _, err := range b.Release(t.Context(), held...) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokensGrowWhereTheServersClockHasGoneBack(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	// As if the clock had been an hour ahead when it gave the last token of the family.
	last := uint64(time.UnixMilli(r.now()).Add(time.Hour).UnixMicro())
	r.do("HSET", leasesKey, "!", strconv.FormatUint(last, 10))
	for _, name := range []string{"orders.a", "orders.a", "orders.b"} {
		l := acquire(t, b, lease(name, "n1"), time.Hour)
		if l.Token != last+1 {
			t.Errorf("token %d of %s after %d, want the next", l.Token, name, last)
		}
		last = l.Token
		giveBack(t, b, l)
	}
	// A token that a caller had seen is of its name alone.
	seen := lease("orders.c", "n1")
	seen.Seen = last + 1_000_000_000
	giveBack(t, b, acquire(t, b, seen, time.Hour))
	if l := acquire(t, b, lease("orders.a", "n1"), time.Hour); l.Token != last+1 {
		t.Errorf("token %d after %d, want the next: %d was seen for another name", l.Token, last, seen.Seen)
	}
	if l := acquire(t, b, lease("orders.c", "n1"), time.Hour); l.Token != seen.Seen+2 {
		t.Errorf("token %d after %d, want the next", l.Token, seen.Seen+1)
	}
}

func TestANameThatIsFreeTakesNoRoom(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	for i := range 20 {
		giveBack(t, b, acquire(t, b, lease("orders."+strconv.Itoa(i), "n1"), time.Hour))
	}
	if n := r.int("HLEN", leasesKey); n != 1 {
		t.Errorf("%d fields after all was given back, want the largest token alone", n)
	}
	soon := time.UnixMilli(r.now() + 50)
	ahead := lease("orders.a", "n1")
	ahead.Seen = uint64(soon.UnixMicro())
	giveBack(t, b, acquire(t, b, ahead, time.Hour))
	if n := r.int("HLEN", leasesKey); n != 2 {
		t.Errorf("%d fields, want the token that is ahead of the clock besides", n)
	}
	r.awaitTime(soon.Add(2 * time.Millisecond))
	l := acquire(t, b, lease("orders.a", "n1"), time.Hour)
	if l.Token <= ahead.Seen+1 {
		t.Errorf("token %d after %d", l.Token, ahead.Seen+1)
	}
	giveBack(t, b, l)
	if n := r.int("HLEN", leasesKey); n != 1 {
		t.Errorf("%d fields once the clock has overtaken the token, want 1", n)
	}
}

func TestLeasesThatNobodyGaveBackAreTakenOut(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	kept := acquire(t, b, lease("orders.kept", "n1"), time.Hour)
	for i := range 400 {
		acquire(t, b, lease("orders."+strconv.Itoa(i), "n1"), time.Millisecond)
	}
	for i := 0; r.int("HLEN", leasesKey) > 200; i++ {
		if i == 20_000 {
			t.Fatalf("%d fields after %d more leases", r.int("HLEN", leasesKey), i)
		}
		giveBack(t, b, acquire(t, b, lease("orders.x", "n1"), time.Hour))
	}
	r.awaitTime(time.UnixMilli(r.now()).Add(2 * time.Millisecond)) // the last ones end
	held, err := b.Holders(t.Context(), "orders.")
	if err != nil || len(held) != 1 || held[0].Token != kept.Token {
		t.Errorf("%v, %v, want the one that is held", held, err)
	}
	giveBack(t, b, kept)
}
