//go:build unix

package caches_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/internal/testserver"
)

// follower is a node in this process.
func follower(b *testing.B, server *testserver.Server) *cache.Cache[string] {
	b.Helper()
	backend, err := redis.Open(b.Context(), redis.Config{URL: server.URL()})
	if err != nil {
		b.Fatal(err)
	}
	c := cache.New(backend, "bench", cache.Config[string]{})
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

// BenchmarkHit compares a hit with one of rueidis' client-side cache, of the same server, value and process.
func BenchmarkHit(b *testing.B) {
	server := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
	ours, theirs := follower(b, server), client(b, server)
	ctx := b.Context()
	if err := ours.Set(ctx, "k", "value"); err != nil {
		b.Fatal(err)
	}
	if err := theirs.Do(ctx, theirs.B().Set().Key("k").Value("value").Build()).Error(); err != nil {
		b.Fatal(err)
	}
	b.Run("cache", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ours.Get(ctx, "k"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rueidis", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := theirs.DoCache(ctx, theirs.B().Get().Key("k").Cache(), time.Hour).ToString(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPropagation is the time from the answer to a change on one node until each of the others serves it, beside rueidis' tracking.
func BenchmarkPropagation(b *testing.B) {
	for _, others := range []int{1, 3, 7} {
		server := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
		b.Run(fmt.Sprintf("cache/%d nodes", others+1), func(b *testing.B) {
			writer := follower(b, server)
			var readers []func() string
			for range others {
				c := follower(b, server)
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
