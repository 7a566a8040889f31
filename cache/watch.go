package cache

import (
	"context"
	"time"
)

// rate is how much the rates of two clocks may differ: what is counted here may take that much longer elsewhere.
const rate = 0.01

// instant is a time on both clocks of this node, in nanoseconds. The monotonic one stops while the machine is suspended, the wall
// clock may be set back: what is due by either is due.
type instant struct{ mono, wall int64 }

// watch tells the time. Its base only makes the monotonic clock a number.
type watch struct{ base time.Time }

func newWatch() watch { return watch{base: time.Now()} }

func (w watch) now() instant {
	t := time.Now()
	return instant{mono: int64(t.Sub(w.base)), wall: t.UnixNano()}
}

// plus is i and d.
func (i instant) plus(d time.Duration) instant { return instant{i.mono + int64(d), i.wall + int64(d)} }

// due reports whether now is at or past i, by either clock.
func (i instant) due(now instant) bool { return now.mono >= i.mono || now.wall >= i.wall }

// since is how long ago i was, by the clock that says more; at least 0.
func (i instant) since(now instant) time.Duration {
	return time.Duration(max(now.mono-i.mono, now.wall-i.wall, 0))
}

// earlier is the earlier of both, on each clock.
func (i instant) earlier(o instant) instant { return instant{min(i.mono, o.mono), min(i.wall, o.wall)} }

// less is d shortened by what the clocks' rates may differ.
func less(d time.Duration) time.Duration { return time.Duration(float64(d) * (1 - rate)) }

// never is later than anything.
func never() instant { return instant{1<<63 - 1, 1<<63 - 1} }

// pause waits for d; the error is that of ctx when it ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
