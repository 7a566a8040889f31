package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// Rule: at most two store operations per period and held lease, and few calls where one process holds many.
func TestAThousandLeasesOfOneProcessAreRenewedInFewCalls(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		const leases = 1000
		handle, c := watched(b)
		shared := NewShared(handle)
		random := seeded(1)
		stop := background(t, func(ctx context.Context) {
			var wg sync.WaitGroup
			for i := range leases {
				<-time.After(5 * ms)
				wg.Go(func() {
					err := Lead(ctx, shared, Candidate{Election: strconv.Itoa(i), ID: "a", Log: quiet, world: world{random: random}}, func(ctx context.Context, _ Term) error {
						<-ctx.Done()
						if errors.Is(context.Cause(ctx), port.ErrLost) {
							t.Error(context.Cause(ctx))
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
		<-time.After(6 * time.Second)
		if held := holders(t, b, ""); len(held) != leases {
			t.Errorf("%d are held", len(held))
		}
		c.reset()
		<-time.After(15 * time.Second)
		if n := c.all(); n != c.of("renew") || n > 30 {
			t.Errorf("%d calls in three periods, want at most 10 in each: %v", n, c.count)
		}
		stop()
	})
}

// renewAll renews each lease by a caller of its own, at once; their errors come back.
func renewAll(ctx context.Context, l port.Leases, ttl time.Duration, held []port.Lease) []error {
	errs := make([]error, len(held))
	var wg sync.WaitGroup
	for i, h := range held {
		wg.Go(func() {
			leases, all := l.Renew(ctx, ttl, h)
			errs[i] = all[0]
			if errs[i] == nil && leases[0].Name != h.Name {
				errs[i] = fmt.Errorf("the answer for %s is about %s", h.Name, leases[0].Name)
			}
		})
	}
	wg.Wait()
	return errs
}

func taken(t *testing.T, b *memory.Backend, n int) []port.Lease {
	t.Helper()
	all := make([]port.Lease, n)
	for i := range all {
		var err error
		if all[i], err = b.Acquire(t.Context(), port.Lease{Name: "x" + strconv.Itoa(i), Owner: "a", Nonce: "n"}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestEachGetsTheAnswerForItsOwnLease(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		shared := NewShared(handle)
		held := taken(t, b, 20)
		held[7].Token++
		errs := renewAll(t.Context(), shared, time.Minute, held)
		for i, err := range errs {
			if (err != nil) != (i == 7) || err != nil && !errors.Is(err, port.ErrLost) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if c.of("renew") != 1 {
			t.Errorf("asked %v", c.count)
		}
		if len(shared.forming) != 0 {
			t.Error("a batch is left")
		}
	})
}

func TestARenewalThatIsInAHurryTakesTheOthersAlong(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		shared := NewShared(b)
		held := taken(t, b, 2)
		start := time.Now()
		background(t, func(context.Context) {
			<-time.After(100 * ms)
			ctx, stop := context.WithTimeout(t.Context(), 400*ms)
			defer stop()
			if _, errs := shared.Renew(ctx, time.Minute, held[1]); errs[0] != nil || time.Since(start) != 200*ms {
				t.Errorf("%v after %v", errs[0], time.Since(start))
			}
		})
		if _, errs := shared.Renew(t.Context(), time.Minute, held[0]); errs[0] != nil || time.Since(start) != 200*ms {
			t.Errorf("%v after %v", errs[0], time.Since(start))
		}
	})
}

func TestWhoDoesNotWaitAnyLongerDoesNotHurtTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		c.set(func(op memory.Op) memory.Fault { return memory.Fault{Delay: time.Second} })
		shared := NewShared(handle)
		held := taken(t, b, 3)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, h := range held[:2] {
			wg.Go(func() {
				_, errs := shared.Renew(ctx, time.Minute, h)
				if !errors.Is(errs[0], port.ErrUncertain) || !errors.Is(errs[0], context.Canceled) {
					t.Errorf("%d: %v", i, errs[0])
				}
			})
		}
		wg.Go(func() {
			if _, errs := shared.Renew(t.Context(), time.Minute, held[2]); errs[0] != nil {
				t.Error(errs[0])
			}
		})
		<-time.After(2600 * ms) // the call is under way since 2.5 s
		stop()
		wg.Wait()
		if c.of("renew") != 1 {
			t.Errorf("asked %v", c.count)
		}
	})
}

func TestWhatNobodyWaitsForIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		shared := NewShared(handle)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for range 2 {
			_, errs := shared.Renew(ended, time.Minute, taken(t, b, 1)...)
			if !errors.Is(errs[0], port.ErrUnavailable) {
				t.Error(errs[0])
			}
		}
		<-time.After(time.Minute)
		if c.all() != 0 || len(shared.forming) != 0 {
			t.Errorf("asked %v, %d batches are left", c.count, len(shared.forming))
		}
	})
}

func TestACallThatHangsEndsWhenNobodyWaitsForIt(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		c.set(func(op memory.Op) memory.Fault { return memory.Fault{Delay: 1000 * time.Hour} })
		shared := NewShared(handle)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		start := time.Now()
		errs := renewAll(ctx, shared, time.Minute, taken(t, b, 3))
		for _, err := range errs {
			if err == nil || errors.Is(err, port.ErrLost) {
				t.Errorf("answered %v", err)
			}
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
	})
}

// short answers for fewer leases than it was asked about.
type short struct{ port.Leases }

func (short) Renew(context.Context, time.Duration, ...port.Lease) ([]port.Lease, []error) {
	return nil, []error{nil}
}

func TestABackendThatDoesNotAnswerForEachLeaseRenewsNone(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		errs := renewAll(t.Context(), NewShared(short{b}), time.Minute, taken(t, b, 2))
		if slices.Contains(errs, nil) {
			t.Errorf("%v", errs)
		}
	})
}
