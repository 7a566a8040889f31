package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestInvalidations(t *testing.T) {
	t.Parallel()
	t.Run("a pattern invalidates what it matches, on every node and in the store", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			for _, key := range []string{"user/1", "user/2", "item/1"} {
				f.ok(a.Set(t.Context(), key, "1"))
				f.gets(b, key, "1")
			}
			f.ok(a.InvalidatePattern(t.Context(), "user/*"))
			f.far(a, "user/1", "")
			synctest.Wait()
			f.far(b, "user/2", "")
			f.near(b, "item/1", "1")
			f.near(a, "item/1", "1")
			c := f.node("c", Config[string]{}) // it has heard of nothing
			f.far(c, "user/1", "")
			f.far(c, "item/1", "1")
			f.ok(b.Set(t.Context(), "user/1", "2"))
			synctest.Wait()
			f.far(c, "user/1", "2")
			f.near(c, "user/1", "2")
			f.far(a, "user/1", "2")
		})
	})
	t.Run("a pattern is a glob over the key and never over the names in the store", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.ok(a.InvalidatePattern(t.Context(), "users/v/*"))
			f.near(a, "k", "1")
			f.ok(a.InvalidatePattern(t.Context(), "?"))
			f.far(a, "k", "")
			f.is(a.InvalidatePattern(t.Context(), "["), port.ErrInvalid)
		})
	})
	t.Run("a tag invalidates what carries it", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			big := "big"
			for a.near.tagStripe(big) == a.near.tagStripe("red") || b.near.tagStripe(big) == b.near.tagStripe("red") {
				big += "ger" // two tags of one stripe are invalidated together
			}
			f.ok(a.Set(t.Context(), "x", "1", "red", big))
			f.ok(a.Set(t.Context(), "y", "1", big))
			f.gets(b, "x", "1")
			f.gets(b, "y", "1")
			f.ok(a.InvalidateTag(t.Context(), "red"))
			f.far(a, "x", "")
			f.near(a, "y", "1")
			synctest.Wait()
			f.far(b, "x", "")
			f.near(b, "y", "1")
			v, err := b.Load(t.Context(), "x", loads("2"), "red")
			if err != nil || v != "2" {
				t.Fatalf("Load = %q, %v", v, err)
			}
			f.near(b, "x", "2")
			f.far(a, "x", "2")
			f.ok(b.InvalidateTag(t.Context(), "red", big))
			synctest.Wait()
			f.far(a, "x", "")
			f.far(a, "y", "")
			f.ok(a.InvalidateTag(t.Context()))
		})
	})
	t.Run("clear leaves nothing, on every node and in the store", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1", "tag"))
			f.gets(b, "k", "1")
			f.ok(a.Clear(t.Context()))
			f.far(a, "k", "")
			synctest.Wait()
			f.far(b, "k", "")
			f.ok(a.Set(t.Context(), "k", "2"))
			synctest.Wait()
			f.far(b, "k", "2")
			n, err := b.Sweep(t.Context())
			if err != nil || n != 0 {
				t.Errorf("swept %d, %v, want 0", n, err)
			}
		})
	})
	t.Run("a node that missed an invalidation learns of it from the store", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			for i := range 3 {
				f.ok(a.Set(t.Context(), fmt.Sprintf("user/%d", i), "1"))
			}
			f.ok(a.InvalidatePattern(t.Context(), "user/1"))
			b := f.node("b", Config[string]{}) // it follows from here on
			f.ok(a.InvalidatePattern(t.Context(), "user/2"))
			synctest.Wait()
			f.far(b, "user/0", "1")
			f.far(b, "user/1", "")
			f.far(b, "user/2", "")
			f.ok(a.Set(t.Context(), "user/2", "2"))
			f.ok(a.InvalidatePattern(t.Context(), "user/0"))
			synctest.Wait()
			f.far(b, "user/0", "")
			f.far(b, "user/2", "2")
			f.near(b, "user/2", "2")
		})
	})
	t.Run("an invalidation that is heard without the one before it drops everything near", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "stays", "1"))
			f.ok(a.Set(t.Context(), "user/1", "1"))
			f.ok(a.InvalidatePattern(t.Context(), "user/*"))
			synctest.Wait()
			b.near.marks.Store(new(marks)) // as after a gap
			f.gets(b, "stays", "1")
			b.near.marks.Store(new(marks))
			f.ok(a.InvalidatePattern(t.Context(), "item/*"))
			synctest.Wait()
			f.far(b, "user/1", "")
			f.far(b, "stays", "1")
		})
	})
	t.Run("beyond 1,024 patterns everything is invalid, and the same pattern counts once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := &fleet{t: t, store: memory.New(memory.Config{})}
			const before = maxPatterns - 64 // by the time that the nodes come
			m := new(marks)
			for i := range before {
				m = m.add(fmt.Sprintf("x%d", i), false, 0)
			}
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			f.ok(f.store.Write(t.Context(), port.Batch{ID: "before", Changes: []port.Change{
				{Key: a.digestKey(), Value: m.digest()}, {Key: a.marksKey(), Value: m.whole()},
			}}))
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			for i := before; i < maxPatterns; i++ {
				f.ok(a.InvalidatePattern(t.Context(), fmt.Sprintf("x%d", i)))
				if i%10 == 0 {
					f.ok(a.InvalidatePattern(t.Context(), "again*"))
				}
				if i == maxPatterns-2 {
					synctest.Wait()
					f.near(b, "k", "1")
					f.near(a, "k", "1")
				}
			}
			synctest.Wait()
			f.far(a, "k", "")
			f.far(b, "k", "")
		})
	})
	t.Run("patterns older than any value are forgotten", func(t *testing.T) {
		m := &marks{}
		for i := range 10 {
			m = m.add(fmt.Sprint(i), false, time.Minute)
			for k := range m.List {
				m.List[k].At -= 40_000 // as if 40 s had passed
			}
		}
		if len(m.List) != 2 {
			t.Errorf("%d patterns are kept, want 2", len(m.List))
		}
	})
	t.Run("sweep removes what is invalid and nothing else", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			for i := range 250 {
				f.ok(a.Set(t.Context(), fmt.Sprintf("old/%d", i), "1"))
			}
			f.ok(a.Set(t.Context(), "stays", "1"))
			f.ok(a.Set(t.Context(), "tagged", "1", "tag"))
			f.ok(a.Delete(t.Context(), "old/0"))
			f.ok(a.InvalidatePattern(t.Context(), "old/*"))
			f.ok(a.InvalidateTag(t.Context(), "tag"))
			n, err := a.Sweep(t.Context())
			if err != nil || n != 250 {
				t.Errorf("swept %d, %v, want 250: 249 by the pattern, 1 by the tag", n, err)
			}
			f.gets(a, "stays", "1")
			f.gets(a, "old/0", "")
		})
	})
	t.Run("invalidations by many nodes at once are all made", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			nodes := []member{f.node("a", Config[string]{}), f.node("b", Config[string]{}), f.node("c", Config[string]{})}
			for i := range 30 {
				f.ok(nodes[0].Set(t.Context(), fmt.Sprintf("k%d", i), "1"))
			}
			errs := make(chan error)
			for i, n := range nodes {
				go func() {
					var err error
					for k := i; k < 30; k += 3 {
						err = errors.Join(err, n.InvalidatePattern(t.Context(), fmt.Sprintf("k%d", k)))
					}
					errs <- err
				}()
			}
			for range nodes {
				f.ok(<-errs)
			}
			synctest.Wait()
			for i := range 30 {
				for _, n := range nodes {
					f.gets(n, fmt.Sprintf("k%d", i), "")
				}
			}
		})
	})
	t.Run("an entry of the log that means nothing to this node makes it drop everything", func(t *testing.T) {
		for name, body := range map[string]string{"an unknown op": `{"op":"later","version":{"clock":1}}`, "no op": `{`} {
			t.Run(name, func(t *testing.T) {
				in(t, func(t *testing.T, f *fleet) {
					a := f.node("a", Config[string]{})
					f.ok(a.Set(t.Context(), "k", "1"))
					f.near(a, "k", "1")
					f.ok(f.store.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "users.log", ID: "x", Body: []byte(body)}}}))
					synctest.Wait()
					f.far(a, "k", "1")
					f.near(a, "k", "1")
				})
			})
		}
	})
}

