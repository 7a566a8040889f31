package muster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// Run runs every fn at once, each on a goroutine of its own, and returns when all of them have returned.
//
// The first error ends the ctx of the others, with that error as its cause, and is what Run returns. An error that
// another fn returns after it is joined to it, unless it only passes on that ctx has ended (it matches the ctx's Err
// or its cause). Run returns nil when every fn returned nil; an fn that returns nil ends nothing. When the caller's
// ctx ends, Run returns what the fns make of that: nil if all of them take it for the end of their work.
//
// An fn that panics ends the ctx of the others like an error. When they have returned, Run panics on the caller's
// goroutine with a [Panic], which carries the value and the stack of the first one. So a deferred clean-up of the caller
// runs, and no fn is cut off in the middle. An fn that calls [runtime.Goexit] (as testing.T.FailNow does) ends the
// caller's goroutine in the same way.
func Run(ctx context.Context, fns ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g := group{ctx: ctx, cancel: cancel}
	var wg sync.WaitGroup
	for _, fn := range fns {
		wg.Go(func() { g.run(fn) })
	}
	wg.Wait()
	switch {
	case g.panicked != nil:
		panic(g.panicked)
	case g.exited:
		runtime.Goexit()
	}
	if len(g.errs) == 1 {
		return g.errs[0]
	}
	return errors.Join(g.errs...)
}

// Panic is what Run panics with after an fn has panicked.
type Panic struct {
	Value any    // what the fn panicked with
	Stack []byte // of the goroutine that panicked
}

// Error prints the value and the stack.
func (p *Panic) Error() string {
	return fmt.Sprintf("muster: run: panic: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap returns the value if it is an error, and nil otherwise.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// errExited is the cause that the others see when an fn called runtime.Goexit.
var errExited = errors.New("muster: run: a function called runtime.Goexit")

type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	errs     []error
	panicked *Panic
	exited   bool
}

func (g *group) run(fn func(context.Context) error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// recover returns nil for Goexit alone: panic(nil) arrives as a *runtime.PanicNilError.
		if v := recover(); v != nil {
			g.panic(&Panic{Value: v, Stack: debug.Stack()})
			return
		}
		g.exit()
	}()
	err := fn(g.ctx)
	returned = true
	if err != nil {
		g.fail(err)
	}
}

func (g *group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.errs) > 0 && (errors.Is(err, g.ctx.Err()) || errors.Is(err, context.Cause(g.ctx))) {
		return
	}
	g.errs = append(g.errs, err)
	g.cancel(err)
}

func (g *group) panic(p *Panic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.panicked == nil {
		g.panicked = p
	}
	g.cancel(p)
}

func (g *group) exit() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exited = true
	g.cancel(errExited)
}
