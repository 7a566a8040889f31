package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	t.Run("a miss is loaded once and kept for the fleet", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a, b := f.node("a", Config[string]{}), f.node("b", Config[string]{})
			v, err := a.Load(t.Context(), "k", loads("1"))
			if err != nil || v != "1" {
				t.Fatalf("Load = %q, %v", v, err)
			}
			f.near(a, "k", "1")
			v, err = b.Load(t.Context(), "k", loads("2"))
			if err != nil || v != "1" {
				t.Fatalf("Load = %q, %v, want what is kept", v, err)
			}
			v, err = b.Load(t.Context(), "k", loads("3"))
			if err != nil || v != "1" {
				t.Fatalf("Load = %q, %v, want the near copy", v, err)
			}
			f.near(b, "k", "1")
		})
	})
	for _, one := range []bool{true, false} {
		want := 5
		if one {
			want = 1
		}
		t.Run(fmt.Sprintf("1,000 misses at once on each of 5 nodes are at most %d loads with OneLoader %v", want, one), func(t *testing.T) {
			in(t, func(t *testing.T, f *fleet) {
				var loaded atomic.Int64
				var wg sync.WaitGroup
				for i := range 5 {
					n := f.node(fmt.Sprint(i), Config[string]{OneLoader: one})
					for range 1000 {
						wg.Go(func() {
							v, err := n.Load(t.Context(), "k", func(context.Context, string) (string, error) {
								loaded.Add(1)
								after(200 * time.Millisecond)
								return "v", nil
							})
							if err != nil || v != "v" {
								t.Errorf("Load = %q, %v", v, err)
							}
						})
					}
				}
				wg.Wait()
				if n := int(loaded.Load()); n > want {
					t.Errorf("%d loads, want at most %d", n, want)
				}
			})
		})
	}
	t.Run("an error of the loader is answered and not kept", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{OneLoader: true})
			bad := errors.New("bad")
			_, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) { return "", bad })
			f.is(err, bad)
			_, err = a.Load(t.Context(), "k", func(context.Context, string) (string, error) { return "", port.ErrNotFound })
			f.is(err, port.ErrNotFound)
			began := time.Now()
			v, err := a.Load(t.Context(), "k", loads("1"))
			if err != nil || v != "1" || time.Since(began) > time.Second {
				t.Errorf("Load = %q, %v after %v: the lease on loading was not given back", v, err, time.Since(began))
			}
		})
	})
	t.Run("that there is nothing is kept for Negative when asked", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			conf := Config[string]{Negative: time.Minute, Jitter: -1}
			a, b := f.node("a", conf), f.node("b", conf)
			none := func(context.Context, string) (string, error) { return "", port.ErrNotFound }
			_, err := a.Load(t.Context(), "k", none)
			f.is(err, port.ErrNotFound)
			_, err = b.Load(t.Context(), "k", loads("1"))
			f.is(err, port.ErrNotFound)
			f.near(b, "k", "")
			_, err = b.Load(t.Context(), "k", loads("1"))
			f.is(err, port.ErrNotFound)
			after(time.Minute)
			v, err := b.Load(t.Context(), "k", loads("1"))
			if err != nil || v != "1" {
				t.Errorf("Load = %q, %v", v, err)
			}
			_, err = a.Load(t.Context(), "set", none)
			f.is(err, port.ErrNotFound)
			f.ok(b.Set(t.Context(), "set", "1"))
			f.far(a, "set", "1")
		})
	})
	t.Run("when the caller who loads goes away, another one who waits loads", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error, 2)
			load := func(ctx context.Context, _ string) (string, error) {
				select {
				case <-ctx.Done():
					return "", ctx.Err()
				case <-time.After(time.Second):
					return "v", nil
				}
			}
			go func() { _, err := a.Load(ctx, "k", load); errs <- err }()
			synctest.Wait()
			go func() { _, err := a.Load(t.Context(), "k", load); errs <- err }()
			impatient, stop := context.WithTimeout(t.Context(), time.Millisecond)
			defer stop()
			_, err := a.Load(impatient, "k", load)
			f.is(err, context.DeadlineExceeded)
			cancel()
			f.is(<-errs, context.Canceled)
			f.ok(<-errs)
			f.near(a, "k", "v")
		})
	})
	t.Run("a loader that panics takes nobody with it but its caller", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{OneLoader: true})
			panicked := make(chan any)
			go func() {
				defer func() { panicked <- recover() }()
				_, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) {
					after(time.Second)
					panic("loader")
				})
				t.Errorf("Load returned %v", err)
			}()
			synctest.Wait()
			v, err := a.Load(t.Context(), "k", loads("1"))
			if got := <-panicked; err != nil || v != "1" || got != "loader" {
				t.Errorf("Load = %q, %v; the other panicked with %v", v, err, got)
			}
		})
	})
	t.Run("nodes wait for another's load no longer than LoadWait", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			conf := Config[string]{OneLoader: true, LoadWait: 2 * time.Second}
			a, b := f.node("a", conf), f.node("b", conf)
			go func() {
				_, err := a.Load(t.Context(), "k", func(context.Context, string) (string, error) {
					after(time.Minute)
					return "", errors.New("for ever")
				})
				if err == nil {
					t.Error("no error")
				}
			}()
			synctest.Wait()
			hurry, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			_, err := b.Load(hurry, "k", loads("1"))
			f.is(err, context.DeadlineExceeded)
			v, err := b.Load(t.Context(), "k", loads("1"))
			if err != nil || v != "1" {
				t.Errorf("Load = %q, %v", v, err)
			}
			after(time.Minute)
		})
	})
	t.Run("a lease on loading of unknown outcome is asked for again", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{OneLoader: true})
			n := 0
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "acquire" && op.Point == memory.After {
					if n++; n == 1 {
						return memory.Fault{Err: port.ErrUncertain}
					}
				}
				return memory.Fault{}
			})
			v, err := a.Load(t.Context(), "k", loads("1"))
			if err != nil || v != "1" {
				t.Errorf("Load = %q, %v", v, err)
			}
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "acquire" {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			_, err = a.Load(t.Context(), "other", loads("1"))
			f.is(err, port.ErrUnavailable)
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "release" || op.Name == "getttl" && op.Point == memory.After && n > 0 {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			_, err = a.Load(t.Context(), "third", loads("1"))
			f.is(err, port.ErrUncertain)
			n = 0
			_, err = a.Load(t.Context(), "third", loads("1"))
			f.ok(err)
			_, fault := a.follow.faults()
			f.is(fault, port.ErrUnavailable)
		})
	})
	t.Run("a value that could not be kept is answered beside the error", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			a.b.breaks(func(op memory.Op) memory.Fault {
				if op.Name == "write" && op.Point == memory.Before {
					return memory.Fault{Err: port.ErrUnavailable}
				}
				return memory.Fault{}
			})
			v, err := a.Load(t.Context(), "k", loads("1"))
			f.is(err, port.ErrUnavailable)
			if v != "1" {
				t.Errorf("Load = %q", v)
			}
		})
	})
}

