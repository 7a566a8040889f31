package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// queued starts Lock or the like beside the test, under an ID, and returns when it waits or has the lock.
func queued(t *testing.T, l port.Leases, h Hold, lock func(context.Context, port.Leases, Hold, func(context.Context, Term) error) error, fn func(context.Context, Term) error) (stop func()) {
	t.Helper()
	if h.Log == nil {
		h.Log = quiet
	}
	h.Name = "x"
	stop = background(t, func(ctx context.Context) {
		if err := lock(ctx, l, h, fn); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, port.ErrClosed) {
			t.Errorf("%s: %v", h.ID, err)
		}
	})
	synctest.Wait()
	return stop
}

// staying is a function that says when it begins, and stays for d.
func (l *lines) staying(id string, d time.Duration) func(context.Context, Term) error {
	return func(ctx context.Context, _ Term) error {
		l.at("%s", id)
		nap(ctx, d)
		return nil
	}
}

func TestThoseWhoAreFairGetALockInTheOrderInWhichTheyCame(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		var want []string
		for i := range 12 {
			id := fmt.Sprint(i)
			queued(t, b.Open(memory.Config{}), Hold{ID: id, Fair: true}, Lock, l.staying(id, 10*time.Second))
			want = append(want, fmt.Sprintf("%ds %d", 10*i, i))
		}
		want[0], want[6] = "0s 0", "1m0s 6"
		for i := 7; i < 12; i++ {
			want[i] = fmt.Sprintf("1m%ds %d", 10*(i-6), i)
		}
		<-time.After(3 * time.Minute)
		l.want(t, want...)
		if held := holders(t, b, ""); held != nil {
			t.Errorf("left behind: %v", held)
		}
	})
}

func TestThoseWhoComeAtOneMomentAllGetALockThatIsFair(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		var mu sync.Mutex
		had := map[string]int{}
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 40 {
			wg.Go(func() {
				err := Lock(t.Context(), b.Open(memory.Config{}), Hold{Name: "x", ID: fmt.Sprint(i), Fair: true, Log: quiet}, func(_ context.Context, term Term) error {
					mu.Lock()
					defer mu.Unlock()
					had[term.Holder]++
					<-time.After(time.Second)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); len(had) != 40 || took != 40*time.Second {
			t.Errorf("%v after %v", had, took)
		}
	})
}

func TestAFairLockThatNobodyWaitsForIsThreeRequests(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		if err := Lock(t.Context(), handle, Hold{Name: "x", Fair: true, Log: quiet}, func(context.Context, Term) error { return nil }); err != nil || c.all() != 3 {
			t.Errorf("%v after %v", err, c.count)
		}
	})
}

// Each looks at who is in front, so a queue of any length costs the same for each that passes.
func TestTheEndOfOneWakesOne(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		const n = 30
		for i := range n {
			queued(t, handle, Hold{ID: fmt.Sprint(i), Fair: true}, Lock, func(context.Context, Term) error { <-time.After(ms); return nil })
		}
		<-time.After(time.Second)
		c.reset()
		first := make(chan struct{})
		queued(t, b, Hold{ID: "first", Fair: true}, Lock, func(context.Context, Term) error { <-first; return nil })
		for i := range n {
			queued(t, handle, Hold{ID: fmt.Sprint(i), Fair: true}, Lock, func(context.Context, Term) error { <-time.After(ms); return nil })
		}
		before := c.of("holders")
		close(first)
		<-time.After(time.Second)
		if held := holders(t, b, ""); held != nil {
			t.Fatalf("not all are through: %v", held)
		}
		if looks := c.of("holders") - before; looks > 3*n {
			t.Errorf("%d waited, and looked %d times at the queue", n, looks)
		}
	})
}

func TestWhoDiesInTheQueueIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		queued(t, b, Hold{ID: "holder", Fair: true}, Lock, l.staying("holder", 20*time.Second))
		var cut atomic.Bool
		dying := b.Open(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Cut: cut.Load()} }})
		queued(t, dying, Hold{ID: "dead", Fair: true}, Lock, never(t))
		queued(t, b, Hold{ID: "next", Fair: true}, Lock, l.staying("next", time.Second))
		<-time.After(18 * time.Second) // its ticket was renewed not long ago, and it is dead at the next look
		cut.Store(true)
		<-time.After(2 * time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.all) != 2 || !strings.HasSuffix(l.all[1], " next") {
			t.Fatal(l.all)
		}
		if after, err := time.ParseDuration(strings.Fields(l.all[1])[0]); err != nil || after > 36*time.Second {
			t.Errorf("the next one had it after %v, %v", after, err)
		}
	})
}

func TestTheNextInTheQueueFollowsAHolderThatDied(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := b.Acquire(t.Context(), port.Lease{Name: "lock.x", Owner: "dead", Nonce: "n"}, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		l := newLines()
		queued(t, b, Hold{ID: "a", Fair: true, world: world{random: func() float64 { return 0 }}}, Lock, l.staying("a", time.Second))
		queued(t, b, Hold{ID: "b", Fair: true}, Lock, l.staying("b", time.Second))
		<-time.After(time.Minute)
		l.want(t, "15s a", "16s b")
	})
}

// Who is cut off for so long that its ticket ends does not hold up the others, and queues again at the end.
func TestWhoLosesItsPlaceQueuesAgainAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		queued(t, b, Hold{ID: "holder", Fair: true}, Lock, l.staying("holder", time.Minute))
		handle, c := watched(b)
		queued(t, handle, Hold{ID: "away", Fair: true, Log: l.logger()}, Lock, l.staying("away", 10*time.Second))
		queued(t, b, Hold{ID: "next", Fair: true}, Lock, l.staying("next", 10*time.Second))
		<-time.After(20 * time.Second)
		c.set(down())
		<-time.After(20 * time.Second)
		c.set(nil)
		<-time.After(2 * time.Minute)
		l.want(t, "0s holder", "the backend does not answer; trying on",
			"the lease could not be given back; it ends by itself", "lost its place in the queue; waiting again at the end",
			"the backend does not answer; trying on", "1m0s next", "1m10s away")
	})
}

func TestATryDoesNotOvertakeWhereItIsFair(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		release := make(chan struct{})
		queued(t, b, Hold{ID: "holder", Fair: true}, Lock, func(context.Context, Term) error { <-release; return nil })
		// It waits, and does not hear that the lock is free.
		deaf, c := watched(b)
		c.set(down("watchleases"))
		queued(t, deaf, Hold{ID: "waiter", Fair: true}, Lock, func(context.Context, Term) error { return nil })
		close(release)
		synctest.Wait()
		err := TryLock(t.Context(), b, Hold{Name: "x", Fair: true, Log: quiet}, never(t))
		if !errors.Is(err, port.ErrHeld) || !strings.Contains(err.Error(), `"waiter" waits for it`) {
			t.Errorf("fair: %v", err)
		}
		ran := false
		if err := TryLock(t.Context(), b, Hold{Name: "x", Log: quiet}, func(context.Context, Term) error { ran = true; return nil }); err != nil || !ran {
			t.Errorf("not fair: %v", err)
		}
		<-time.After(time.Minute)
		ran = false
		if err := TryLock(t.Context(), b, Hold{Name: "x", Fair: true, Log: quiet}, func(context.Context, Term) error { ran = true; return nil }); err != nil || !ran {
			t.Errorf("fair, and nobody waits: %v", err)
		}
		handle, faults := watched(b)
		faults.set(down())
		if err := TryLock(t.Context(), handle, Hold{Name: "x", Fair: true, Log: quiet}, never(t)); !errors.Is(err, errNet) {
			t.Errorf("an outage: %v", err)
		}
	})
}

