package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestALimitEndsAsAContextWithATimeoutDoes(t *testing.T) {
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		end  func(parent context.CancelCauseFunc, l *limit)
		err  error
		why  error
		took time.Duration
	}{
		"when its time is over": {func(context.CancelCauseFunc, *limit) { <-time.After(time.Second) }, context.DeadlineExceeded, context.DeadlineExceeded, time.Second},
		"with its parent":       {func(parent context.CancelCauseFunc, _ *limit) { parent(gone) }, context.Canceled, gone, 0},
		"when it is stopped":    {func(_ context.CancelCauseFunc, l *limit) { l.stop() }, context.Canceled, context.Canceled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, waited := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					l := within(parent, time.Second)
					defer l.stop()
					child := context.Context(l)
					if waited {
						var stop context.CancelFunc
						child, stop = context.WithCancel(l)
						defer stop()
					}
					if l.Err() != nil || child.Err() != nil {
						t.Fatalf("ended from the beginning: %v, %v", l.Err(), child.Err())
					}
					start := time.Now()
					c.end(cancel, l)
					synctest.Wait()
					if !errors.Is(l.Err(), c.err) || context.Cause(l) != c.why {
						t.Errorf("ended with %v, cause %v, want %v, %v", l.Err(), context.Cause(l), c.err, c.why)
					}
					<-l.Done()
					<-child.Done()
					if took := time.Since(start); took != c.took {
						t.Errorf("ended after %v, want %v", took, c.took)
					}
				})
			}
		})
	}
}

func TestALimitWakesWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := within(t.Context(), time.Second)
		defer l.stop()
		<-l.Done()
		if took := time.Since(start); took != time.Second || !errors.Is(l.Err(), context.DeadlineExceeded) {
			t.Errorf("ended after %v with %v", took, l.Err())
		}
	})
}

func TestALimitsDeadlineIsTheEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		for d, want := range map[time.Duration]time.Duration{time.Minute: time.Second, time.Millisecond: time.Millisecond} {
			l := within(parent, d)
			if end, ok := l.Deadline(); !ok || time.Until(end) != want {
				t.Errorf("deadline in %v, want %v", time.Until(end), want)
			}
			l.stop()
		}
	})
}
