package cache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestNearCopies(t *testing.T) {
	t.Parallel()
	t.Run("what was set or read is answered from memory", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.near(a, "k", "1")
			f.far(b, "k", "1")
			f.near(b, "k", "1")
		})
	})
	t.Run("a change is seen by every node as soon as the log brings it", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			f.ok(a.Set(t.Context(), "k", "2"))
			synctest.Wait()
			f.far(b, "k", "2")
			f.near(b, "k", "2")
			f.ok(b.Delete(t.Context(), "k", "other"))
			synctest.Wait()
			f.far(a, "k", "")
			f.far(b, "k", "")
		})
	})
	t.Run("nothing is answered from memory by a node that does not follow", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			b := f.open()
			c := member{Cache: New[string](b, "users", Config[string]{Node: "c"}), b: b}
			f.ok(c.Set(t.Context(), "k", "1"))
			f.far(c, "k", "1")
			f.far(c, "k", "1")
			if c.Hears() {
				t.Error("it hears")
			}
		})
	})
	t.Run("nothing is answered from memory after Follow has ended", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.near(a, "k", "1")
			a.stop()
			f.far(a, "k", "1")
		})
	})
	t.Run("a near copy does not outlive the value in the store", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{TTL: time.Minute, Jitter: -1})
			b := f.node("b", Config[string]{TTL: time.Minute, Jitter: -1})
			f.ok(a.Set(t.Context(), "k", "1"))
			after(30 * time.Second)
			f.far(b, "k", "1")
			after(30*time.Second - time.Millisecond)
			f.far(a, "k", "1") // the rates of the clocks may differ by 1 %
			after(time.Millisecond)
			f.far(a, "k", "")
			f.far(b, "k", "")
		})
	})
	t.Run("no more near copies are held than Size", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{Size: 10})
			for i := range 100 {
				f.ok(a.Set(t.Context(), fmt.Sprint(i), "v"))
			}
			s, err := a.Status(t.Context())
			f.ok(err)
			if s.Copies > 10 {
				t.Errorf("%d near copies, want at most 10", s.Copies)
			}
		})
	})
	t.Run("GetMany asks once for what is not near", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{Negative: time.Minute})
			f.ok(a.Set(t.Context(), "x", "1", "tag"))
			f.ok(a.Set(t.Context(), "y", "2"))
			f.gets(b, "y", "2")
			_, err := b.Load(t.Context(), "none", func(context.Context, string) (string, error) { return "", port.ErrNotFound })
			f.is(err, port.ErrNotFound)
			before := b.b.asked()
			got, err := b.GetMany(t.Context(), "x", "y", "z", "x", "none")
			f.ok(err)
			if len(got) != 2 || got["x"] != "1" || got["y"] != "2" {
				t.Errorf("got %v", got)
			}
			if n := b.b.asked() - before; n != 2 { // the values, and the tag's key
				t.Errorf("the store was asked %d times, want 2", n)
			}
			f.near(b, "x", "1")
			got, err = a.GetMany(t.Context(), "none")
			if err != nil || len(got) != 0 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	})
}

func TestTickets(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(n *near[string]){
		"its key is forgotten":   func(n *near[string]) { n.forget("k") },
		"everything is dropped":  func(n *near[string]) { n.reset() },
		"a newer write is heard": func(n *near[string]) { n.drop("k", Version{Clock: 2}) },
		"a newer write, long ago": func(n *near[string]) {
			n.drop("k", Version{Clock: 2})
			s := n.stripe("k")
			s.former, s.floors = nil, nil
		},
		"a newer and an older write":   func(n *near[string]) { n.drop("k", Version{Clock: 2}); n.drop("k", Version{Clock: 1}) },
		"a write, and it is forgotten": func(n *near[string]) { n.drop("k", Version{Clock: 1}); n.forget("k") },
	} {
		t.Run("no copy is made of what was read before "+name, func(t *testing.T) {
			n, err := newNear[string](10, newWatch())
			if err != nil {
				t.Fatal(err)
			}
			before := n.ticket("k")
			happens(n)
			c := &local[string]{version: Version{Clock: 1}, expires: never()}
			if n.insert("k", before, c) {
				t.Error("a copy was made")
			}
			if c.version.Clock = 2; !n.insert("k", n.ticket("k"), c) {
				t.Error("no copy was made of what was read after it")
			}
		})
	}
	t.Run("many writes of a stripe are remembered in bounded space", func(t *testing.T) {
		n, err := newNear[string](10, newWatch())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30_000 {
			n.drop(fmt.Sprint(i), Version{Clock: uint64(i)})
		}
		for i := range n.stripes {
			if s := &n.stripes[i]; len(s.floors) > maxFloors || len(s.former) > maxFloors {
				t.Fatalf("stripe %d remembers %d and %d", i, len(s.floors), len(s.former))
			}
		}
	})
}

