package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// keeper extends the loans of what stays in hand, in batches, by the holder's clock: what is not handled soon is entered in the
// book, extended each third of the loan, and given up in time when no extension succeeds, even while one hangs. A loan that the
// store refused to extend has passed on. Both end the handler's context with port.ErrLost, and neither is a failure of the message.
type keeper struct {
	c     *consumer
	book  *hold.Book[*item]
	after time.Duration // how long in hand until it is entered
}

func newKeeper(c *consumer) (*keeper, error) {
	cfg := hold.Config{Lease: c.g.Loan, Lost: port.ErrLost}
	terms, err := cfg.Terms()
	if err != nil {
		return nil, err
	}
	book, err := hold.NewBook[*item](cfg)
	return &keeper{c: c, book: book, after: terms.Period / 4}, err
}

// run keeps until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var extending sync.WaitGroup
	defer extending.Wait()
	timer := time.NewTimer(k.after)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		k.enter()
		k.giveUp(k.book.Lost())
		if items, timeout := k.book.Due(); len(items) > 0 {
			extending.Go(func() { k.extend(ctx, items, timeout) })
		}
		next := k.after
		if wait, ok := k.book.Next(); ok {
			next = min(next, wait)
		}
		timer.Reset(next)
	}
}

// enter books what has been in hand for a while. Most of what passes through is settled before.
func (k *keeper) enter() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	now := hold.Clock{}.Now()
	c.items.held(func(it *item) {
		if !it.booked && !it.lost && now.Sub(it.sent()) >= k.after {
			it.booked = true
			k.book.Add(it.sent(), it)
		}
	})
}

// giveUp marks what must be taken for passed on.
func (k *keeper) giveUp(items []*item) {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range items {
		if it.booked { // else it left the hand meanwhile
			it.overdue = true
			c.interrupt(it)
		}
	}
}

// extend makes one call for all that are due.
func (k *keeper) extend(ctx context.Context, items []*item, timeout time.Duration) {
	items, holds := k.held(items)
	sent := hold.Clock{}.Now()
	ctx, end := context.WithTimeout(ctx, timeout)
	defer end()
	errs := k.c.q.Extend(ctx, k.c.pg, holds...)
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for i, it := range items {
		switch {
		case !it.booked || it.d.Receipt != holds[i].Receipt: // it left the hand meanwhile
		case errs[i] == nil:
			k.book.Extended(sent, it)
		case errors.Is(errs[i], port.ErrStale):
			it.lost, it.booked = true, false
			k.book.Remove(it)
			k.c.interrupt(it)
		default:
			k.book.Failed(it)
		}
	}
}

// held are those of items that did not leave the hand meanwhile, and what they are held by.
func (k *keeper) held(items []*item) (held []*item, holds []port.Hold) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for _, it := range items {
		if it.booked {
			held, holds = append(held, it), append(holds, port.Hold{Receipt: it.d.Receipt})
		}
	}
	return held, holds
}

// running is one call of the handler. It is guarded by the consumer's mutex.
type running struct {
	items []*item
	left  int // how many of them are not lost
	end   context.CancelCauseFunc
}

// interrupt ends the context of the handler that runs for the item, when the loans of all that it handles are gone. The caller holds the
// mutex.
func (c *consumer) interrupt(it *item) {
	if it.interrupted {
		return
	}
	for _, r := range c.running {
		if !slices.Contains(r.items, it) {
			continue
		}
		it.interrupted = true
		if r.left--; r.left == 0 {
			r.end(fmt.Errorf("the loan of message %q passed on: %w", it.d.Message.ID, port.ErrLost))
		}
	}
}
