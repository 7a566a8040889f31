package muster_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
)

var errFirst = errors.New("first")

// untilEnd blocks until ctx ends and takes that for the end of its work.
func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func fail(context.Context) error { return errFirst }

func TestRunReturnsNilWhenEveryFunctionReturnsNil(t *testing.T) {
	if err := muster.Run(t.Context()); err != nil {
		t.Fatalf("Run of nothing: %v", err)
	}
	nothing := func(context.Context) error { return nil }
	if err := muster.Run(t.Context(), nothing, nothing); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func TestAFunctionThatReturnsNilEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := muster.Run(t.Context(),
			func(context.Context) error { return nil },
			func(ctx context.Context) error {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Hour):
					return nil
				}
			})
		if err != nil || time.Since(start) != time.Hour {
			t.Fatalf("Run returned %v after %v, want nil after 1h", err, time.Since(start))
		}
	})
}

func TestTheFirstErrorIsReturnedAsItIs(t *testing.T) {
	if err := muster.Run(t.Context(), fail, untilEnd); err != errFirst {
		t.Fatalf("Run returned %v, want the error itself", err)
	}
}

func TestTheFirstErrorIsTheCauseThatTheOthersSee(t *testing.T) {
	var cause error
	_ = muster.Run(t.Context(), fail, func(ctx context.Context) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return nil
	})
	if cause != errFirst {
		t.Fatalf("cause is %v, want %v", cause, errFirst)
	}
}

func TestRunReturnsOnlyWhenAllHaveReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_ = muster.Run(t.Context(), fail, func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(time.Minute) // virtual: what it takes to drain
			return nil
		})
		if d := time.Since(start); d != time.Minute {
			t.Fatalf("Run returned after %v, want 1m", d)
		}
	})
}

func TestAnErrorThatFollowsIsJoinedUnlessItOnlySaysThatTheContextEnded(t *testing.T) {
	flush := errors.New("flush failed")
	after := func(err func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			return err(ctx)
		}
	}
	err := muster.Run(t.Context(), fail,
		after(func(context.Context) error { return flush }),
		after(func(ctx context.Context) error { return ctx.Err() }),
		after(context.Cause))
	if !errors.Is(err, errFirst) || !errors.Is(err, flush) {
		t.Fatalf("Run returned %v, want both errors", err)
	}
	if errors.Is(err, context.Canceled) || strings.Count(err.Error(), errFirst.Error()) != 1 {
		t.Fatalf("Run returned %q, want no echo of the end", err)
	}
}

func TestTheEndOfTheCallersContextIsTheFunctionsToJudge(t *testing.T) {
	stopping := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopping)
	if err := muster.Run(ctx, untilEnd, untilEnd); err != nil {
		t.Fatalf("Run returned %v, want nil", err)
	}
	var cause error
	err := muster.Run(ctx, func(ctx context.Context) error {
		cause = context.Cause(ctx)
		return cause
	})
	if err != stopping || cause != stopping {
		t.Fatalf("Run returned %v with cause %v, want %v", err, cause, stopping)
	}
}

func TestAPanicIsRaisedOnTheCallersGoroutineAfterTheOthersHaveReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var cause error
		p := recovered(t, func() {
			_ = muster.Run(t.Context(),
				func(context.Context) error { panic(io.ErrUnexpectedEOF) },
				func(ctx context.Context) error {
					<-ctx.Done()
					cause = context.Cause(ctx)
					<-time.After(time.Minute) // virtual: what it takes to drain
					return errFirst
				})
		})
		if p.Value != any(io.ErrUnexpectedEOF) || !errors.Is(p, io.ErrUnexpectedEOF) {
			t.Errorf("panicked with %v, want the function's value", p.Value)
		}
		if cause != error(p) {
			t.Errorf("the other saw cause %v, want the panic", cause)
		}
		if !strings.Contains(p.Error(), "unexpected EOF") || !strings.Contains(p.Error(), "run_test.go") {
			t.Errorf("message is %q, want the value and the stack", p.Error())
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("panicked after %v, want 1m", d)
		}
	})
}

func TestOfTwoPanicsTheFirstIsRaised(t *testing.T) {
	p := recovered(t, func() {
		_ = muster.Run(t.Context(),
			func(context.Context) error { panic("first") },
			func(ctx context.Context) error {
				<-ctx.Done()
				panic("second")
			})
	})
	if p.Value != "first" || p.Unwrap() != nil {
		t.Fatalf("panicked with %v that unwraps to %v, want \"first\" and nil", p.Value, p.Unwrap())
	}
}

func TestGoexitOfAFunctionEndsTheCallersGoroutine(t *testing.T) {
	drained, returned, done := false, false, make(chan struct{})
	go func() {
		defer close(done)
		_ = muster.Run(t.Context(),
			func(context.Context) error { runtime.Goexit(); return nil },
			func(ctx context.Context) error {
				<-ctx.Done()
				drained = true
				return nil
			})
		returned = true
	}()
	<-done
	if !drained || returned {
		t.Fatalf("drained %v, returned %v; want true and false", drained, returned)
	}
}

// recovered returns the *muster.Panic that fn raises.
func recovered(t *testing.T, fn func()) (p *muster.Panic) {
	t.Helper()
	defer func() {
		v := recover()
		var ok bool
		if p, ok = v.(*muster.Panic); !ok {
			t.Fatalf("panicked with %v, want a *muster.Panic", v)
		}
	}()
	fn()
	return nil
}
