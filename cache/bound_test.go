package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// checker looks at every read: change n of a key is too old when n+1 was acknowledged more than the bound before the read began.
// Every fourth change is a deletion; what a read that finds nothing has seen is the last of them, or what was before the first.
type checker struct {
	bound time.Duration
	mu    sync.Mutex
	acked map[string][]time.Time // of each key, by value, from 0
	reads int
	near  int
	worst time.Duration
	wrong []string
}

func (c *checker) ack(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[key] = append(c.acked[key], time.Now())
}

func deletion(n int) bool { return n%4 == 3 }

func (c *checker) read(node, key, text string, err error, began time.Time, near bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value := -1
	switch {
	case err == nil:
		if value, err = strconv.Atoi(text); err != nil {
			c.wrong = append(c.wrong, err.Error())
			return
		}
	case errors.Is(err, port.ErrNotFound):
		for n := len(c.acked[key]); n > 0 && value < 0; n-- { // one is under way, perhaps
			if deletion(n) {
				value = n
			}
		}
	default:
		return // it did not answer
	}
	c.reads++
	if near {
		c.near++
	}
	acked := c.acked[key]
	if value+1 >= len(acked) {
		return
	}
	late := began.Sub(acked[value+1])
	c.worst = max(c.worst, late)
	if late > c.bound {
		c.wrong = append(c.wrong, fmt.Sprintf("node %s served value %d of %s, overwritten %v ago", node, value, key, late))
	}
}

// storm breaks a node's operations at random, in phases.
func storm(n member, rnd *rand.Rand) {
	var mu sync.Mutex
	until, kind := time.Now(), 0
	n.b.breaks(func(op memory.Op) memory.Fault {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(until) {
			until = time.Now().Add(time.Duration(rnd.IntN(4000)) * time.Millisecond)
			kind = rnd.IntN(7)
		}
		switch {
		case kind == 0 && op.Name == "read":
			return memory.Fault{Err: port.ErrUnavailable}
		case kind == 1:
			return memory.Fault{Delay: time.Duration(rnd.IntN(3000)) * time.Millisecond} // the link is slow, up to not answering
		case kind >= 5 && op.Name == "read" && op.Point == memory.After:
			return memory.Fault{Delay: time.Duration(rnd.IntN(1500)) * time.Millisecond} // what is heard is heard late
		case kind == 2 && op.Point == memory.After && rnd.IntN(2) == 0:
			return memory.Fault{Err: errors.New("the answer got lost")}
		case kind == 3 && op.Name == "write":
			return memory.Fault{Twice: true}
		}
		return memory.Fault{}
	})
}

func TestNoReadIsOlderThanTheBound(t *testing.T) {
	t.Parallel()
	const (
		bound = time.Second
		nodes = 4
		keys  = 8
		run   = 40 * time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, store: memory.New(memory.Config{})}
		c := &checker{bound: bound, acked: map[string][]time.Time{}}
		ends := time.Now().Add(run)
		var wg sync.WaitGroup
		var all []member
		for i := range nodes {
			b := f.open()
			n := member{Cache: New[string](b, "users", Config[string]{Node: fmt.Sprint(i), Bound: bound, Size: 6, Audit: 50 * time.Millisecond}), b: b}
			n.follow.topic.MaxCount = 12 // who is deaf for long misses entries
			n.node.clock.wall = func() time.Time { return time.Now().Add(time.Duration(i*400/(nodes-1)) * time.Millisecond) }
			n.stop = f.follow(n.Follow)
			all = append(all, n)
		}
		for k := range keys { // one change of a key after the other, each by any node
			key := fmt.Sprint("k", k)
			pace := rand.New(rand.NewPCG(uint64(k), 2))
			wg.Go(func() {
				for v := 0; time.Now().Before(ends); v++ {
					for {
						var err error
						if n := all[pace.IntN(nodes)]; deletion(v) {
							err = n.Delete(t.Context(), key)
						} else {
							err = n.Set(t.Context(), key, strconv.Itoa(v))
						}
						if err == nil {
							break
						}
						after(10 * time.Millisecond)
					}
					c.ack(key)
					after(time.Duration(pace.IntN(3000)) * time.Millisecond)
				}
			})
		}
		for i, n := range all {
			storm(n, rand.New(rand.NewPCG(uint64(i), 1)))
			for r := range 2 {
				pace := rand.New(rand.NewPCG(uint64(i), uint64(3+r)))
				wg.Go(func() {
					for time.Now().Before(ends) {
						key := fmt.Sprint("k", pace.IntN(keys))
						began, asked := time.Now(), n.b.asked()
						text, err := n.Get(t.Context(), key)
						c.read(n.node.id, key, text, err, began, n.b.asked() == asked)
						after(time.Duration(pace.IntN(20)) * time.Millisecond)
					}
				})
			}
			rnd := rand.New(rand.NewPCG(uint64(i), 11))
			wg.Go(func() { // nodes that go away and come back
				for time.Now().Before(ends) {
					after(time.Duration(5000+rnd.IntN(10000)) * time.Millisecond)
					n.stop()
					ctx, stop := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- n.Follow(ctx) }()
					n.stop = sync.OnceFunc(func() { stop(); f.ok(<-done) })
				}
				n.stop()
			})
		}
		wg.Wait()
		for _, w := range c.wrong {
			t.Error(w)
		}
		gaps := int64(0)
		for _, n := range all {
			missed, _ := n.follow.faults()
			gaps += missed
		}
		if gaps == 0 {
			t.Error("no node missed entries")
		}
		t.Logf("%d gaps, %d reads, %d from memory, the oldest was overwritten %v before", gaps, c.reads, c.near, c.worst)
		if c.near*20 < c.reads || c.worst == 0 {
			t.Errorf("%d of %d reads were answered from memory, the oldest %v: the run shows nothing", c.near, c.reads, c.worst)
		}
	})
}

func TestFillRaces(t *testing.T) {
	t.Parallel()
	races := 2_000
	if os.Getenv("MUSTER_LONG") != "" {
		races = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, store: memory.New(memory.Config{})}
		a, b := f.node("a", Config[string]{Audit: -1}), f.node("b", Config[string]{Audit: -1})
		n, stale := 0, 0
		b.b.breaks(func(op memory.Op) memory.Fault { // whenever b has read the store, a changes the key
			if op.Name == "getttl" && op.Point == memory.After {
				n++
				f.ok(a.Set(context.Background(), "k", strconv.Itoa(n)))
				if n%2 == 0 {
					return memory.Fault{Delay: time.Millisecond} // so that b hears of it before it goes on
				}
			}
			return memory.Fault{}
		})
		f.ok(a.Set(t.Context(), "k", "0"))
		for range races {
			if _, err := b.Get(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if l := b.hit("k"); l != nil && l.value != strconv.Itoa(n) {
				stale++
			}
			if b.hit("k") != nil {
				b.near.forget("k") // the next one reads the store again
			}
		}
		if stale > 0 || n < races {
			t.Errorf("%d of %d races left an old copy", stale, n)
		}
	})
}
