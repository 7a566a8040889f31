package cache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// fleet is a store and the nodes on it, inside of a bubble.
type fleet struct {
	t     *testing.T
	store *memory.Backend
	conf  memory.Config
}

// in runs a case in a bubble, on memory where a step spans everything and, beside it, where it spans one family alone.
func in(t *testing.T, run func(t *testing.T, f *fleet)) {
	t.Helper()
	for name, conf := range map[string]memory.Config{"any step": {}, "families": {Families: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				run(t, &fleet{t: t, store: memory.New(conf), conf: conf})
			})
		})
	}
}

// faulty is a backend that breaks as it is told to.
type faulty struct {
	*memory.Backend
	mu    sync.Mutex
	fault func(memory.Op) memory.Fault
	ops   map[string]int // by name
}

func (f *fleet) open() *faulty {
	b := &faulty{ops: map[string]int{}}
	conf := f.conf
	conf.Fault = func(op memory.Op) memory.Fault {
		b.mu.Lock()
		fault := b.fault
		if op.Point == memory.Before {
			b.ops[op.Name]++
		}
		b.mu.Unlock()
		if fault == nil {
			return memory.Fault{}
		}
		return fault(op)
	}
	b.Backend = f.store.Open(conf)
	return b
}

func (b *faulty) breaks(fault func(memory.Op) memory.Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = fault
}

// asked is how often the store was read.
func (b *faulty) asked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ops["get"] + b.ops["getttl"]
}

// member is a node that follows until the test ends.
type member struct {
	*Cache[string]
	b    *faulty
	stop func()
}

func (f *fleet) node(id string, c Config[string]) member {
	f.t.Helper()
	c.Node = id
	if c.Audit == 0 {
		c.Audit = -1 // it asks the store, too, which near and far count
	}
	b := f.open()
	m := member{Cache: New[string](b, "users", c), b: b}
	m.stop = f.follow(m.Follow)
	return m
}

// follow runs follow until the test ends or stop is called, and until then waits for it to hear.
func (f *fleet) follow(follow func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- follow(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("Follow: %v", err)
		}
	})
	f.t.Cleanup(stop)
	synctest.Wait()
	return stop
}

func (f *fleet) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) is(err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Fatalf("got error %v, want %v", err, want)
	}
}

// gets checks what a node answers; want "" is port.ErrNotFound.
func (f *fleet) gets(m member, key, want string) {
	f.t.Helper()
	synctest.Wait() // what is on its way is heard
	got, err := m.Get(f.t.Context(), key)
	if want == "" {
		if !errors.Is(err, port.ErrNotFound) {
			f.t.Fatalf("node %s: Get(%q) = %q, %v, want ErrNotFound", m.node.id, key, got, err)
		}
		return
	}
	if err != nil || got != want {
		f.t.Fatalf("node %s: Get(%q) = %q, %v, want %q", m.node.id, key, got, err, want)
	}
}

// near checks that a node answers without asking the store.
func (f *fleet) near(m member, key, want string) {
	f.t.Helper()
	synctest.Wait()
	before := m.b.asked()
	f.gets(m, key, want)
	if n := m.b.asked() - before; n != 0 {
		f.t.Fatalf("node %s: Get(%q) asked the store %d times, want a near copy", m.node.id, key, n)
	}
}

// far checks that a node asks the store.
func (f *fleet) far(m member, key, want string) {
	f.t.Helper()
	synctest.Wait()
	before := m.b.asked()
	f.gets(m, key, want)
	if m.b.asked() == before {
		f.t.Fatalf("node %s: Get(%q) was answered from memory", m.node.id, key)
	}
}

func after(d time.Duration) { <-time.After(d) }

func loads(value string) Loader[string] {
	return func(context.Context, string) (string, error) { return value, nil }
}
