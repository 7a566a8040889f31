package cluster

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// waiter waits for hints, and for the time to look without one.
type waiter struct{ hints chan struct{} }

// wait returns after d, or sooner after a hint; the cause of ctx when that ends.
func (w *waiter) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.hints:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (w *waiter) hint() {
	select {
	case w.hints <- struct{}{}:
	default: // one that nobody has looked for yet says the same
	}
}

// ears say which hints matter.
type ears struct {
	prefixes []string          // of what is listened to
	about    func(string) bool // whether a hint about a lease of this name matters
}

// hearing is for hints about the lease, or about any lease of a prefix that ends with a dot.
func hearing(name string) ears {
	return ears{[]string{name}, func(lease string) bool {
		return lease == name || strings.HasSuffix(name, ".") && strings.HasPrefix(lease, name)
	}}
}

// listen runs fn with a waiter that gets a hint for each one that matters, and one whenever it begins to listen: what happened before may
// have been missed. Where hints cannot be had it tries again every period, and fn's own looking has to do.
func listen(ctx context.Context, l port.Leases, hear ears, period time.Duration, fn func(*waiter) error) error {
	w := &waiter{hints: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, prefix := range hear.prefixes {
		wg.Go(func() {
			for ctx.Err() == nil && !final(w.follow(ctx, l, prefix, hear.about)) {
				t := time.NewTimer(period)
				select {
				case <-t.C:
				case <-ctx.Done():
					t.Stop()
				}
			}
		})
	}
	return fn(w)
}

// follow passes hints on until they end.
func (w *waiter) follow(ctx context.Context, l port.Leases, prefix string, about func(string) bool) error {
	news, err := l.WatchLeases(ctx, prefix)
	if err != nil {
		return err
	}
	w.hint()
	for lease, err := range news {
		if final(err) {
			return err
		}
		if err != nil || about(lease.Name) {
			w.hint()
		}
	}
	return nil
}
