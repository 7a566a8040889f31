package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// source is where values really live. It counts its changes, and a value is the count.
type source struct {
	mu  sync.Mutex
	now map[string]int
}

func (s *source) get(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now[key]
}

func (s *source) change(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[key]++
}

// broken is a store whose answers get lost, before or after it did what it was told, or come late.
func broken(rnd *rand.Rand) func(memory.Op) memory.Fault {
	var mu sync.Mutex
	return func(memory.Op) memory.Fault {
		mu.Lock()
		defer mu.Unlock()
		switch rnd.IntN(20) {
		case 0:
			return memory.Fault{Err: port.ErrUncertain}
		case 1, 2:
			return memory.Fault{Delay: time.Duration(rnd.IntN(300)) * time.Millisecond}
		}
		return memory.Fault{}
	}
}

func TestNothingInvalidatedComesBack(t *testing.T) {
	t.Parallel()
	for _, one := range []bool{false, true} {
		t.Run(fmt.Sprintf("after quiet every node answers what the source has, with OneLoader %v", one), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{t: t, store: memory.New(memory.Config{})}
				src := &source{now: map[string]int{}}
				keys := []string{"a/1", "a/2", "b/1", "b/2"}
				var nodes []member
				for i := range 3 {
					n := f.node(fmt.Sprint(i), Config[string]{OneLoader: one, LoadWait: time.Second, Size: 3, TTL: 20 * time.Second})
					n.node.clock.wall = func() time.Time { return time.Now().Add(time.Duration(i-1) * 400 * time.Millisecond) }
					nodes = append(nodes, n)
				}
				for round := range 12 {
					for i, n := range nodes {
						n.b.breaks(broken(rand.New(rand.NewPCG(uint64(i), uint64(round)))))
					}
					ends := time.Now().Add(4 * time.Second)
					var wg sync.WaitGroup
					for i, n := range nodes {
						rnd := rand.New(rand.NewPCG(uint64(i), uint64(100+round)))
						wg.Go(func() { // readers
							for time.Now().Before(ends) {
								key := keys[rnd.IntN(len(keys))]
								_, err := n.Load(t.Context(), key, func(_ context.Context, key string) (string, error) {
									v := src.get(key)
									after(time.Duration(rnd.IntN(50)) * time.Millisecond)
									return fmt.Sprint(v), nil
								}, key[:1])
								if err != nil && !errors.Is(err, port.ErrUncertain) && !errors.Is(err, port.ErrUnavailable) {
									t.Errorf("node %s: %v", n.node.id, err)
								}
								after(time.Duration(rnd.IntN(30)) * time.Millisecond)
							}
						})
						pace := rand.New(rand.NewPCG(uint64(i), uint64(200+round)))
						wg.Go(func() { // first the source, then the cache, in one of the four ways
							for time.Now().Before(ends) {
								key := keys[pace.IntN(len(keys))]
								src.change(key)
								kind := pace.IntN(4)
								for {
									var err error
									switch kind {
									case 0:
										err = n.Delete(t.Context(), key)
									case 1:
										err = n.InvalidatePattern(t.Context(), key[:2]+"*")
									case 2:
										err = n.InvalidateTag(t.Context(), key[:1])
									default:
										err = n.Clear(t.Context())
									}
									if err == nil {
										break
									}
									after(10 * time.Millisecond)
								}
								after(time.Duration(pace.IntN(200)) * time.Millisecond)
							}
						})
					}
					wg.Wait()
					for _, n := range nodes {
						n.b.breaks(nil)
					}
					after(3 * time.Second)
					for _, n := range nodes {
						for _, key := range keys {
							want := fmt.Sprint(src.get(key))
							v, err := n.Load(t.Context(), key, func(_ context.Context, key string) (string, error) { return fmt.Sprint(src.get(key)), nil }, key[:1])
							if err != nil || v != want {
								t.Errorf("node %s answers %q for %s, %v; the source has %s", n.node.id, v, key, err, want)
							}
						}
					}
				}
			})
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	f := &fleet{t: t, store: memory.New(memory.Config{})}
	before := runtime.NumGoroutine()
	for range 20 {
		b := f.open()
		c := New[string](b, "users", Config[string]{OneLoader: true})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Follow(ctx) }()
		var wg sync.WaitGroup
		var failed atomic.Int64
		for i := range 20 {
			wg.Go(func() {
				_, err := c.Load(ctx, fmt.Sprint(i%3), func(ctx context.Context, _ string) (string, error) {
					<-ctx.Done()
					return "", ctx.Err()
				})
				if errors.Is(err, context.Canceled) {
					failed.Add(1)
				}
			})
		}
		stop()
		wg.Wait()
		f.ok(<-done)
		if failed.Load() != 20 {
			t.Errorf("%d of 20 loads ended with their ctx", failed.Load())
		}
		f.ok(b.Close())
	}
	for i := 0; runtime.NumGoroutine() > before; i++ { // those that have answered may be ending still
		if i == 10_000 {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before: %s", runtime.NumGoroutine(), before, strings.TrimSpace(string(buf[:runtime.Stack(buf, true)])))
		}
		<-time.After(time.Millisecond)
	}
}
