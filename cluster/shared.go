package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// Shared is Leases for a process that holds many: renewals that fall due close together are one call of the backend. Give the same one to
// every Join, Lead and Lock of the process. A thousand leases of one TTL are renewed by about nine calls per third of it; alone, a
// call waits for others for a twenty-fourth of its TTL at the most, and never for more than a quarter of the time that it has.
//
// Validity counts from before that wait, so it makes nothing less safe. Everything but Renew goes straight to the backend.
type Shared struct {
	port.Leases

	mu      sync.Mutex
	forming map[time.Duration]*batch // by ttl
}

// NewShared returns the Leases that share l.
func NewShared(l port.Leases) *Shared {
	return &Shared{Leases: l, forming: map[time.Duration]*batch{}}
}

// batch is one call for many. Shared's mutex guards what is above done.
type batch struct {
	held    []port.Lease
	callers int
	sent    bool
	at      time.Time // when it is sent
	timer   *time.Timer
	end     context.CancelFunc // of the call, for whom nobody waits any more

	done   chan struct{} // closed when the answers are there
	leases []port.Lease
	errs   []error
}

// Renew renews held together with what others renew at this time. Each caller waits as long as its own ctx lasts: then the answer is
// [port.ErrUnavailable] where nothing was and will be sent, else [port.ErrUncertain].
func (s *Shared) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	wait := ttl / 24
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/4)
	}
	b, from := s.enter(ctx, ttl, max(wait, 0), held)
	select {
	case <-b.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	b.callers--
	last := b.callers == 0
	never := last && !b.sent
	if never {
		b.sent = true // by nobody: it must not be joined any more
		delete(s.forming, ttl)
	}
	s.mu.Unlock()
	if last { // whoever leaves last waits for the call's goroutine
		b.end()
		<-b.done
	}
	select {
	case <-b.done:
		if !never {
			return b.leases[from : from+len(held)], b.errs[from : from+len(held)]
		}
	default:
	}
	known := port.ErrUncertain // others may send it yet
	if never {
		known = port.ErrUnavailable
	}
	errs := make([]error, len(held))
	for i := range errs {
		errs[i] = fmt.Errorf("cluster: renewing together: %w: %w", known, context.Cause(ctx))
	}
	return make([]port.Lease, len(held)), errs
}

// enter puts leases into the batch that is forming, and returns where they are in it.
func (s *Shared) enter(ctx context.Context, ttl, wait time.Duration, held []port.Lease) (*batch, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Now().Add(wait)
	b := s.forming[ttl]
	if b == nil {
		b = &batch{at: at, timer: time.NewTimer(wait), done: make(chan struct{})}
		var calling context.Context
		calling, b.end = context.WithCancel(context.WithoutCancel(ctx))
		s.forming[ttl] = b
		go s.send(calling, ttl, b)
	} else if at.Before(b.at) {
		b.at = at
		b.timer.Reset(wait)
	}
	from := len(b.held)
	b.held = append(b.held, held...)
	b.callers++
	return b, from
}

// send sends a batch when it is time.
func (s *Shared) send(ctx context.Context, ttl time.Duration, b *batch) {
	defer close(b.done)
	defer b.timer.Stop()
	select {
	case <-b.timer.C:
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	if b.sent {
		s.mu.Unlock()
		return
	}
	b.sent = true
	delete(s.forming, ttl)
	held := b.held
	s.mu.Unlock()
	b.leases, b.errs = s.Leases.Renew(ctx, ttl, held...)
	if len(b.leases) != len(held) || len(b.errs) != len(held) {
		b.leases, b.errs = make([]port.Lease, len(held)), make([]error, len(held))
		for i := range b.errs {
			b.errs[i] = errors.New("cluster: the backend did not answer for each lease")
		}
	}
}

// unshared is who renews at once, whoever else renews.
func unshared(l port.Leases) port.Leases {
	if s, ok := l.(*Shared); ok {
		return unshared(s.Leases)
	}
	return l
}
