package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestReadersShareAndAWriterIsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		come := func(id string, lock func(context.Context, port.Leases, Hold, func(context.Context, Term) error) error, d time.Duration) {
			queued(t, b.Open(memory.Config{}), Hold{ID: id}, lock, func(ctx context.Context, _ Term) error {
				l.at("%s begins", id)
				<-time.After(d)
				l.at("%s ends", id)
				return nil
			})
			<-time.After(time.Second)
		}
		come("r1", ReadLock, 60*time.Second)
		come("r2", ReadLock, 20*time.Second)
		come("w1", Lock, 10*time.Second)
		come("r3", ReadLock, 5*time.Second) // behind who wants to write
		come("r4", ReadLock, 5*time.Second)
		come("w2", Lock, 10*time.Second)
		<-time.After(3 * time.Minute)
		l.mu.Lock()
		all := strings.Join(l.all, ", ")
		l.mu.Unlock()
		want := "0s r1 begins, 1s r2 begins, 21s r2 ends, 1m0s r1 ends, 1m0s w1 begins, 1m10s w1 ends, "
		rest, ok := strings.CutPrefix(all, want)
		if !ok {
			t.Fatalf("%s, want %s", all, want)
		}
		// r3 is in front; r4 and the writer that is not fair follow in one order or the other, and nobody is beside the writer.
		if !strings.Contains(rest, "w2 begins, ") || !strings.Contains(rest, "r3 begins, ") || !strings.Contains(rest, "r4 begins, ") {
			t.Error(all)
		}
		if _, after, _ := strings.Cut(rest, "w2 begins, "); !strings.Contains(strings.SplitN(after, ", ", 2)[0], "w2 ends") {
			t.Errorf("somebody beside the writer: %s", all)
		}
		if held := holders(t, b, ""); held != nil {
			t.Errorf("left behind: %v", held)
		}
	})
}

func TestReadersAndFairWritersComeInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		for _, id := range []string{"w1", "r1", "r2", "w2", "r3", "r4", "w3"} {
			lock := Lock
			if id[0] == 'r' {
				lock = ReadLock
			}
			queued(t, b, Hold{ID: id, Fair: true}, lock, l.staying(id, 10*time.Second))
		}
		<-time.After(2 * time.Minute)
		l.mu.Lock()
		slices.Sort(l.all) // of two who begin at one moment either may say so first
		l.mu.Unlock()
		l.want(t, "0s w1", "10s r1", "10s r2", "20s w2", "30s r3", "30s r4", "40s w3")
		if held := holders(t, b, ""); held != nil {
			t.Errorf("left behind: %v", held)
		}
	})
}

// Readers who come without end starve nobody, and neither do writers who are not fair.
func TestNeitherReadersNorWritersAreStarved(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		again := func(id string, lock func(context.Context, port.Leases, Hold, func(context.Context, Term) error) error) {
			handle := b.Open(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Delay: 100 * time.Microsecond} }})
			background(t, func(context.Context) {
				for ctx.Err() == nil {
					err := lock(ctx, handle, Hold{Name: "x", ID: id, Log: quiet}, func(ctx context.Context, _ Term) error {
						nap(ctx, time.Second)
						return nil
					})
					if err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", id, err)
					}
				}
			})
		}
		for i := range 4 {
			again(fmt.Sprint("r", i), ReadLock)
			<-time.After(300 * ms)
		}
		for i := range 20 {
			start := time.Now()
			err := Lock(ctx, b, Hold{Name: "x", ID: fmt.Sprint("w", i), Log: quiet}, func(context.Context, Term) error { return nil })
			if took := time.Since(start); err != nil || took > 3*time.Second {
				t.Errorf("a writer waited for %v: %v", took, err)
			}
		}
		again("w1", Lock)
		again("w2", Lock)
		<-time.After(10 * time.Second)
		for i := range 20 {
			start := time.Now()
			err := ReadLock(ctx, b, Hold{Name: "x", ID: fmt.Sprint("r", i), Log: quiet}, func(context.Context, Term) error { return nil })
			if took := time.Since(start); err != nil || took > 30*time.Second {
				t.Errorf("a reader waited for %v: %v", took, err)
			}
		}
	})
}

