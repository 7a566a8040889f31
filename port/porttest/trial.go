package porttest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// trial is one case under way. It collects failures itself instead of failing a test.
type trial struct {
	house house
	ctx   context.Context // of everything the case does; ends with it
	end   context.CancelFunc
	space string   // the namespace
	b     *process // the first process on it
	caps  port.Caps

	unit     time.Duration // the shortest time that every loan, time to live and delay can be
	slack    time.Duration // what a slow machine may take between two calls
	lent     time.Duration // a loan that ends within the case, but not between two calls
	long     time.Duration // does not end within the case
	quiet    time.Duration // how long nothing must come, to be taken for never
	patience time.Duration // how long what must come may take
	grain    time.Duration // by how much a server's clock may round

	mu       sync.Mutex
	failures []string
	wg       sync.WaitGroup
}

var errTooLong = errors.New("the case took too long")

func newTrial(ctx context.Context, h house) *trial {
	most, grain := 5*time.Minute, 2*time.Millisecond
	if h.bubble {
		most, grain = 1000*time.Hour, 0
	}
	t := &trial{house: h, space: strings.ToLower(rand.Text()[:16]), long: 10 * time.Minute, slack: cmp.Or(h.slack, time.Second), grain: grain}
	t.ctx, t.end = context.WithTimeoutCause(ctx, most, errTooLong)
	return t
}

// play runs the case on a goroutine of its own, so that it can be left from the middle, and waits for all that it began.
func (t *trial) play(run func(*trial)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.recovered()
		t.b = t.process()
		t.caps = t.b.Caps()
		t.unit = max(t.caps.MinLoan, t.caps.MinTTL, t.caps.DelayResolution, 100*time.Millisecond)
		t.lent = t.unit + t.slack
		t.quiet = max(100*time.Millisecond, 2*t.caps.DelayResolution)
		t.patience = 30*t.slack + 10*t.unit
		run(t)
	}()
	<-done
	t.end()
	t.wg.Wait()
}

func (t *trial) recovered() {
	if v := recover(); v != nil {
		t.note(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()))
	}
}

func (t *trial) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, what)
}

func (t *trial) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

// fatalf records a failure and leaves the goroutine.
func (t *trial) fatalf(format string, args ...any) {
	t.note(where() + ": " + fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// where is the line of the case that called into the helpers.
func where() string {
	pc := make([]uintptr, 16)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for {
		f, more := frames.Next()
		file := filepath.Base(f.File)
		if file != "trial.go" && file != "process.go" {
			return fmt.Sprintf("%s:%d", file, f.Line)
		}
		if !more {
			return "porttest"
		}
	}
}

// spawn runs fn beside the case; wait returns when it is done, and leaves the case when something failed.
func (t *trial) spawn(fn func()) (wait func()) {
	done := make(chan struct{})
	t.wg.Go(func() {
		defer close(done)
		defer t.recovered()
		fn()
	})
	return func() {
		<-done
		if t.failed() {
			runtime.Goexit()
		}
	}
}

// crowd runs fn n times at once and returns when all are done; it leaves the case when something failed.
func (t *trial) crowd(n int, fn func(i int)) {
	waits := make([]func(), n)
	for i := range n {
		waits[i] = t.spawn(func() { fn(i) })
	}
	for _, wait := range waits {
		wait()
	}
}

// pass lets d go by.
func (t *trial) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.fatalf("%v", context.Cause(t.ctx))
	}
}

// eventually asks again until ok reports true, and fails with its last answer.
func (t *trial) eventually(what string, ok func() (bool, string)) {
	for start := time.Now(); ; t.pass(t.unit / 10) {
		good, last := ok()
		if good {
			return
		}
		if time.Since(start) > t.patience {
			t.fatalf("%s: not within %v; last: %s", what, t.patience, last)
		}
	}
}

// notBefore fails when less than d went by since start.
func (t *trial) notBefore(start time.Time, d time.Duration, what string) {
	if took := time.Since(start); took < d-t.grain {
		t.fatalf("%s after %v, want at least %v", what, took, d)
	}
}

// onTime fails when more than d went by since start: by as much as the backend may be late in a bubble, by patience elsewhere.
func (t *trial) onTime(start time.Time, d time.Duration, what string) {
	late := t.patience
	if t.house.bubble {
		late = t.caps.DelayResolution + time.Millisecond
	}
	if took := time.Since(start); took > d+late {
		t.fatalf("%s after %v, want %v", what, took, d)
	}
}

func (t *trial) must(err error, what string) {
	if err != nil {
		t.fatalf("%s: %v", what, err)
	}
}

// is fails unless err matches one of want.
func (t *trial) is(err error, what string, want ...error) {
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.fatalf("%s: error is %v, want %v", what, err, want)
	}
}

func (t *trial) check(ok bool, what string) {
	if !ok {
		t.fatalf("not so: %s", what)
	}
}

// same fails unless got and want are equal, item by item.
func same[E comparable](t *trial, what string, got, want []E) {
	if !slices.Equal(got, want) {
		t.fatalf("%s: %v, want %v", what, brief(got), brief(want))
	}
}

func equal[E comparable](t *trial, what string, got, want E) {
	if got != want {
		t.fatalf("%s: %v, want %v", what, got, want)
	}
}

func (t *trial) bytes(what string, got, want []byte) {
	if !bytes.Equal(got, want) {
		t.fatalf("%s: %s, want %s", what, brief(got), brief(want))
	}
}

// brief prints v, shortened.
func brief(v any) string {
	s := fmt.Sprintf("%q", v)
	if len(s) > 400 {
		s = fmt.Sprintf("%s... (%d bytes)", s[:400], len(s))
	}
	return s
}
