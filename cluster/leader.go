package cluster

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/musterhq/muster/port"
)

// Leader tells who leads an election, "" being "default"; port.ErrNotFound when nobody does. It is what the backend's list says
// (an estimate where Caps.LinearReads is false), and may be over when it is read.
func Leader(ctx context.Context, l port.Leases, election string) (Term, error) {
	election = cmp.Or(election, "default")
	lease, err := leaseName(kindLead, election)
	if err != nil {
		return Term{}, err
	}
	t, err := holder(ctx, l, lease, election)
	switch {
	case err != nil:
		return Term{}, fmt.Errorf("cluster: leader of election %q: %w", election, err)
	case t.Token == 0:
		return Term{}, fmt.Errorf("cluster: election %q has no leader: %w", election, port.ErrNotFound)
	}
	return t, nil
}

// holder is the term of a lease, the zero Term when nobody has it.
func holder(ctx context.Context, l port.Leases, lease, name string) (Term, error) {
	held, err := l.Holders(ctx, lease)
	if err != nil {
		return Term{}, err
	}
	for _, h := range held {
		if h.Name == lease {
			return seen(name, h), nil
		}
	}
	return Term{}, nil
}

// Leaders yields who leads an election, "" being "default": the term at the beginning, and each one after it; the zero Term when
// nobody leads. It asks first, so its error is that of the first question. Of terms that come and go between two looks
// (at a hint, or after a third of the leader's TTL) only the last is told.
//
// An error that it yields says that the backend did not answer; it is told once, and the sequence goes on. It ends without an error
// when ctx ends, and after one that matches [port.ErrClosed]. It is for one use.
func Leaders(ctx context.Context, l port.Leases, election string) (iter.Seq2[Term, error], error) {
	election = cmp.Or(election, "default")
	lease, err := leaseName(kindLead, election)
	if err != nil {
		return nil, err
	}
	look := func() (Term, time.Duration, error) {
		t, err := holder(ctx, l, lease, election)
		if err != nil {
			return Term{}, 0, fmt.Errorf("cluster: leader of election %q: %w", election, err)
		}
		if t.Token == 0 {
			return t, defaultTTL / 3, nil
		}
		return t, max(time.Until(t.until)/3, time.Millisecond), nil
	}
	now, wait, err := look()
	if err != nil {
		return nil, err
	}
	return func(yield func(Term, error) bool) {
		if !yield(now, nil) {
			return
		}
		watch(ctx, l, lease, wait, look, func(next Term) bool {
			if next.Token == now.Token && next.Holder == now.Holder {
				return true
			}
			now = next
			return yield(next, nil)
		}, func(err error) bool { return yield(Term{}, err) })
	}, nil
}

// watch looks again at each hint about leases of that name, and after the wait that the last look asked for, and gives what it sees to
// see and what goes wrong to fail, once until it goes well again. It ends with ctx, when one of them says false, or after a
// final error.
func watch[T any](ctx context.Context, l port.Leases, name string, wait time.Duration, look func() (T, time.Duration, error), see func(T) bool, fail func(error) bool) {
	period := wait
	failed := false
	// listen returns what its function does, and that is nothing to tell: see and fail have told it.
	_ = listen(ctx, l, hearing(name), period, func(w *waiter) error {
		for {
			if cause := w.wait(ctx, wait); cause != nil {
				return cause
			}
			now, next, err := look()
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err == nil:
				failed, wait = false, next
				if !see(now) {
					return nil
				}
			case final(err):
				fail(err)
				return nil
			case !failed:
				failed = true
				if !fail(err) {
					return nil
				}
			}
		}
	})
}
