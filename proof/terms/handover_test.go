//go:build unix

package terms_test

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func open(t testing.TB, s *testserver.Server) port.Backend {
	t.Helper()
	b, err := openAt(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// election is what the candidates of this process run for.
const election = "proof"

// From the return of one leader's function to the beginning of the next one's, on two connections.
func BenchmarkHandOver(b *testing.B) {
	for name, server := range backends() {
		s := server(b)
		both := []port.Backend{open(b, s), open(b, s)}
		b.Run(name, func(b *testing.B) { handOver(b, both) })
	}
}

func handOver(b *testing.B, both []port.Backend) {
	log := slog.New(slog.DiscardHandler)
	turns := make(chan time.Time, 1) // when the last leader returned
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var took []time.Duration
	var wg sync.WaitGroup
	for i, leases := range both {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := cluster.Lead(ctx, leases, cluster.Candidate{Election: election, ID: strconv.Itoa(i), Log: log}, func(context.Context, cluster.Term) error {
					select {
					case at := <-turns:
						took = append(took, time.Since(at))
					default:
					}
					<-time.After(5 * time.Millisecond) // the other one waits by now
					if len(took) >= b.N {
						stop()
						return nil
					}
					turns <- time.Now()
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	at := func(part float64) float64 {
		return float64(took[min(int(part*float64(len(took))), len(took)-1)].Microseconds())
	}
	b.ReportMetric(at(0.5), "us-p50")
	b.ReportMetric(at(0.99), "us-p99")
	b.ReportMetric(0, "ns/op")
}

// A thousand leases that one process holds and does nothing with, for a second each time.
func BenchmarkIdleLeases(b *testing.B) {
	for name, server := range backends() {
		store := &counted{Leases: open(b, server(b))}
		b.Run(name, func(b *testing.B) { idleLeases(b, store, 1000) })
	}
}

func idleLeases(b *testing.B, store *counted, held int) {
	leases := cluster.NewShared(store)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var begun, wg sync.WaitGroup
	for i := range held {
		begun.Add(1)
		wg.Go(func() {
			c := cluster.Candidate{Election: "idle" + strconv.Itoa(i), Log: slog.New(slog.DiscardHandler)}
			err := cluster.Lead(ctx, leases, c, func(ctx context.Context, _ cluster.Term) error {
				begun.Done()
				<-ctx.Done()
				return nil
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	begun.Wait()
	calls, used, start := store.calls.Load(), cpu(), time.Now()
	for b.Loop() {
		<-time.After(time.Second)
	}
	seconds := time.Since(start).Seconds()
	b.ReportMetric(float64(store.calls.Load()-calls)/seconds, "calls/s")
	b.ReportMetric((cpu()-used).Seconds()/seconds*100, "%cpu")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	b.ReportMetric(0, "ns/op")
	stop()
	wg.Wait()
}

// counted counts the calls that are made.
type counted struct {
	port.Leases
	calls atomic.Int64
}

func (c *counted) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	c.calls.Add(1)
	return c.Leases.Acquire(ctx, want, ttl)
}

func (c *counted) Holders(ctx context.Context, prefix string) ([]port.Lease, error) {
	c.calls.Add(1)
	return c.Leases.Holders(ctx, prefix)
}

func (c *counted) Release(ctx context.Context, held ...port.Lease) []error {
	c.calls.Add(1)
	return c.Leases.Release(ctx, held...)
}

func (c *counted) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	c.calls.Add(1)
	return c.Leases.Renew(ctx, ttl, held...)
}

// pause waits for d; false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
