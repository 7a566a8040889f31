package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

func TestStatus(t *testing.T) {
	t.Run("it names the members, the leader and what the log keeps", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			after(time.Second)
			b := f.node("b", Config[string]{})
			f.ok(a.Set(t.Context(), "k", "1"))
			after(20 * time.Second)
			s, err := b.Status(t.Context())
			f.ok(err)
			if s.Node != "b" || s.Leader != "a" || len(s.Members) != 2 || s.Members[1].Node != "b" || s.Members[0].Heard.IsZero() || s.Members[0].Offset == "" {
				t.Errorf("status %+v", s)
			}
			if !s.Hears || s.Heard > time.Second || s.Bound != time.Second || s.Lag != 0 || s.History != 3 || s.Fault != nil {
				t.Errorf("status %+v, want 3 entries: two nodes and a set", s)
			}
			a.stop()
			s, err = b.Status(t.Context())
			f.ok(err)
			if s.Leader != "b" || len(s.Members) != 1 {
				t.Errorf("status %+v: a has left", s)
			}
		})
	})
	t.Run("it counts what is not applied yet", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			b.stop()
			for range 7 {
				f.ok(a.Delete(t.Context(), "k"))
			}
			s, err := b.Status(t.Context())
			f.ok(err)
			if s.Lag != 7 || s.Hears || s.Heard < 0 {
				t.Errorf("status %+v", s)
			}
			c := New[string](f.open(), "users", Config[string]{})
			if s, err := c.Status(t.Context()); err != nil || s.Heard >= 0 {
				t.Errorf("status %+v, %v", s, err)
			}
		})
	})
	t.Run("it tells what it knows beside the error when the backend does not answer", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			for _, name := range []string{"holders", "inspect"} {
				a.b.breaks(func(op memory.Op) memory.Fault {
					if op.Name == name {
						return memory.Fault{Err: port.ErrUnavailable}
					}
					return memory.Fault{}
				})
				s, err := a.Status(t.Context())
				f.is(err, port.ErrUnavailable)
				if s.Node != "a" || !s.Hears {
					t.Errorf("status %+v", s)
				}
			}
			a.b.breaks(nil)
			_, err := f.store.Acquire(t.Context(), port.Lease{Name: "users.member.x", Owner: "x", Nonce: "x", Data: []byte("{")}, time.Minute)
			f.ok(err)
			_, err = a.Status(t.Context())
			f.is(err, port.ErrInvalid)
		})
	})
}

func TestAudit(t *testing.T) {
	t.Run("hits are compared with the store, and how old they were is told", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			b := f.node("b", Config[string]{Audit: 100 * time.Millisecond, Bound: 10 * time.Second})
			f.ok(a.Set(t.Context(), "k", "1"))
			f.gets(b, "k", "1")
			f.ok(a.Set(t.Context(), "other", "1"))
			f.gets(b, "other", "1")
			f.ok(a.Delete(t.Context(), "none"))
			after(time.Second)
			b.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "read" && op.Point == memory.After {
					return memory.Fault{Delay: 500 * time.Millisecond} // what it hears it hears late
				}
				return memory.Fault{}
			})
			after(time.Second)
			f.ok(a.Set(t.Context(), "k", "2"))
			f.ok(f.store.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "users/v/other", Delete: true}}}))
			for range 60 {
				_, err := b.Get(t.Context(), "k")
				f.ok(err)
				_, err = b.Get(t.Context(), "other")
				if err != nil {
					f.is(err, port.ErrNotFound)
				}
				after(10 * time.Millisecond)
			}
			after(time.Second)
			s, err := b.Status(t.Context())
			f.ok(err)
			if s.Audited == 0 || s.Behind == 0 || s.Staleness <= 0 || s.Staleness > time.Second {
				t.Errorf("audited %d, behind %d, staleness %v", s.Audited, s.Behind, s.Staleness)
			}
		})
	})
	t.Run("what cannot be compared is told", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			for _, bad := range []error{port.ErrUnavailable, port.ErrInvalid} {
				a := f.node("a", Config[string]{Audit: 10 * time.Millisecond})
				f.ok(a.Set(t.Context(), "k", "1"))
				if bad == port.ErrUnavailable {
					a.b.breaks(func(op memory.Op) memory.Fault {
						if op.Name == "get" {
							return memory.Fault{Err: bad}
						}
						return memory.Fault{}
					})
				} else {
					f.ok(f.store.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "users/v/k", Value: []byte("foreign")}}}))
				}
				after(20 * time.Millisecond)
				if bad == port.ErrUnavailable {
					f.near(a, "k", "1")
				} else {
					_, err := a.Get(t.Context(), "k")
					f.ok(err)
				}
				after(20 * time.Millisecond)
				_, fault := a.follow.faults()
				if fault == nil || !strings.Contains(fault.Error(), "audit") {
					t.Errorf("fault %v", fault)
				}
				a.stop()
				f.ok(f.store.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "users/v/k", Delete: true}}}))
			}
		})
	})
}

