package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// keep extends the loans of everything in hand, from the fetch on, in one call each third of the loan. A loan whose extension was
// refused has passed on; one that could not be extended in time, counted from before the last call that did, must be taken for
// passed on: both end the handler's context with port.ErrLost. Neither is a failure of the message.
func (c *consumer) keep(ctx context.Context) {
	period := c.g.Loan / 3
	timer := time.NewTimer(period)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(c.extend(ctx, period))
	}
}

// extend makes one round and tells when the next one is due.
func (c *consumer) extend(ctx context.Context, period time.Duration) time.Duration {
	sent := time.Now()
	var items []*item
	var holds []port.Hold
	c.mu.Lock()
	for _, it := range c.hand {
		if !it.lost && sent.Sub(it.extended) >= period/2 {
			items = append(items, it)
			holds = append(holds, port.Hold{Receipt: it.d.Receipt})
		}
	}
	c.mu.Unlock()
	if len(holds) == 0 {
		return period
	}
	calling, end := context.WithTimeout(ctx, period)
	errs := c.q.Extend(calling, c.pg, holds...)
	end()

	next := period
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, it := range items {
		if it.index >= len(c.hand) || c.hand[it.index] != it {
			continue // settled meanwhile
		}
		switch {
		case errs[i] == nil:
			it.extended, it.until = sent, sent.Add(c.g.Loan)
		case errors.Is(errs[i], port.ErrStale):
			it.lost = true
			c.interrupt(it)
		default:
			next = period / 4
			if now.After(it.until) {
				c.interrupt(it)
			}
		}
	}
	return next
}

// interrupt ends the context of a running handler whose loan is gone. The caller holds the mutex.
func (c *consumer) interrupt(it *item) {
	if it.running && it.interrupt != nil {
		it.interrupt(fmt.Errorf("the loan of message %q passed on: %w", it.d.Message.ID, port.ErrLost))
		it.interrupt = nil
	}
}
