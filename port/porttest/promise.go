package porttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// promise is one case about a port that is no backend's: its name is what an adapter does, its rule the sentence of the port
// that says so, and S is what its suite needs to know of the adapter.
type promise[S any] struct {
	name string
	rule string
	keep func(e *exam, s S)
}

// proveAll runs one subtest for each promise.
func proveAll[S any](t *testing.T, s S, promises []promise[S]) {
	t.Helper()
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			for _, f := range p.try(t, s) {
				t.Errorf("%s\n\trule: %s", f, p.rule)
			}
		})
	}
}

// try keeps the promise and returns what it found. It does not fail t, so that a test may look at an adapter that is broken on
// purpose.
func (p promise[S]) try(t *testing.T, s S) []string {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	e := &exam{t: t, ctx: ctx}
	e.crowd(1, func(int) { p.keep(e, s) })
	return e.found
}

// exam is one promise under way.
type exam struct {
	t     *testing.T // opens adapters and gives directories; never failed
	ctx   context.Context
	mu    sync.Mutex
	found []string
}

// fatalf records what was found and leaves the goroutine.
func (e *exam) fatalf(format string, args ...any) {
	e.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (e *exam) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.found = append(e.found, what)
}

// crowd runs fn n times at once and waits for all.
func (e *exam) crowd(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					e.note(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()))
				}
			}()
			fn(i)
		})
	}
	wg.Wait()
}

func (e *exam) must(err error, what string) {
	if err != nil {
		e.fatalf("%s: %v", what, err)
	}
}

// is fails unless err matches want.
func (e *exam) is(err, want error, what string) {
	if !errors.Is(err, want) {
		e.fatalf("%s: error is %v, want %v", what, err, want)
	}
}

func (e *exam) check(ok bool, format string, args ...any) {
	if !ok {
		e.fatalf(format, args...)
	}
}

func (e *exam) bytes(got, want []byte, what string) {
	if !bytes.Equal(got, want) {
		e.fatalf("%s: %d bytes %.80q, want %d bytes %.80q", what, len(got), got, len(want), want)
	}
}

var errEnough = errors.New("the caller has had enough")

// ended is a context that has ended already, for errEnough.
func (e *exam) ended() context.Context {
	ctx, end := context.WithCancelCause(e.ctx)
	end(errEnough)
	return ctx
}