func TestWaitingInTheQueueEndsWithCtxAndLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		stopHolder := queued(t, b, Hold{ID: "holder", Fair: true}, Lock, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil })
		wait := func(l port.Leases, want string) {
			t.Helper()
			gone := errors.New("gone")
			ctx, stop := context.WithTimeoutCause(t.Context(), time.Minute, gone)
			defer stop()
			if err := Lock(ctx, l, Hold{Name: "x", ID: "a", Fair: true, Log: quiet}, never(t)); !errors.Is(err, gone) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		wait(b, `held by "holder"`)
		stop := queued(t, b, Hold{ID: "front", Fair: true}, Lock, never(t))
		wait(b, `in the queue behind "front"`)
		stop()
		if held := holders(t, b, ""); len(held) != 1 {
			t.Errorf("left behind: %v", held)
		}
		handle, c := watched(b)
		c.set(down())
		wait(handle, errNet.Error())
		// Its ticket is lost, and the backend is away when ctx ends.
		handle, c = watched(b)
		background(t, func(context.Context) {
			<-time.After(20 * time.Second)
			c.set(down())
		})
		wait(handle, "")
		stopHolder()
		closed := b.Open(memory.Config{})
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Lock(t.Context(), closed, Hold{Name: "x", Fair: true, Log: quiet}, never(t)); !errors.Is(err, port.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// What may have been got while nobody was in front is neither lost nor left.
func TestAFairAcquireOfUnknownOutcomeIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		lost := 1
		c.set(func(op memory.Op) memory.Fault {
			if op.Name == "acquire" && op.Point == memory.After && lost > 0 {
				lost--
				return memory.Fault{Err: errNet}
			}
			return memory.Fault{}
		})
		start := time.Now()
		err := Lock(t.Context(), handle, Hold{Name: "x", Fair: true, Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if held := holders(t, b, ""); held != nil {
			t.Errorf("left behind: %v", held)
		}
	})
}

func TestWhatCannotQueueIsRefusedBeforeAnyRequest(t *testing.T) {
	b := memory.New(memory.Config{})
	handle, c := watched(b)
	long := strings.Repeat("n", 122)
	if err := Lock(t.Context(), handle, Hold{Name: long, Fair: true, Log: quiet}, never(t)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), "too long by 6 bytes") {
		t.Errorf("fair: %v", err)
	}
	if err := ReadLock(t.Context(), handle, Hold{Name: long, Log: quiet}, never(t)); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("reading: %v", err)
	}
	if err := ReadLock(t.Context(), handle, Hold{Log: quiet}, never(t)); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("reading nothing: %v", err)
	}
	if err := Semaphore(t.Context(), handle, Hold{Name: "x", Fair: true, Log: quiet}, never(t)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), "Fair is for a lock") {
		t.Errorf("a semaphore: %v", err)
	}
	if c.all() != 0 {
		t.Errorf("the backend was asked: %v", c.count)
	}
	if err := Lock(t.Context(), handle, Hold{Name: long, Log: quiet}, func(context.Context, Term) error { return nil }); err != nil {
		t.Errorf("not fair: %v", err)
	}
}

func TestPlacesAreUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		names := map[string]bool{}
		handle := b.Open(memory.Config{})
		for range 200 {
			queued(t, handle, Hold{ID: "holder", Fair: true}, Lock, func(context.Context, Term) error { <-time.After(ms); return nil })
			queued(t, handle, Hold{ID: "waiter", Fair: true}, Lock, func(context.Context, Term) error { return nil })
			for _, h := range holders(t, b, "share.x.q.") {
				names[h] = true
			}
			<-time.After(time.Second)
		}
		if len(names) == 0 || len(names) > 8 {
			t.Errorf("places: %v", names)
		}
	})
}

func TestAFullQueueIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		for i := range maxPlaces {
			ttl := time.Minute
			if i == 500 {
				ttl = 10 * time.Second
			}
			if _, err := b.Acquire(t.Context(), port.Lease{Name: fmt.Sprint("share.x.q.", i), Owner: "gone", Nonce: "n"}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		handle, c := watched(b)
		start := time.Now()
		err := Lock(t.Context(), handle, Hold{Name: "x", Fair: true, Log: quiet}, func(context.Context, Term) error { return nil })
		if took := time.Since(start); err != nil || took < time.Minute || took > 70*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if n := c.of("acquire"); n > 30 {
			t.Errorf("asked %d times", n)
		}
	})
}
