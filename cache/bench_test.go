package cache

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

const benchKeys = 1000

// BenchmarkHit compares a hit with the library under it and with a plain locked map, each with one and with many readers.
func BenchmarkHit(b *testing.B) {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("user/%d", i)
	}
	compare := func(name string, get func(key string) bool) {
		b.Run(name+"/one reader", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i++; i == benchKeys {
					i = 0
				}
				if !get(keys[i]) {
					b.Fatal("a miss")
				}
			}
		})
		b.Run(name+"/many readers", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if !get(keys[i%benchKeys]) {
						b.Error("a miss")
						return
					}
				}
			})
		})
	}
	var mu sync.RWMutex
	plain := map[string]string{}
	bare := otter.Must(&otter.Options[string, string]{MaximumSize: 10_000})
	expiring := otter.Must(&otter.Options[string, string]{MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, string](time.Hour)})
	defer expiring.StopAllGoroutines()
	ctx := context.Background()
	cached := follow(b, New[string](memory.New(memory.Config{}), "users", Config[string]{}))
	for _, key := range keys {
		plain[key] = key
		bare.Set(key, key)
		expiring.Set(key, key)
		if err := cached.Set(ctx, key, key); err != nil {
			b.Fatal(err)
		}
	}
	compare("locked map", func(key string) bool {
		mu.RLock()
		defer mu.RUnlock()
		_, ok := plain[key]
		return ok
	})
	compare("otter", func(key string) bool {
		_, ok := bare.GetIfPresent(key)
		return ok
	})
	compare("otter with expiry", func(key string) bool {
		_, ok := expiring.GetIfPresent(key)
		return ok
	})
	compare("cache", func(key string) bool {
		_, err := cached.Get(ctx, key)
		return err == nil
	})
}

// follow has c followed until the benchmark ends, and returns when it hears.
func follow(b *testing.B, c *Cache[string]) *Cache[string] {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Follow(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for !c.Hears() {
		<-time.After(time.Millisecond)
	}
	return c
}

// BenchmarkInvalidate invalidates 100,000 near copies at once while a reader reads, and tells the longest read of each round: its median
// and the worst of all rounds. "Nothing" is a round in which nothing is invalidated: what the scheduler takes anyhow.
func BenchmarkInvalidate(b *testing.B) {
	const copies = 100_000
	keys := make([]string, copies)
	for i := range keys {
		keys[i] = fmt.Sprintf("user/%d", i)
	}
	for _, kind := range []struct {
		name       string
		invalidate func(context.Context, *Cache[string]) error
	}{
		{"nothing", nil},
		{"a pattern", func(ctx context.Context, c *Cache[string]) error { return c.InvalidatePattern(ctx, "user/*") }},
		{"a tag", func(ctx context.Context, c *Cache[string]) error { return c.InvalidateTag(ctx, "users") }},
		{"a clear", func(ctx context.Context, c *Cache[string]) error { return c.Clear(ctx) }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			ctx := context.Background()
			c := follow(b, New[string](memory.New(memory.Config{}), "users", Config[string]{Size: 2 * copies}))
			var longest []int64
			for b.Loop() {
				b.StopTimer()
				for _, key := range keys {
					if err := c.Set(ctx, key, "v", "users"); err != nil {
						b.Fatal(err)
					}
				}
				runtime.GC() // or it runs meanwhile, for what was set
				r := reader{ends: make(chan struct{})}
				done := make(chan struct{})
				go func() { r.run(c, keys); close(done) }()
				r.more()
				b.StartTimer()
				if kind.invalidate != nil {
					if err := kind.invalidate(ctx, c); err != nil {
						b.Fatal(err)
					}
					if c.hit(keys[0]) != nil || c.hit(keys[copies-1]) != nil {
						b.Fatal("a hit")
					}
				}
				b.StopTimer()
				r.more()
				close(r.ends)
				<-done
				longest = append(longest, r.worst)
				b.StartTimer()
			}
			slices.Sort(longest)
			b.ReportMetric(float64(longest[len(longest)/2]), "ns-longest-read-p50")
			b.ReportMetric(float64(longest[len(longest)-1]), "ns-longest-read")
		})
	}
}

// reader reads all the time, and knows how long the longest of its reads took.
type reader struct {
	reads atomic.Int64
	worst int64 // for when it has ended
	ends  chan struct{}
}

func (r *reader) run(c *Cache[string], keys []string) {
	for i := 0; ; i++ {
		select {
		case <-r.ends:
			return
		default:
		}
		began := time.Now()
		c.hit(keys[i%len(keys)])
		r.worst = max(r.worst, int64(time.Since(began)))
		r.reads.Add(1)
	}
}

// more waits for a thousand reads.
func (r *reader) more() {
	for n := r.reads.Load(); r.reads.Load() < n+1000; {
		runtime.Gosched()
	}
}

// BenchmarkChange is a change on one node until another one serves it.
func BenchmarkChange(b *testing.B) {
	store := memory.New(memory.Config{})
	ctx := context.Background()
	one := follow(b, New[string](store, "users", Config[string]{}))
	other := follow(b, New[string](store.Open(memory.Config{}), "users", Config[string]{}))
	n := 0
	for b.Loop() {
		n++
		want := fmt.Sprint(n)
		if err := one.Set(ctx, "k", want); err != nil {
			b.Fatal(err)
		}
		for {
			got, err := other.Get(ctx, "k")
			if err != nil {
				b.Fatal(err)
			}
			if got == want {
				break
			}
		}
	}
}

var _ Backend = port.Backend(nil)