func TestReadersShareATokenThatIsSmallerThanTheNextWriters(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		terms := make(chan Term, 4)
		tell := func(ctx context.Context, term Term) error {
			if !term.Held() || term.Guard(func() error { return nil }) != nil {
				t.Errorf("%s does not hold it", term.Holder)
			}
			terms <- term
			nap(ctx, 10*time.Second)
			return nil
		}
		for i, lock := range []func(context.Context, port.Leases, Hold, func(context.Context, Term) error) error{Lock, ReadLock, ReadLock, Lock} {
			queued(t, b, Hold{ID: fmt.Sprint(i), Fair: true, Meta: map[string]string{"n": fmt.Sprint(i)}}, lock, tell)
		}
		first, one, two := <-terms, <-terms, <-terms
		synctest.Wait()
		all, err := Who(t.Context(), b, "x")
		if err != nil || len(all) != 2 {
			t.Fatalf("%v: %+v", err, all)
		}
		for i, h := range all {
			if h.Kind != "read" || h.Token != one.Token || h.Fence() != one.Fence() || h.Meta["n"] != h.Holder || h.Name != "x" || h.Held() {
				t.Errorf("%d: %+v", i, h)
			}
		}
		last := <-terms
		if first.Token >= one.Token || one.Token != two.Token || two.Token >= last.Token {
			t.Errorf("tokens %d, %d, %d, %d", first.Token, one.Token, two.Token, last.Token)
		}
		if one.Fence().Name != "lock.x" || last.Fence().Name != "lock.x" {
			t.Errorf("fences of %q and %q", one.Fence().Name, last.Fence().Name)
		}
		handle, c := watched(b)
		c.set(down())
		if _, err := readersOf(t.Context(), handle, "x", port.Lease{}); !errors.Is(err, errNet) {
			t.Errorf("an outage: %v", err)
		}
	})
}

// An idle reader renews by one call; that the lock is held is asked for by nobody else.
func TestWhatReadingCosts(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		err := ReadLock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error {
			if c.all() != 5 {
				t.Errorf("begins after %v", c.count)
			}
			c.reset()
			<-time.After(60 * time.Second)
			if n := c.of("renew"); n < 10 || n > 15 || c.all() != n {
				t.Errorf("in 60 s %v", c.count)
			}
			c.reset()
			return nil
		})
		if err != nil || c.all() != 5 {
			t.Errorf("%v, ends after %v", err, c.count)
		}
	})
}

func TestAReaderThatDiesHoldsUpAWriterForItsLeaseAtTheMost(t *testing.T) {
	for what, others := range map[string]time.Duration{"alone": 0, "among others that leave sooner": 5 * time.Second, "among others that leave later": 40 * time.Second} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *memory.Backend) {
				var cut atomic.Bool
				dying := b.Open(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Cut: cut.Load()} }})
				queued(t, dying, Hold{ID: "dead"}, ReadLock, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
				if others > 0 {
					queued(t, b, Hold{ID: "other"}, ReadLock, func(context.Context, Term) error { <-time.After(others); return nil })
				}
				cut.Store(true)
				start := time.Now()
				err := Lock(t.Context(), b, Hold{Name: "x", ID: "w", Log: quiet}, func(context.Context, Term) error { return nil })
				want := max(20*time.Second, others+ms)
				if took := time.Since(start); err != nil || took > want || took < others {
					t.Errorf("%v after %v, want at most %v", err, took, want)
				}
				<-time.After(time.Minute) // and nothing is left of it
				if held := holders(t, b, ""); held != nil {
					t.Errorf("left behind: %v", held)
				}
			})
		})
	}
}

// The others' lease is the one that they renew, so who joins takes it over.
func TestWhoReadsWithOthersHasTheirLease(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		queued(t, b, Hold{ID: "first", TTL: 3 * time.Second}, ReadLock, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		for _, ttl := range []time.Duration{time.Second, time.Minute} {
			err := ReadLock(t.Context(), b, Hold{Name: "x", TTL: ttl, Log: quiet}, func(_ context.Context, term Term) error {
				if left := time.Until(term.Until()); left < 2*time.Second || left > 3*time.Second {
					t.Errorf("TTL %v: held for %v", ttl, left)
				}
				<-time.After(time.Minute)
				if !term.Held() {
					t.Errorf("TTL %v: lost", ttl)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		err := ReadLock(t.Context(), b, Hold{Name: "x", TTL: time.Minute, Drain: 10 * time.Second, Log: quiet}, never(t))
		if !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), "those who read have a lease of 3s") {
			t.Errorf("a drain that does not fit: %v", err)
		}
	})
}

func TestAReaderThatIsCutOffLosesTheLockAndTheOthersDoNot(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		l := newLines()
		stop := queued(t, b, Hold{ID: "other"}, ReadLock, func(ctx context.Context, term Term) error {
			<-ctx.Done()
			l.add("the other one is held until its end: %v", !errors.Is(context.Cause(ctx), port.ErrLost))
			return nil
		})
		err := ReadLock(t.Context(), handle, Hold{Name: "x", Log: quiet}, func(ctx context.Context, term Term) error {
			c.set(down())
			<-ctx.Done()
			if term.Held() {
				t.Error("held after ctx ended")
			}
			return nil
		})
		if !errors.Is(err, port.ErrLost) {
			t.Errorf("cut off: %v", err)
		}
		stop()
		l.want(t, "the other one is held until its end: true")
		// The lock is taken away, as by a fail-over.
		err = ReadLock(t.Context(), b, Hold{Name: "x", Log: quiet}, func(ctx context.Context, _ Term) error {
			held, err := b.Holders(ctx, "lock.x")
			if err != nil || len(held) != 1 {
				t.Fatalf("%v, %v", held, err)
			}
			if err := errors.Join(b.Release(ctx, port.Lease{Name: "lock.x", Nonce: groupOf(held[0]).lock()})...); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			<-ctx.Done()
			if took := time.Since(start); took > 6*time.Second {
				t.Errorf("it was told after %v", took)
			}
			return nil
		})
		if !errors.Is(err, port.ErrLost) {
			t.Errorf("taken away: %v", err)
		}
	})
}

