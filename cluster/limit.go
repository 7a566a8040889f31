package cluster

import (
	"context"
	"sync"
	"time"
)

// limit is a ctx that ends with its parent or after a time, as that of context.WithTimeout does. It starts its timer only when somebody
// waits for the end: most requests are answered before anybody does, and to set a timer costs more than to tell the time.
type limit struct {
	context.Context // the parent
	end             time.Time

	mu     sync.Mutex
	ended  bool            // by stop
	timed  context.Context // since somebody waits for the end
	cancel context.CancelFunc
}

// within is a limit of d from now. Its stop is to be called, as the function that context.WithTimeout returns.
func within(ctx context.Context, d time.Duration) *limit {
	return &limit{Context: ctx, end: time.Now().Add(d)}
}

func (l *limit) Deadline() (time.Time, bool) {
	if end, ok := l.Context.Deadline(); ok && end.Before(l.end) {
		return end, true
	}
	return l.end, true
}

// wait is the context with a timer.
func (l *limit) wait() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timed == nil {
		l.timed, l.cancel = context.WithDeadline(l.Context, l.end)
		if l.ended {
			l.cancel()
		}
	}
	return l.timed
}

func (l *limit) Done() <-chan struct{} { return l.wait().Done() }

// Err is that of the context with a timer once there is one or the time is over, so that both say the same.
func (l *limit) Err() error {
	l.mu.Lock()
	idle := l.timed == nil && !l.ended
	l.mu.Unlock()
	if idle && time.Now().Before(l.end) {
		return l.Context.Err()
	}
	return l.wait().Err()
}

// Value asks the context with a timer, where there is one, so that contexts made of this one end with it and context.Cause is its.
func (l *limit) Value(key any) any {
	l.mu.Lock()
	timed := l.timed
	l.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return l.Context.Value(key)
}

func (l *limit) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.cancel != nil {
		l.cancel()
	}
}
