//go:build unix

package terms_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// promotionTTL is longer than sentinels take to promote a replica, so that a past leader is there to meet the next one.
const promotionTTL = 8 * time.Second

// reign is one candidate's first term.
type reign struct {
	mu    sync.Mutex
	begun time.Time
	token uint64
	held  time.Time // the last time at which Held was true, read before it was asked
	lost  bool
}

func (r *reign) began() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.begun.IsZero()
}

// run runs for the election until ctx ends or its first term does.
func (r *reign) run(ctx context.Context, t *testing.T, l port.Leases, id string) {
	over := errors.New("one term is enough")
	c := cluster.Candidate{Election: election, ID: id, TTL: promotionTTL, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err := cluster.Lead(ctx, l, c, func(term context.Context, own cluster.Term) error {
		r.mu.Lock()
		r.begun, r.token = time.Now(), own.Token
		r.mu.Unlock()
		for pause(term, time.Millisecond) {
			if at := time.Now(); own.Held() {
				r.mu.Lock()
				r.held = at
				r.mu.Unlock()
			}
		}
		r.mu.Lock()
		r.lost = errors.Is(context.Cause(term), port.ErrLost)
		r.mu.Unlock()
		stop()
		return over
	})
	if err != nil && !errors.Is(err, over) {
		t.Errorf("%s: %v", id, err)
	}
}

// A master dies for good, and the sentinels make its replica the master. What the documentation says of each configuration is what
// happens to the exclusion; the tokens grow in all of them.
func TestWhatIsLeftOfALeaseWhenAReplicaIsPromoted(t *testing.T) {
	for _, c := range []struct {
		name      string
		config    redis.Config
		has       string // what the replica has of it when it is promoted: nothing, all, or the grant without the renewals of the last TTL
		exclusive bool   // no two terms overlap
	}{
		{"the replica has not got the grant, and nothing is configured", redis.Config{}, "nothing", false},
		{"the replica has not got the grant, and there is a quarantine", redis.Config{Quarantine: promotionTTL}, "nothing", true},
		{"the replica has the grant", redis.Config{}, "all", true},
		{"the replica has the grant because it has to", redis.Config{Replicas: 1}, "all", true},
		{"both are configured", redis.Config{Replicas: 1, Quarantine: promotionTTL}, "all", true},
		{"the replica has not got the renewals, and nothing is configured", redis.Config{}, "the grant", false},
		{"the replica has not got the renewals, and there is a quarantine", redis.Config{Quarantine: promotionTTL}, "the grant", true},
		{"the replica has not got the renewals, though it had to have the grant", redis.Config{Replicas: 1}, "the grant", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := testserver.NewRedisSentinel(t, testserver.RedisConfig{})
			c.config.URL, c.config.Timeout = k.URL(), time.Second
			one, two := openWith(t, c.config), openWith(t, c.config)
			var wg sync.WaitGroup
			defer wg.Wait()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var old, next reign
			// The first lease of all waits for the quarantine too, and the replica has the note of that.
			until(t, "a lease is granted", func() bool {
				got, err := one.Acquire(ctx, port.Lease{Name: "warm", Owner: "warm", Nonce: "warm"}, time.Minute)
				return err == nil && errors.Join(one.Release(ctx, got)...) == nil
			})
			if c.has == "nothing" {
				cutOff(t, k)
			}
			wg.Go(func() { old.run(ctx, t, one, "old") })
			until(t, "the first one leads", old.began)
			if c.has != "nothing" {
				lasting(t, time.Second) // the stream of writes is behind by less
			}
			if c.has == "the grant" {
				cutOff(t, k)
				lasting(t, promotionTTL+time.Second) // the lease that the replica knows of is over
				old.mu.Lock()
				if old.lost {
					t.Error("the old one was not renewed: nothing is shown")
				}
				old.mu.Unlock()
			}
			k.Servers[0].Kill()
			killed := time.Now()
			if c.has != "all" {
				k.Servers[1].Resume()
			}
			wg.Go(func() { next.run(ctx, t, two, "next") })
			k.AwaitMaster(k.Servers[1])
			promoted := time.Since(killed)
			if c.config.Replicas > 0 {
				k.Servers[0].Restart() // nothing new is granted without a replica
			}
			if c.has == "all" {
				// It may go on where the promotion was quick. Then it has to end for another to begin.
				lasting(t, promotionTTL)
				old.mu.Lock()
				stays := !old.lost && time.Since(old.held) < promotionTTL
				old.mu.Unlock()
				t.Logf("the old leader stays: %v", stays)
				if stays {
					if next.began() {
						t.Error("two lead")
					}
					return
				}
			}
			until(t, "another one leads", next.began)
			until(t, "the old one knows", func() bool {
				old.mu.Lock()
				defer old.mu.Unlock()
				return old.lost
			})
			old.mu.Lock()
			next.mu.Lock()
			overlap := old.held.Sub(next.begun)
			t.Logf("promoted after %v; the next term began %v after the crash; overlap %v; tokens %d, %d",
				promoted.Round(time.Millisecond), next.begun.Sub(killed).Round(time.Millisecond), max(overlap, 0).Round(time.Millisecond), old.token, next.token)
			if next.token <= old.token {
				t.Errorf("the token went from %d to %d", old.token, next.token)
			}
			if c.exclusive && overlap > 0 {
				t.Errorf("two led for %v", overlap)
			}
			if last := old.held.Sub(killed); last > promotionTTL {
				t.Errorf("the old one held it for %v after what granted it was gone", last)
			}
			next.mu.Unlock()
			old.mu.Unlock()
			stop()
		})
	}
}

// What a replica has to have and has not is not granted.
func TestNothingIsGrantedThatAReplicaHasToHaveAndHasNot(t *testing.T) {
	t.Parallel()
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{})
	b := openWith(t, redis.Config{URL: k.URL(), Timeout: time.Second, Replicas: 1})
	cutOff(t, k)
	h := cluster.Hold{Name: "x", TTL: promotionTTL, Log: slog.New(slog.DiscardHandler)}
	err := cluster.TryLock(t.Context(), b, h, func(context.Context, cluster.Term) error {
		t.Error("it was granted")
		return nil
	})
	if !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("%v, want %v", err, port.ErrUnavailable)
	}
	k.Servers[1].Resume()
}

// cutOff keeps the replica from hearing of what is written from now on, until it is resumed: it does not run, and what its kernel
// takes for it is no more than was written before.
func cutOff(t *testing.T, k *testserver.RedisSentinel) {
	t.Helper()
	k.Servers[1].Pause()
	conn, err := net.Dial("tcp", k.Servers[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := conn.Write([]byte("CLIENT KILL TYPE replica\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != ":1\r\n" {
		t.Fatalf("the replica's link: %q, %v", answer, err)
	}
}

func openWith(t testing.TB, c redis.Config) port.Backend {
	t.Helper()
	b, err := redis.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
