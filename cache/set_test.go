package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// skewed sets a node's clock ahead.
func skewed(m member, by time.Duration) member {
	m.node.clock.wall = func() time.Time { return time.Now().Add(by) }
	return m
}

// atRead makes happen what comes when the node has read and not yet written.
func atRead(m member, happen func()) {
	done := false
	m.b.breaks(func(op memory.Op) memory.Fault {
		if op.Name == "write" && op.Point == memory.Before && !done {
			done = true
			happen()
		}
		return memory.Fault{}
	})
}

func TestConflicts(t *testing.T) {
	t.Run("a set that saw the other's value comes after it, however the clocks are set", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			for _, skew := range []time.Duration{0, 400 * time.Millisecond, -400 * time.Millisecond, 24 * time.Hour, -24 * time.Hour} {
				key := fmt.Sprint(skew)
				a, b := f.node("a", Config[string]{}), skewed(f.node("b", Config[string]{}), skew)
				for i := range 10 {
					f.ok([]member{a, b}[i%2].Set(t.Context(), key, fmt.Sprint(i)))
				}
				f.gets(a, key, "9")
				f.gets(b, key, "9")
				a.stop()
				b.stop()
			}
		})
	})
	t.Run("of two sets at once the newer counts, and the loser is told", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), skewed(f.node("b", Config[string]{}), 400*time.Millisecond)
			f.ok(a.Set(t.Context(), "k", "0"))
			atRead(a, func() { f.ok(b.Set(t.Context(), "k", "b")) })
			err := a.Set(t.Context(), "k", "a")
			f.is(err, port.ErrConflict)
			lost, ok := errors.AsType[*ConflictError](err)
			if !ok || lost.Key != "k" || lost.Stored.Node != "b" || !strings.Contains(err.Error(), "newer") {
				t.Errorf("told %v", err)
			}
			f.gets(a, "k", "b")
			f.gets(b, "k", "b")
			atRead(b, func() { f.ok(a.Set(t.Context(), "k", "a")) })
			f.ok(b.Set(t.Context(), "k", "b2"))
			f.gets(a, "k", "b2")
			f.gets(b, "k", "b2")
			s, err := a.Status(t.Context())
			f.ok(err)
			if s.Lost != 1 || s.Conflicts != 1 {
				t.Errorf("%d lost, %d conflicts, want 1, 1", s.Lost, s.Conflicts)
			}
		})
	})
	t.Run("a set and a delete at once converge, and nothing older comes back over a tombstone", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			for _, skew := range []time.Duration{400 * time.Millisecond, -400 * time.Millisecond} {
				key := fmt.Sprint(skew)
				a, b := f.node("a", Config[string]{}), skewed(f.node("b", Config[string]{}), skew)
				f.ok(a.Set(t.Context(), key, "0"))
				after(time.Second)
				atRead(a, func() { f.ok(b.Delete(t.Context(), key)) })
				err := a.Set(t.Context(), key, "a")
				if skew > 0 {
					f.is(err, port.ErrConflict)
					f.gets(a, key, "")
					f.gets(b, key, "")
				} else {
					f.ok(err)
					f.gets(a, key, "a")
					f.gets(b, key, "a")
				}
				atRead(a, func() { f.ok(b.Set(t.Context(), key, "b")) })
				f.ok(a.Delete(t.Context(), key)) // a deletion comes after whatever it finds
				f.gets(a, key, "")
				f.gets(b, key, "")
				a.stop()
				b.stop()
			}
		})
	})
	t.Run("a clock a day ahead does not pull the others with it", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), skewed(f.node("b", Config[string]{}), 24*time.Hour)
			f.ok(b.Set(t.Context(), "k", "b"))
			f.ok(a.Set(t.Context(), "k", "a"))
			f.gets(b, "k", "a")
			s, err := a.Status(t.Context())
			f.ok(err)
			if s.Ahead < 24*time.Hour-time.Second {
				t.Errorf("ahead %v is not reported", s.Ahead)
			}
			if v := a.node.version(0); v.Time().After(time.Now().Add(time.Second)) {
				t.Errorf("the clock of a is at %v", v.Time())
			}
		})
	})
	t.Run("the priority, the node and the operation decide between equal clocks", func(t *testing.T) {
		v := Version{Clock: 1, Priority: 1, Node: "b", Op: "b"}
		for _, less := range []Version{{Clock: 0, Priority: 9, Node: "z", Op: "z"}, {Clock: 1, Priority: 0, Node: "z", Op: "z"}, {Clock: 1, Priority: 1, Node: "a", Op: "z"}, {Clock: 1, Priority: 1, Node: "b", Op: "a"}} {
			for _, pair := range [][2]Version{{v, less}, {less, v}} {
				d := LastWriter[int]().Resolve(Versioned[int]{1, pair[0]}, Versioned[int]{2, pair[1]})
				if want := pair[1] == v; (d.Verdict == Replace) != want || d.Reason == "" {
					t.Errorf("%+v against %+v: %v, %q", pair[1], pair[0], d.Verdict, d.Reason)
				}
			}
		}
		if s := fmt.Sprint(Keep, Replace, Combine, Verdict(9)); s != "keep replace combine unknown verdict" {
			t.Error(s)
		}
	})
	t.Run("each resolver decides whatever the order of the sets", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			for name, c := range map[string]struct {
				resolver Resolver[string]
				want     string
			}{
				"largest":  {Largest(cmp.Compare[string]), "9"},
				"smallest": {Smallest(cmp.Compare[string]), "1"},
				"merge": {Merge(func(a, b string) string {
					if strings.Contains(a, b) {
						return a
					}
					return a + b
				}), "195"},
			} {
				conf := Config[string]{Resolver: c.resolver}
				a, b := f.node("a", conf), f.node("b", conf)
				f.ok(a.Set(t.Context(), name, "1"))
				for _, v := range []string{"9", "5"} {
					if err := b.Set(t.Context(), name, v); err != nil && !errors.Is(err, port.ErrConflict) {
						t.Fatal(err)
					}
				}
				f.gets(a, name, c.want)
				f.gets(b, name, c.want)
				a.stop()
				b.stop()
			}
		})
	})
	t.Run("versions of a key only grow, also where an older set counts, so that every node drops its copy", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			conf := Config[string]{Resolver: Largest(cmp.Compare[string])}
			a, b := f.node("a", conf), skewed(f.node("b", conf), 400*time.Millisecond)
			f.ok(a.Set(t.Context(), "k", "1"))
			after(time.Second)
			atRead(a, func() { f.ok(b.Set(t.Context(), "k", "5")) })
			f.ok(a.Set(t.Context(), "k", "9"))
			f.far(b, "k", "9")
			f.near(a, "k", "9")
		})
	})
	t.Run("both are kept when asked", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			c := New[[]int](f.open(), "lists", Config[[]int]{Resolver: KeepBoth[int]()})
			f.ok(c.Set(t.Context(), "k", []int{3, 1}))
			f.ok(c.Set(t.Context(), "k", []int{2, 1}))
			got, err := c.Get(t.Context(), "k")
			if err != nil || fmt.Sprint(got) != "[1 2 3]" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	})
	t.Run("writers of one key on many nodes all end, and all nodes agree", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			var nodes []member
			var wg sync.WaitGroup
			for i := range 4 {
				n := skewed(f.node(fmt.Sprint(i), Config[string]{}), time.Duration(i)*100*time.Millisecond)
				nodes = append(nodes, n)
				wg.Go(func() {
					for k := range 50 {
						var err error
						switch rand.IntN(4) {
						case 0:
							err = n.Delete(t.Context(), "k")
						default:
							err = n.Set(t.Context(), "k", fmt.Sprint(n.node.id, k))
						}
						if err != nil && !errors.Is(err, port.ErrConflict) {
							t.Error(err)
						}
						after(time.Duration(rand.IntN(3)) * time.Millisecond)
					}
				})
			}
			wg.Wait()
			f.ok(nodes[0].Set(t.Context(), "k", "last"))
			for _, n := range nodes {
				f.gets(n, "k", "last")
				f.near(n, "k", "last")
			}
		})
	})
}