func TestStale(t *testing.T) {
	t.Parallel()
	down := func(m member) {
		m.b.breaks(func(op memory.Op) memory.Fault {
			if op.Point == memory.Before {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		})
	}
	t.Run("an old copy is answered when the store is down, with its age, and only when asked", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{TTL: time.Hour})
			f.ok(a.Set(t.Context(), "k", "1"))
			got, err := a.LoadStale(t.Context(), "k", Stale{}, loads("2"))
			if err != nil || got.Stale || got.Value != "1" || got.Age > time.Second {
				t.Errorf("LoadStale = %+v, %v", got, err)
			}
			down(a)
			after(time.Minute)
			_, err = a.Load(t.Context(), "k", loads("2"))
			f.is(err, port.ErrUnavailable)
			_, err = a.LoadStale(t.Context(), "k", Stale{}, loads("2"))
			f.is(err, port.ErrUnavailable)
			_, err = a.LoadStale(t.Context(), "k", Stale{IfError: 50 * time.Second}, loads("2"))
			f.is(err, port.ErrUnavailable)
			got, err = a.LoadStale(t.Context(), "k", Stale{IfError: 61 * time.Second}, loads("2"))
			f.ok(err)
			f.is(got.Why, port.ErrUnavailable)
			if !got.Stale || got.Value != "1" || got.Age < 59*time.Second || got.Age > 61*time.Second {
				t.Errorf("LoadStale = %+v", got)
			}
			_, err = a.LoadStale(t.Context(), "k", Stale{IfError: -1}, loads("2"))
			f.is(err, port.ErrInvalid)
		})
	})
	t.Run("what is known to be invalidated is not answered, however old a copy may be", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{})
			for _, key := range []string{"deleted", "x1", "tagged"} {
				f.ok(a.Set(t.Context(), key, "1", "tag"))
			}
			f.ok(a.Delete(t.Context(), "deleted"))
			f.ok(a.InvalidatePattern(t.Context(), "x*"))
			f.ok(a.InvalidateTag(t.Context(), "tag"))
			down(a)
			for _, key := range []string{"deleted", "x1", "tagged"} {
				_, err := a.LoadStale(t.Context(), key, Stale{IfError: time.Hour, WhileRevalidate: time.Hour}, loads("2"))
				f.is(err, port.ErrUnavailable)
			}
		})
	})
	t.Run("a copy that ran out is answered once more while it is loaded anew", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{TTL: time.Minute, Jitter: -1})
			f.ok(a.Set(t.Context(), "k", "1"))
			after(time.Minute + time.Second)
			stale := Stale{WhileRevalidate: 10 * time.Second}
			got, err := a.LoadStale(t.Context(), "k", stale, loads("2"))
			if err != nil || !got.Stale || got.Value != "1" || got.Age > 2*time.Second {
				t.Errorf("LoadStale = %+v, %v", got, err)
			}
			synctest.Wait()
			f.near(a, "k", "2")
			after(2 * time.Minute)
			got, err = a.LoadStale(t.Context(), "k", stale, loads("3"))
			if err != nil || got.Stale || got.Value != "3" {
				t.Errorf("LoadStale = %+v, %v: the copy was too old", got, err)
			}
			a.stop() // nobody would load it
			after(time.Minute)
			got, err = a.LoadStale(t.Context(), "k", stale, loads("4"))
			if err != nil || got.Stale || got.Value != "4" {
				t.Errorf("LoadStale = %+v, %v", got, err)
			}
		})
	})
	t.Run("a refresh is made once, is bounded in number, and tells of its failure", func(t *testing.T) {
		in(t, func(t *testing.T, f *fleet) {
			a := f.node("a", Config[string]{TTL: time.Minute, Jitter: -1})
			f.ok(a.Set(t.Context(), "k", "1"))
			after(time.Minute)
			n := 0
			bad := errors.New("bad")
			for range 10 {
				got, err := a.LoadStale(t.Context(), "k", Stale{WhileRevalidate: time.Minute}, func(context.Context, string) (string, error) {
					n++
					after(time.Second)
					return "", bad
				})
				if err != nil || !got.Stale {
					t.Errorf("LoadStale = %+v, %v", got, err)
				}
			}
			after(2 * time.Second)
			if n != 1 {
				t.Errorf("%d loads, want 1", n)
			}
			_, fault := a.follow.faults()
			f.is(fault, bad)
			slow := func(context.Context, string) (string, error) { after(time.Millisecond); return "v", nil }
			for i := range maxRefreshes + 1 {
				if added := a.refresh.add(revalidation[string]{key: fmt.Sprint(i), load: slow}); added != (i < maxRefreshes) {
					t.Fatalf("refresh %d: added %v", i, added)
				}
			}
			after(time.Minute)
		})
	})
}
