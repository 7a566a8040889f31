//go:build unix

package caches_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/rueidis"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/internal/testserver"
)

// follower is a node in this process.
func follower[T any](b *testing.B, server *testserver.Server, name string) *cache.Cache[T] {
	b.Helper()
	backend, err := redis.Open(b.Context(), redis.Config{URL: server.URL()})
	if err != nil {
		b.Fatal(err)
	}
	c := cache.New(backend, name, cache.Config[T]{})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Follow(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := backend.Close(); err != nil {
			b.Error(err)
		}
	})
	for !c.Hears() {
		<-time.After(time.Millisecond)
	}
	return c
}

func client(b *testing.B, server *testserver.Server) rueidis.Client {
	b.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

// account is a value that a text has to be decoded to.
type account struct {
	ID, Name, Mail string
	Groups         []int
}

// BenchmarkHit compares a hit with the library under it and with rueidis' client-side cache, in turns of one run, of the same server, values and
// process, with one reader and with as many as there are cores. Rueidis keeps what the server said, so what is not a text is
// decoded at each hit.
func BenchmarkHit(b *testing.B) {
	const values = 1000
	server := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
	ours, theirs := follower[string](b, server, "texts"), client(b, server)
	accounts := follower[account](b, server, "accounts")
	bare := otter.Must(&otter.Options[string, string]{MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, string](time.Hour)})
	defer bare.StopAllGoroutines()
	ctx := b.Context()
	var keys []string
	for i := range values {
		key := fmt.Sprintf("user/%d", i)
		a := account{ID: key, Name: "Ada", Mail: "ada@example.org", Groups: []int{1, 2, 3}}
		text, err := json.Marshal(a)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range []error{
			ours.Set(ctx, key, string(text)), accounts.Set(ctx, key, a),
			theirs.Do(ctx, theirs.B().Set().Key(key).Value(string(text)).Build()).Error(),
		} {
			if err != nil {
				b.Fatal(err)
			}
		}
		bare.Set(key, string(text))
		keys = append(keys, key)
	}
	get := func(key string) rueidis.RedisResult {
		return theirs.DoCache(ctx, theirs.B().Get().Key(key).Cache(), time.Hour)
	}
	for _, c := range []struct {
		name string
		get  func(key string) error
	}{
		{"otter", func(key string) error {
			if _, ok := bare.GetIfPresent(key); !ok {
				return fmt.Errorf("no %s", key)
			}
			return nil
		}},
		{"cache, a text", func(key string) error { _, err := ours.Get(ctx, key); return err }},
		{"rueidis, a text", func(key string) error { _, err := get(key).ToString(); return err }},
		{"cache, a struct", func(key string) error { _, err := accounts.Get(ctx, key); return err }},
		{"rueidis, a struct", func(key string) error { return get(key).DecodeJSON(new(account)) }},
	} {
		for _, key := range keys { // the first look may be a miss
			if err := c.get(key); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(c.name+"/one reader", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := c.get(keys[i%values]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/many readers", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if err := c.get(keys[i%values]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPropagation is the time from the answer to a change on one node until each of the others serves it, beside rueidis' tracking.
func BenchmarkPropagation(b *testing.B) {
	for _, others := range []int{1, 3, 7} {
		server := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
		b.Run(fmt.Sprintf("cache/%d nodes", others+1), func(b *testing.B) {
			writer := follower[string](b, server, "bench")
			var readers []func() string
			for range others {
				c := follower[string](b, server, "bench")
				readers = append(readers, func() string {
					v, err := c.Get(b.Context(), "k")
					if err != nil {
						b.Fatal(err)
					}
					return v
				})
			}
			propagate(b, readers, func(v string) error { return writer.Set(b.Context(), "k", v) })
		})
		b.Run(fmt.Sprintf("rueidis/%d nodes", others+1), func(b *testing.B) {
			writer := client(b, server)
			var readers []func() string
			for range others {
				c := client(b, server)
				readers = append(readers, func() string {
					v, err := c.DoCache(b.Context(), c.B().Get().Key("k").Cache(), time.Hour).ToString()
					if err != nil {
						b.Fatal(err)
					}
					return v
				})
			}
			propagate(b, readers, func(v string) error {
				return writer.Do(b.Context(), writer.B().Set().Key("k").Value(v).Build()).Error()
			})
		})
	}
}

// rest leaves the core to the server and to the node that is waited for, which would otherwise wait until the kernel takes the core
// away from a reader that only looks: milliseconds. The runtime's own timers are no finer than one.
func rest(b *testing.B) {
	pause := syscall.NsecToTimespec(int64(20 * time.Microsecond))
	if err := syscall.Nanosleep(&pause, nil); err != nil && !errors.Is(err, syscall.EINTR) {
		b.Fatal(err)
	}
}

func propagate(b *testing.B, readers []func() string, set func(string) error) {
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		want := strconv.Itoa(n)
		if err := set(want); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for _, read := range readers {
			for read() != want {
				rest(b)
			}
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "us-p99")
}