func TestUnknownOutcomes(t *testing.T) {
	changes := map[string]func(context.Context, member) error{
		"set":     func(ctx context.Context, m member) error { return m.Set(ctx, "k", "2", "tag") },
		"delete":  func(ctx context.Context, m member) error { return m.Delete(ctx, "k") },
		"pattern": func(ctx context.Context, m member) error { return m.InvalidatePattern(ctx, "k") },
		"tag":     func(ctx context.Context, m member) error { return m.InvalidateTag(ctx, "tag") },
		"clear":   func(ctx context.Context, m member) error { return m.Clear(ctx) },
	}
	for name, change := range changes {
		t.Run("a "+name+" of unknown outcome is made again and made once", func(t *testing.T) {
			in(t, func(t *testing.T, f *fleet) {
				a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
				f.ok(a.Set(t.Context(), "k", "1", "tag"))
				f.near(a, "k", "1")
				before, err := a.Status(t.Context())
				f.ok(err)
				n := 0
				a.b.breaks(func(op memory.Op) memory.Fault {
					if op.Name != "write" || op.Point == memory.Between {
						return memory.Fault{}
					}
					if n++; n <= 4 {
						return memory.Fault{Err: port.ErrUncertain}
					}
					return memory.Fault{}
				})
				f.ok(change(t.Context(), a))
				s, err := a.Status(t.Context())
				f.ok(err)
				if s.History != before.History+1 || n < 4 {
					t.Errorf("%d entries of the log after %d points", s.History-before.History, n)
				}
				want := ""
				if name == "set" {
					want = "2"
				}
				f.gets(a, "k", want)
				f.gets(b, "k", want)
			})
		})
		t.Run("nothing old is served after a "+name+" whose outcome stays unknown", func(t *testing.T) {
			in(t, func(t *testing.T, f *fleet) {
				a := f.node("a", Config[string]{Bound: time.Hour})
				f.ok(a.Set(t.Context(), "k", "1", "tag"))
				f.near(a, "k", "1")
				a.b.breaks(func(op memory.Op) memory.Fault {
					switch {
					case op.Name == "write" && op.Point == memory.After:
						return memory.Fault{Err: errors.New("the answer got lost")}
					case op.Name == "read": // and its own entry is not heard
						return memory.Fault{Delay: time.Minute}
					}
					return memory.Fault{}
				})
				f.is(change(t.Context(), a), port.ErrUncertain)
				if v, err := a.Get(t.Context(), "k"); err == nil && v == "1" {
					t.Error("the old value is served")
				}
			})
		})
		t.Run("a "+name+" that did not happen is refused as such", func(t *testing.T) {
			in(t, func(t *testing.T, f *fleet) {
				a := f.node("a", Config[string]{})
				f.ok(a.Set(t.Context(), "k", "1", "tag"))
				for _, at := range []string{"write", "get", "getttl", "declare"} {
					a.declared.Store(false)
					a.b.breaks(func(op memory.Op) memory.Fault {
						if op.Name == at && op.Point == memory.Before {
							return memory.Fault{Err: port.ErrUnavailable}
						}
						return memory.Fault{}
					})
					if err := change(t.Context(), a); err != nil {
						f.is(err, port.ErrUnavailable)
						a.b.breaks(nil)
						f.near(a, "k", "1")
					} else if at == "write" || at == "declare" {
						t.Errorf("no error of %s", at)
					} else {
						a.b.breaks(nil)
						f.ok(a.Set(t.Context(), "k", "1", "tag"))
						f.gets(a, "k", "1")
					}
				}
			})
		})
	}
	t.Run("a writer that dies at any point leaves the key and the log in agreement", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			for name, change := range changes {
				for dies := 1; ; dies++ {
					b := f.node("b", Config[string]{})
					f.ok(b.Set(t.Context(), "k", "1", "tag"))
					f.near(b, "k", "1")
					back := f.open()
					a := member{Cache: New[string](back, "users", Config[string]{Node: "a"}), b: back}
					n := 0
					back.breaks(func(memory.Op) memory.Fault {
						n++
						return memory.Fault{Cut: n == dies}
					})
					err := change(t.Context(), a)
					after(time.Second)
					fresh := f.open()
					want, inStore := New[string](fresh, "users", Config[string]{}).Get(t.Context(), "k")
					got, near := b.Get(t.Context(), "k")
					if want != got || (inStore == nil) != (near == nil) {
						t.Fatalf("%s cut at %d (%v): b answers %q, %v, the store has %q, %v", name, dies, err, got, near, want, inStore)
					}
					b.stop()
					if err == nil {
						break
					}
				}
			}
		})
	})
}