func TestFillsAgainstInvalidations(t *testing.T) {
	// between makes something happen when node b has read the store and not yet made a copy.
	between := func(f *fleet, b member, happen func()) {
		done := false
		b.b.breaks(func(op memory.Op) memory.Fault {
			if (op.Name == "getttl" || op.Name == "get") && op.Point == memory.After && !done {
				done = true
				happen()
			}
			return memory.Fault{}
		})
	}
	changes := map[string]func(f *fleet, a member) error{
		"a set":     func(f *fleet, a member) error { return a.Set(f.t.Context(), "k", "2") },
		"a delete":  func(f *fleet, a member) error { return a.Delete(f.t.Context(), "k") },
		"a pattern": func(f *fleet, a member) error { return a.InvalidatePattern(f.t.Context(), "k*") },
		"a tag":     func(f *fleet, a member) error { return a.InvalidateTag(f.t.Context(), "tag") },
		"a clear":   func(f *fleet, a member) error { return a.Clear(f.t.Context()) },
		"two deletes": func(f *fleet, a member) error {
			return errors.Join(a.Delete(f.t.Context(), "k"), a.Delete(f.t.Context(), "k"))
		},
		"another's fill": func(*fleet, member) error { return nil },
	}
	for name, change := range changes {
		for _, heard := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s between reading and keeping leaves no old copy, heard at once %v", name, heard), func(t *testing.T) {
				in(t, func(t *testing.T, f *fleet) {
					a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
					f.ok(a.Set(t.Context(), "k", "1", "tag"))
					synctest.Wait()
					between(f, b, func() {
						f.ok(change(f, a))
						if heard {
							after(100 * time.Millisecond)
						}
					})
					_, err := b.Get(t.Context(), "k")
					if err != nil && !errors.Is(err, port.ErrNotFound) {
						t.Fatal(err)
					}
					after(100 * time.Millisecond)
					want, err := a.Get(t.Context(), "k")
					if errors.Is(err, port.ErrNotFound) {
						want = ""
					}
					f.gets(b, "k", want)
				})
			})
			if name == "another's fill" {
				continue
			}
			t.Run(fmt.Sprintf("%s during a load makes it lose, heard at once %v", name, heard), func(t *testing.T) {
				in(t, func(t *testing.T, f *fleet) {
					a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
					source, n := "old", 0
					got, err := b.Load(t.Context(), "k", func(context.Context, string) (string, error) {
						n++
						read := source
						if n == 1 {
							source = "new"
							f.ok(change(f, a))
							if heard {
								after(100 * time.Millisecond)
							}
						}
						return read, nil
					}, "tag")
					f.ok(err)
					after(100 * time.Millisecond)
					at, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) { return source, nil }, "tag")
					f.ok(err)
					if at == "old" {
						t.Fatalf("the old value is in the store; the load answered %q", got)
					}
					f.gets(b, "k", at)
				})
			})
		}
	}
	t.Run("who comes after an invalidation does not join an older load", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			go func() {
				_, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) {
					after(time.Second)
					return "old", nil
				})
				f.ok(err)
			}()
			synctest.Wait()
			f.ok(a.Clear(t.Context()))
			v, err := a.Load(t.Context(), "k", loads("new"))
			if err != nil || v != "new" {
				t.Errorf("Load = %q, %v, want new", v, err)
			}
			after(2 * time.Second)
			f.gets(a, "k", "new")
		})
	})
	t.Run("a value that is invalidated whenever it is loaded is answered and not kept", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			n := 0
			v, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) {
				n++
				f.ok(a.Delete(t.Context(), "k"))
				return fmt.Sprint(n), nil
			})
			if err != nil || v != "3" || n != mostLoads {
				t.Errorf("Load = %q, %v after %d loads", v, err, n)
			}
			f.gets(a, "k", "")
		})
	})
	t.Run("a load that took longer than tombstones are kept is not kept", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{Keep: time.Minute})
			v, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) {
				after(2 * time.Minute)
				return "old", nil
			})
			f.is(err, port.ErrStale)
			if v != "old" {
				t.Errorf("Load = %q", v)
			}
			f.gets(a, "k", "")
		})
	})
}