// What somebody else put in the place of the door lets nobody in, and is waited for.
func TestADoorThatIsNoneIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "share.x.door", Owner: "stranger", Nonce: "n"}, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err := ReadLock(t.Context(), b, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took < 10*time.Second || took > 16*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestReadingThatIsGivenUpLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		stop := queued(t, b, Hold{ID: "holder"}, Lock, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := ReadLock(ctx, b, Hold{Name: "x", Log: quiet}, never(t)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, port.ErrUncertain) || !strings.Contains(err.Error(), `held by "holder"`) {
			t.Error(err)
		}
		if held := holders(t, b, ""); len(held) != 1 {
			t.Errorf("left behind: %v", held)
		}
		stop()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = ReadLock(t.Context(), b, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { panic("x") })
		}()
		if held := holders(t, b, ""); held != nil {
			t.Errorf("after a panic: %v", held)
		}
	})
}

// Whatever request goes wrong, at whatever point, a reader gets in, what is left ends by itself, and a writer comes after.
func TestAReaderAndAWriterComeThroughAnyOneFault(t *testing.T) {
	for _, kind := range []string{"before", "after", "cut", "outage"} {
		for n := range 14 {
			t.Run(fmt.Sprintf("%s request %d", kind, n), func(t *testing.T) {
				bubble(t, func(t *testing.T, b *memory.Backend) {
					var mu sync.Mutex
					seen, cut := 0, false
					handle := b.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
						mu.Lock()
						defer mu.Unlock()
						if op.Point == memory.Before {
							seen++
						}
						if seen != n+1 && (kind != "outage" || seen <= n || seen > n+6) {
							return memory.Fault{}
						}
						switch {
						case kind == "cut":
							cut = true
							return memory.Fault{Cut: true}
						case (kind == "after") == (op.Point == memory.After):
							return memory.Fault{Err: errNet}
						}
						return memory.Fault{}
					}})
					stay := func(context.Context, Term) error { <-time.After(100 * ms); return nil }
					if err := ReadLock(t.Context(), handle, Hold{Name: "x", ID: "r", Log: quiet}, stay); err != nil && !cut {
						t.Errorf("reading: %v", err)
					}
					start := time.Now()
					if err := Lock(t.Context(), b, Hold{Name: "x", ID: "w", Log: quiet}, stay); err != nil {
						t.Errorf("writing: %v", err)
					}
					if took := time.Since(start); took > 22*time.Second {
						t.Errorf("the writer waited for %v", took)
					}
					<-time.After(time.Minute)
					if held := holders(t, b, ""); held != nil {
						t.Errorf("left behind: %v", held)
					}
				})
			})
		}
	}
}

// Who reads goes on where the door was closed, and who comes later waits.
func TestAClosedDoorKeepsOutThoseWhoComeLater(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		queued(t, b, Hold{ID: "in"}, ReadLock, func(ctx context.Context, term Term) error {
			<-time.After(time.Minute)
			l.at("in ends, held: %v", term.Held())
			return nil
		})
		door, err := b.Holders(t.Context(), "share.x.door")
		if err != nil || len(door) != 1 {
			t.Fatalf("%v, %v", door, err)
		}
		if err := errors.Join(b.Release(t.Context(), port.Lease{Name: door[0].Name, Nonce: noteOf(door[0]).Read})...); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		queued(t, b, Hold{ID: "late"}, ReadLock, func(context.Context, Term) error { l.at("late begins"); return nil })
		<-time.After(2 * time.Minute)
		l.want(t, "1m0s in ends, held: true", "1m0s late begins")
		if held := holders(t, b, ""); held != nil {
			t.Errorf("left behind: %v", held)
		}
	})
}
