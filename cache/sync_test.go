package cache

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// own is a local cache of somebody who had one already.
type own struct {
	mu     sync.Mutex
	values map[string]string
	resets int
}

func (o *own) Apply(op Op) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch op.Kind {
	case OpSet:
		o.values[op.Names[0]] = string(op.Value)
	case OpDelete:
		for _, n := range op.Names {
			delete(o.values, n)
		}
	case OpPattern:
		for n := range o.values {
			if port.Match(op.Names[0], n) {
				delete(o.values, n)
			}
		}
	case OpClear:
		clear(o.values)
	}
}

func (o *own) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resets++
	clear(o.values)
}

func (o *own) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Sprint(o.values)
}

func TestSync(t *testing.T) {
	type peer struct {
		*Sync
		*own
		b *faulty
	}
	node := func(f *fleet, id string) peer {
		b, o := f.open(), &own{values: map[string]string{}}
		s := NewSync(b, "prices", o, SyncConfig{Node: id})
		f.follow(s.Follow)
		return peer{s, o, b}
	}
	t.Run("what one node notifies all apply, in one order", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := node(f, "a"), node(f, "b")
			var wg sync.WaitGroup
			for _, p := range []peer{a, b} {
				wg.Go(func() {
					for i := range 20 {
						f.ok(p.Notify(t.Context(), Op{Kind: OpSet, Names: []string{fmt.Sprint("k", i%3)}, Value: fmt.Append(nil, p.node.id, i)}))
					}
				})
			}
			wg.Wait()
			synctest.Wait()
			if a.String() != b.String() || len(a.values) != 3 {
				t.Errorf("a has %v, b has %v", a, b)
			}
			f.ok(a.Notify(t.Context(), Op{Kind: OpDelete, Names: []string{"k0"}}, Op{Kind: OpSet, Names: []string{"\xff"}, Value: []byte("v")}))
			f.ok(b.Notify(t.Context(), Op{Kind: OpPattern, Names: []string{"k*"}}))
			synctest.Wait()
			if want := "map[\xff:v]"; a.String() != want || b.String() != want {
				t.Errorf("a has %v, b has %v, want %q", a, b, want)
			}
			f.ok(b.Notify(t.Context(), Op{Kind: OpClear}))
			f.ok(b.Notify(t.Context()))
			synctest.Wait()
			if a.String() != "map[]" {
				t.Errorf("a has %v", a)
			}
		})
	})
	t.Run("a node that cannot hear serves nothing, and starts empty when it has missed something", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := node(f, "a"), node(f, "b")
			f.ok(a.Notify(t.Context(), Op{Kind: OpSet, Names: []string{"k"}, Value: []byte("1")}))
			synctest.Wait()
			value := ""
			serve := func() bool {
				return b.Serve(func() {
					b.mu.Lock()
					defer b.mu.Unlock()
					value = b.values["k"]
				})
			}
			if !serve() || value != "1" || !b.Hears() {
				t.Errorf("value %q, hears %v", value, b.Hears())
			}
			b.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "read" {
					return memory.Fault{Delay: time.Hour}
				}
				return memory.Fault{}
			})
			after(2 * time.Second)
			if serve() || b.Hears() {
				t.Error("it serves although it cannot hear")
			}
			f.ok(f.store.Declare(t.Context(), port.Topic{Name: "prices.log", MaxCount: 2}))
			for range 5 {
				f.ok(a.Notify(t.Context(), Op{Kind: OpSet, Names: []string{"other"}, Value: []byte("1")}))
			}
			before := b.resets
			b.b.breaks(nil)
			after(10 * time.Second)
			if !serve() || value != "" || b.resets == before {
				t.Errorf("value %q, %d resets", value, b.resets-before)
			}
		})
	})
	t.Run("what was put into the local cache before the end of the log was known is dropped", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := node(f, "a")
			b, o := f.open(), &own{values: map[string]string{}}
			s := NewSync(b, "prices", o, SyncConfig{Node: "b"})
			b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "inspect" && op.Point == memory.Before {
					o.Apply(Op{Kind: OpSet, Names: []string{"k"}, Value: []byte("read from its source")})
					f.ok(a.Notify(context.Background(), Op{Kind: OpDelete, Names: []string{"k"}}))
				}
				return memory.Fault{}
			})
			f.follow(s.Follow)
			if o.String() != "map[]" || !s.Hears() {
				t.Errorf("it has %v, hears %v", o, s.Hears())
			}
		})
	})
	t.Run("a notification of unknown outcome is made again and made once", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := node(f, "a")
			n := 0
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "write" && op.Point == memory.After {
					if n++; n <= 2 {
						return memory.Fault{Err: port.ErrUncertain}
					}
				}
				return memory.Fault{}
			})
			f.ok(a.Notify(t.Context(), Op{Kind: OpSet, Names: []string{"k"}, Value: []byte("1")}))
			infos := 0
			list, err := f.store.Read(t.Context(), port.Range{Topic: LogTopic("prices"), Max: 100})
			f.ok(err)
			for _, s := range list {
				op, err := ParseOp(s.Message.Body)
				f.ok(err)
				if op.Kind == OpSet {
					infos++
				}
			}
			if infos != 1 || n != 3 {
				t.Errorf("%d entries after %d writes", infos, n)
			}
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "write" && op.Point == memory.Before || op.Name == "declare" {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			f.is(a.Notify(t.Context(), Op{Kind: OpClear}), port.ErrUnavailable)
			a.declared.Store(false)
			f.is(a.Notify(t.Context(), Op{Kind: OpClear}), port.ErrUnavailable)
		})
	})
	t.Run("what cannot be notified is refused before anything happened", func(t *testing.T) {
		s := NewSync(memory.New(memory.Config{}), "prices", &own{}, SyncConfig{})
		for want, op := range map[string]Op{
			"one name":      {Kind: OpSet, Names: []string{"a", "b"}},
			"no names":      {Kind: OpDelete},
			"the glob":      {Kind: OpPattern},
			"has no end":    {Kind: OpPattern, Names: []string{"["}},
			"has no names":  {Kind: OpClear, Names: []string{"a"}},
			"none that can": {Kind: OpTick},
			"only a set":    {Kind: OpDelete, Names: []string{"a"}, Value: []byte("x")},
		} {
			if err := s.Notify(t.Context(), op); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Notify(%+v) = %v, want %q", op, err, want)
			}
		}
	})
	t.Run("wrong arguments are answered by every method", func(t *testing.T) {
		b := memory.New(memory.Config{})
		for _, s := range []*Sync{
			NewSync(nil, "x", &own{}, SyncConfig{}),
			NewSync(b, "x", nil, SyncConfig{}),
			NewSync(b, "", &own{}, SyncConfig{}),
			NewSync(b, "x", &own{}, SyncConfig{Bound: 1}),
			NewSync(memory.New(memory.Config{Stepwise: true}), strings.Repeat("x", 100), &own{}, SyncConfig{}),
		} {
			fail := func(err error) {
				if err == nil {
					t.Error("no error")
				}
			}
			fail(s.Follow(t.Context()))
			fail(s.Notify(t.Context(), Op{Kind: OpClear}))
			if s.Hears() || s.Serve(func() { t.Error("looked up") }) {
				t.Error("it hears")
			}
		}
	})
}

func TestFollowOutlastsFaultsOfEveryOperation(t *testing.T) {
	for _, name := range []string{"declare", "inspect", "write", "read", "acquire"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{t: t, store: memory.New(memory.Config{})}
				b := f.open()
				broken := true
				b.breaks(func(op memory.Op) memory.Fault {
					if op.Name == name && broken {
						return memory.Fault{Err: port.ErrUnavailable}
					}
					return memory.Fault{}
				})
				a := member{Cache: New[string](b, "users", Config[string]{}), b: b}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- a.Follow(ctx) }()
				after(10 * time.Second)
				if a.Hears() && name != "acquire" {
					t.Error("it hears")
				}
				b.breaks(nil)
				after(5 * time.Second)
				if !a.Hears() {
					t.Error("it does not hear")
				}
				stop()
				f.ok(<-done)
			})
		})
	}
}
