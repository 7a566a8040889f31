//go:build unix

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// publish makes one step of all orders, and again as long as it may not have been made.
func publish(ctx context.Context, b port.Backend, orders ...order) error {
	outs := make([]bus.Out[order], len(orders))
	for i, o := range orders {
		outs[i] = bus.Out[order]{ID: fmt.Sprintf("order-%d", o.N), Payload: o}
	}
	for {
		_, err := in.PublishAll(ctx, b, outs...)
		switch {
		case err == nil, errors.Is(err, port.ErrDuplicate):
			return nil
		case ctx.Err() != nil || !errors.Is(err, port.ErrUnavailable) && !errors.Is(err, port.ErrUncertain):
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// ordinary is n orders with accounts.
func ordinary(n int) []order {
	orders := make([]order, n)
	for i := range orders {
		orders[i].Account = 1 + i%accounts
	}
	return orders
}

// producer publishes in steps of ten, until it is stopped or has published all, and no more than 500 ahead of the workers.
type producer struct {
	acknowledged atomic.Int64
	last         atomic.Int64 // Unix nanoseconds of the last acknowledgement
	err          error
	stop         context.CancelFunc
	done         chan struct{}
}

// produce starts a producer of so many orders, 0: without end.
func (s *shop) produce(b port.Backend, most int) *producer { return s.produceFor(b, most, true) }

// produceFor is produce, with or without accounts at which workers meet.
func (s *shop) produceFor(b port.Backend, most int, withAccounts bool) *producer {
	ctx, stop := context.WithCancel(s.t.Context())
	p := &producer{stop: stop, done: make(chan struct{})}
	s.t.Cleanup(func() { stop(); <-p.done })
	first := s.published
	go func() {
		defer close(p.done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := first; ctx.Err() == nil && (most == 0 || n < first+most); {
			if n-s.ends() > 500 {
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
				continue
			}
			orders := make([]order, 10)
			for i := range orders {
				n++
				if orders[i].N = n; withAccounts {
					orders[i].Account = 1 + n%accounts
				}
			}
			// A step that was begun is made whole: what is published is known to the last order.
			if p.err = publish(s.t.Context(), b, orders...); p.err != nil {
				return
			}
			p.acknowledged.Add(10)
			p.last.Store(time.Now().UnixNano())
		}
	}()
	return p
}

// end stops a producer after its current step, or waits until it has published all when it has an end.
func (s *shop) end(p *producer, now bool) {
	s.t.Helper()
	if now {
		p.stop()
	}
	until(s.t, "the producer ends", func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	})
	if p.err != nil {
		s.t.Fatalf("producer: %v", p.err)
	}
	s.published += int(p.acknowledged.Load())
}