// knot is a value that cannot be encoded once it is tied.
type knot struct{ Tied bool }

type knotCodec struct{ envelope.JSON[knot] }

func (knotCodec) Append(dst []byte, v knot) ([]byte, error) {
	if v.Tied {
		return dst, errors.New("tied")
	}
	return append(dst, "{}"...), nil
}

func (knotCodec) Decode(src []byte, v *knot) error {
	if string(src) != "{}" {
		return errors.New("tied")
	}
	return nil
}

func TestArguments(t *testing.T) {
	b := memory.New(memory.Config{})
	methods := func(c *Cache[string], key string, tags ...string) map[string]error {
		ctx := context.Background()
		errs := map[string]error{}
		_, errs["Get"] = c.Get(ctx, key)
		_, errs["GetMany"] = c.GetMany(ctx, key)
		_, errs["Load"] = c.Load(ctx, key, loads("1"), tags...)
		_, errs["LoadStale"] = c.LoadStale(ctx, key, Stale{}, loads("1"), tags...)
		errs["Set"] = c.Set(ctx, key, "1", tags...)
		errs["Delete"] = c.Delete(ctx, key)
		return errs
	}
	t.Run("what is wrong with the arguments of New is answered by every method", func(t *testing.T) {
		for name, c := range map[string]*Cache[string]{
			"no backend":    New[string](nil, "x", Config[string]{}),
			"no name":       New[string](b, "", Config[string]{}),
			"a long name":   New[string](b, strings.Repeat("x", 81), Config[string]{}),
			"a bad node":    New[string](b, "x", Config[string]{Node: "a b"}),
			"a long node":   New[string](b, "x", Config[string]{Node: strings.Repeat("x", 33)}),
			"the bound":     New[string](b, "x", Config[string]{Bound: time.Millisecond}),
			"the jitter":    New[string](b, "x", Config[string]{Jitter: 2}),
			"negative":      New[string](b, "x", Config[string]{Negative: -1}),
			"the size":      New[string](b, "x", Config[string]{Size: -1}),
			"the load wait": New[string](b, "x", Config[string]{LoadWait: -1}),
			"keep":          New[string](b, "x", Config[string]{Keep: time.Second}),
			"stepwise":      New[string](memory.New(memory.Config{Stepwise: true}), "x", Config[string]{}),
		} {
			want := port.ErrInvalid
			if name == "stepwise" {
				want = port.ErrUnsupported
			}
			errs := methods(c, "k")
			errs["Follow"] = c.Follow(t.Context())
			errs["InvalidatePattern"] = c.InvalidatePattern(t.Context(), "*")
			errs["InvalidateTag"] = c.InvalidateTag(t.Context(), "t")
			errs["Clear"] = c.Clear(t.Context())
			_, errs["Status"] = c.Status(t.Context())
			_, errs["Sweep"] = c.Sweep(t.Context())
			for method, err := range errs {
				if !errors.Is(err, want) {
					t.Errorf("%s: %s answers %v, want %v", name, method, err, want)
				}
			}
			if c.Hears() {
				t.Errorf("%s: it hears", name)
			}
		}
	})
	t.Run("keys and tags that no store takes are refused before anything happened", func(t *testing.T) {
		c := New[string](b, "x", Config[string]{})
		for _, key := range []string{"", strings.Repeat("k", port.MaxKey)} {
			for method, err := range methods(c, key) {
				if !errors.Is(err, port.ErrInvalid) {
					t.Errorf("%s of key %.5q answers %v", method, key, err)
				}
			}
		}
		many := make([]string, maxTags+1)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		for _, tags := range [][]string{{""}, {"t", "t"}, {strings.Repeat("t", port.MaxKey)}, many} {
			errs := methods(c, "k", tags...)
			for _, method := range []string{"Load", "LoadStale", "Set"} {
				if !errors.Is(errs[method], port.ErrInvalid) {
					t.Errorf("%s with %d tags answers %v", method, len(tags), errs[method])
				}
			}
			if err := c.InvalidateTag(t.Context(), tags...); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("InvalidateTag of %d tags answers %v", len(tags), err)
			}
		}
	})
	t.Run("a value that cannot be encoded or decoded is an error", func(t *testing.T) {
		c := New(b, "knots", Config[knot]{Codec: knotCodec{}})
		if err := c.Set(t.Context(), "k", knot{true}); !errors.Is(err, port.ErrInvalid) {
			t.Error(err)
		}
		_, err := c.Load(t.Context(), "k", func(context.Context, string) (knot, error) { return knot{true}, nil })
		if !errors.Is(err, port.ErrInvalid) {
			t.Error(err)
		}
		r := record{kind: holds, payload: []byte("tied")}
		if err := b.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "knots/v/k", Value: r.bytes()}}}); err != nil {
			t.Fatal(err)
		}
		_, err = c.Get(t.Context(), "k")
		_, many := c.GetMany(t.Context(), "k")
		for _, err := range []error{err, many, c.Set(t.Context(), "k", knot{})} {
			if !errors.Is(err, port.ErrInvalid) {
				t.Error(err)
			}
		}
		if err := c.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
	})
	t.Run("what others have written under the cache's keys is an error and can be deleted", func(t *testing.T) {
		c := New[string](b, "broken", Config[string]{})
		put := func(key string, value []byte) {
			if err := b.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: key, Value: value}}}); err != nil {
				t.Fatal(err)
			}
		}
		whole := (&record{kind: holds, version: Version{Node: "n", Op: "o"}, tags: []tagMark{{"t", "m"}}}).bytes()
		for i := range whole {
			put("broken/v/k", whole[:i])
			for method, err := range methods(c, "k") {
				if method == "Delete" {
					if err != nil {
						t.Errorf("Delete answers %v", err)
					}
					put("broken/v/k", whole[:i])
				} else if !errors.Is(err, port.ErrInvalid) && !errors.Is(err, port.ErrNotFound) && err != nil {
					t.Errorf("%s of a record of %d bytes answers %v", method, i, err)
				}
			}
		}
		put("broken/v/k", []byte("foreign bytes"))
		if _, err := c.Sweep(t.Context()); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("Sweep answers %v", err)
		}
		put("broken/v/k", append(whole[:11:11], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("Get answers %v", err)
		}
		if err := c.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		for _, digest := range [][]byte{nil, {recordFormat}, {9, 9}} {
			put("broken/top", digest)
			for method, err := range methods(c, "k") {
				if method != "Delete" && !errors.Is(err, port.ErrInvalid) {
					t.Errorf("%s with digest %v answers %v", method, digest, err)
				}
			}
			if _, err := c.Sweep(t.Context()); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("Sweep answers %v", err)
			}
			if err := c.Clear(t.Context()); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("Clear answers %v", err)
			}
		}
		for _, marks := range [][]byte{nil, {recordFormat, 5, 0, 3}, {9}} {
			put("broken/top", []byte{recordFormat, 5})
			put("broken/marks", marks)
			if err := c.InvalidatePattern(t.Context(), "k"); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("InvalidatePattern with marks %v answers %v", marks, err)
			}
			if _, err := c.Get(t.Context(), "k"); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("Get with marks %v answers %v", marks, err)
			}
		}
		if err := b.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "broken/marks", Delete: true}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("Get without marks answers %v", err)
		}
		if err := c.InvalidatePattern(t.Context(), "k"); !errors.Is(err, port.ErrConflict) {
			t.Errorf("InvalidatePattern without marks answers %v", err)
		}
		if err := c.Clear(t.Context()); err != nil { // mends it
			t.Error(err)
		}
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("Get answers %v", err)
		}
	})
	t.Run("a value that is newer than the marks of the store does not count", func(t *testing.T) {
		c := New[string](b, "lost", Config[string]{})
		r := record{kind: holds, seq: 7, payload: []byte(`"v"`)}
		if err := b.Write(t.Context(), port.Batch{Changes: []port.Change{{Key: "lost/v/k", Value: r.bytes()}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, port.ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("a value without an end stays", func(t *testing.T) {
		c := New[string](b, "for-ever", Config[string]{TTL: -1})
		if err := c.Set(t.Context(), "k", "1", "tag"); err != nil {
			t.Fatal(err)
		}
		got, err := b.GetTTL(t.Context(), "for-ever/v/k")
		if err != nil || !got[0].Found || got[0].TTL != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if err := c.InvalidateTag(t.Context(), "tag"); err != nil {
			t.Fatal(err)
		}
		got, err = b.GetTTL(t.Context(), "for-ever/t/tag")
		if err != nil || !got[0].Found || got[0].TTL != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("an op survives the log, whatever bytes its names are", func(t *testing.T) {
		op := Op{Kind: OpDelete, Names: []string{"\xff\x00", ""}, Version: Version{Clock: 1<<64 - 1, Priority: 255, Node: "n", Op: "o"}, Seq: 1, Prev: 2, Value: []byte("v")}
		m, err := op.message("t")
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseOp(m.Body)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(op) || !json.Valid(m.Body) {
			t.Errorf("%+v, %v", back, err)
		}
	})
}