func TestTheHearingBound(t *testing.T) {
	t.Parallel()
	const bound = time.Second
	broken := map[string]memory.Fault{
		"a lost connection":  {Err: port.ErrUnavailable},
		"a black-holed link": {Delay: time.Hour},
	}
	for name, fault := range broken {
		t.Run("a node with "+name+" falls silent within the bound, and hears again", func(t *testing.T) {
			in(t, func(t *testing.T, f *fleet) {
				a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{Bound: bound})
				f.ok(a.Set(t.Context(), "k", "1"))
				f.gets(b, "k", "1")
				b.b.breaks(func(op memory.Op) memory.Fault {
					if op.Name == "read" && op.Point == memory.Before {
						return fault
					}
					return memory.Fault{}
				})
				f.ok(a.Set(t.Context(), "k", "2"))
				changed := time.Now()
				for time.Since(changed) < 3*bound {
					got, err := b.Get(t.Context(), "k")
					f.ok(err)
					if late := time.Since(changed); got == "1" && late > bound {
						t.Fatalf("%v after the change the old value is served", late)
					}
					after(10 * time.Millisecond)
				}
				f.far(b, "k", "2")
				if b.Hears() {
					t.Error("it hears")
				}
				b.b.breaks(nil)
				after(10 * time.Second)
				f.gets(b, "k", "2")
				f.near(b, "k", "2")
				s, err := b.Status(t.Context())
				f.ok(err)
				if s.Gaps != 0 || s.Fault == nil {
					t.Errorf("%d gaps, fault %v: nothing was missed, and something was wrong", s.Gaps, s.Fault)
				}
			})
		})
	}
	t.Run("a node falls silent at once when it is told that it cannot hear", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{Bound: time.Minute})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.near(a, "k", "1")
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "read" {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			after(20 * time.Second) // it asks every quarter of the bound
			f.far(a, "k", "1")
		})
	})
	t.Run("a node that fell silent keeps its copies and drops what was changed meanwhile", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.ok(a.Set(t.Context(), "stays", "1"))
			f.gets(b, "k", "1")
			f.gets(b, "stays", "1")
			b.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "read" {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			after(5 * time.Second)
			f.ok(a.Delete(t.Context(), "k"))
			b.b.breaks(nil)
			after(5 * time.Second)
			f.near(b, "stays", "1")
			f.far(b, "k", "")
		})
	})
	t.Run("a node that missed entries, because the log was trimmed, drops everything", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.ok(a.Set(t.Context(), "stays", "1"))
			f.gets(b, "k", "1")
			f.gets(b, "stays", "1")
			b.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "read" {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			after(2 * time.Second)
			f.ok(f.store.Declare(t.Context(), port.Topic{Name: "users.log", MaxCount: 3}))
			f.ok(a.Delete(t.Context(), "k"))
			for i := range 10 {
				f.ok(a.Set(t.Context(), fmt.Sprint(i), "v"))
			}
			b.b.breaks(nil)
			after(5 * time.Second)
			f.far(b, "stays", "1")
			f.far(b, "k", "")
			s, err := b.Status(t.Context())
			f.ok(err)
			if s.Gaps != 1 || !s.Hears {
				t.Errorf("%d gaps, hears %v, want 1, true", s.Gaps, s.Hears)
			}
		})
	})
	t.Run("a node that comes back after an hour starts empty", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{TTL: -1, Bound: time.Minute}) // it looks at the log seldom in that hour
			b := f.node("b", Config[string]{TTL: -1})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			b.stop()
			f.ok(a.Delete(t.Context(), "k"))
			after(time.Hour + time.Second)
			f.ok(a.Set(t.Context(), "other", "1"))
			after(time.Second)
			f.follow(b.Follow)
			after(time.Second)
			if !b.Hears() {
				t.Fatal("it does not hear")
			}
			f.far(b, "k", "")
		})
	})
	t.Run("what a node set before it knew the end of the log is not kept, for others may have overwritten it", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			other, b := f.node("other", Config[string]{}), f.open()
			a := member{Cache: New[string](b, "users", Config[string]{Node: "a"}), b: b}
			f.ok(a.Set(t.Context(), "k", "0"))
			n := 0
			b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "declare" && op.Point == memory.After || op.Name == "inspect" && op.Point == memory.Before {
					n++
					f.ok(a.Set(context.Background(), "k", "1"))
					f.ok(other.Set(context.Background(), "k", fmt.Sprint("newer", n)))
				}
				return memory.Fault{}
			})
			f.follow(a.Follow)
			b.breaks(nil)
			if n < 2 || !a.Hears() {
				t.Fatalf("the end was looked for %d times, hears %v", n, a.Hears())
			}
			f.gets(a, "k", fmt.Sprint("newer", n))
		})
	})
	t.Run("a log that was dropped and made anew is recognised", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			a.stop()
			b.stop()
			after(time.Second)
			f.ok(f.store.Drop(t.Context(), "users.log", ""))
			f.ok(a.Set(t.Context(), "k", "2"))
			f.follow(b.Follow)
			f.far(b, "k", "2")
			_, err := b.Status(t.Context())
			f.ok(err)
			after(time.Second)
			f.far(b, "k", "2")
			s, err := b.Status(t.Context())
			f.ok(err)
			if !s.Hears {
				t.Errorf("it does not hear: %v", s.Fault)
			}
		})
	})
	t.Run("a log that has another entry at the node's place is recognised", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.near(a, "k", "1")
			a.stop()
			f.follow(a.Follow)
			f.near(a, "k", "1") // it is the one
			b := f.node("b", Config[string]{})
			f.gets(b, "k", "1")
			b.stop()
			b.follow.anchor.id = "what was lost" // as after a fail-over that lost the end, and went on
			f.follow(b.Follow)
			after(time.Second)
			f.far(b, "k", "1")
			s, err := b.Status(t.Context())
			f.ok(err)
			if s.Gaps != 1 || !s.Hears {
				t.Errorf("%d gaps, hears %v", s.Gaps, s.Hears)
			}
		})
	})
	t.Run("a node hears while others write all the time", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			n := 0
			b.b.breaks(func(op memory.Op) memory.Fault { // there is something new whenever the log is read
				if op.Name == "read" && op.Point == memory.Before {
					n++
					f.ok(a.Set(context.Background(), "busy", fmt.Sprint(n)))
					return memory.Fault{Delay: time.Millisecond}
				}
				return memory.Fault{}
			})
			for range 200 {
				after(10 * time.Millisecond)
				f.near(b, "k", "1")
			}
		})
	})
	t.Run("only one Follow runs at a time", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			f.is(a.Follow(t.Context()), port.ErrInvalid)
			f.ok(a.Set(t.Context(), "k", "1"))
			f.near(a, "k", "1")
		})
	})
	t.Run("Follow ends when the backend is closed", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			b := f.open()
			c := New[string](b, "users", Config[string]{})
			f.ok(b.Close())
			f.is(c.Follow(t.Context()), port.ErrClosed)
		})
	})
}
