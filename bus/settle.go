package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/musterhq/muster/port"
)

// What one call of Settle takes at most. More waits for the next call, which follows at once.
const (
	maxSettled = 512
	maxEffects = 2 * port.MaxParts
)

// reruns is how often a handler runs again, uncounted, because its step was refused.
const reruns = 3

// settle sends what is in the outbox: at once when idle, together under load, for while one call is under way the next batch
// gathers. An outcome that is unknown is settled again: the first settlement wins. It returns when the outbox is flushed, and an
// error when ctx ended before that.
func (c *consumer) settle(ctx context.Context) error {
	failures, told := 0, false
	for {
		items := c.collect()
		if len(items) == 0 {
			return c.failed
		}
		again, err := c.deliver(ctx, items)
		if ctx.Err() != nil {
			c.mu.Lock()
			left := c.items.inHand
			c.mu.Unlock()
			if left == 0 {
				return c.failed
			}
			return fmt.Errorf("group %q of topic %q: %d messages were not settled and come again when their loan of %v has run out: %w: %w",
				c.pg.Name, c.pg.Topic, left, c.g.Loan, port.ErrUncertain, context.Cause(ctx))
		}
		if len(again) == 0 {
			failures, told = 0, false
			continue
		}
		if failures++; len(again) < len(items) {
			failures = 1 // it does go on
		}
		if !told {
			told = true
			c.g.Log.WarnContext(ctx, "settling fails, trying again until it works",
				"topic", c.pg.Topic, "group", c.pg.Name, "messages", len(again), "error", err)
		}
		pause(ctx, outage.Delay(failures, rand.Float64()))
		c.mu.Lock()
		c.outbox = slices.Concat(again, c.outbox)
		c.mu.Unlock()
	}
}

// collect waits for the outbox and takes what one call may carry; none when it is flushed.
func (c *consumer) collect() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.outbox) == 0 {
		if c.flushing {
			return nil
		}
		c.send.Wait()
	}
	n, effects := 0, 0
	for n < len(c.outbox) && n < maxSettled {
		if s := c.items.at(c.outbox[n]).settlement; s != nil {
			effects += len(s.Then.Messages) + len(s.Then.Changes) + len(s.Then.Removes)
		}
		if n > 0 && effects > maxEffects {
			break
		}
		n++
	}
	items := c.outbox[:n:n]
	if n == len(c.outbox) {
		items, c.outbox, c.spare = c.outbox, c.spare, nil
	} else {
		c.outbox = c.outbox[n:]
	}
	return items
}

// deliver makes one call, which takes at most a loan, and sees to what came of each; it returns those to be sent again, and one of
// their errors.
func (c *consumer) deliver(ctx context.Context, items []int32) (again []int32, err error) {
	ctx, end := context.WithTimeout(ctx, c.g.Loan)
	defer end()
	if err := c.declare(ctx, items); err != nil {
		if final(err) {
			c.stop(err)
		}
		return items, err
	}
	c.settlements(items)
	errs := c.q.Settle(ctx, c.pg, c.sending...)
	refused := false
	for i, no := range items {
		if it := c.items.at(no); errs[i] == nil {
			it.forget()
		} else if refused = true; !c.settled(ctx, it, errs[i]) {
			again, err = append(again, no), errs[i]
		}
	}
	if refused {
		c.sending = nil // it may be read for a while longer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, no := range items {
		if errs[i] == nil {
			c.discard(c.items.at(no))
		}
	}
	c.wake()
	c.spare = items[:0]
	return again, err
}

// settlements makes c.sending those of items, in the memory of the call before.
func (c *consumer) settlements(items []int32) {
	if c.stained {
		c.stained = false
		clear(c.sending)
	}
	c.sending = slices.Grow(c.sending[:0], len(items))[:len(items)]
	for i, no := range items {
		it, s := c.items.at(no), &c.sending[i]
		if it.settlement != nil {
			*s, c.stained = *it.settlement, true
		}
		s.Receipt = it.d.Receipt
	}
}

// settled sees to an item whose settlement was refused, and reports whether it is seen to; if not it is to be sent again.
func (c *consumer) settled(ctx context.Context, it *item, err error) bool {
	_, fenced := errors.AsType[*port.FenceError](err)
	switch {
	case errors.Is(err, port.ErrClosed), errors.Is(err, port.ErrLost):
		c.failed = fmt.Errorf("settle for group %q of topic %q: %w", c.pg.Name, c.pg.Topic, err)
		c.stop(c.failed)
		c.locked(func() { c.leave(it) })
	case errors.Is(err, port.ErrDuplicate), errors.Is(err, port.ErrStale) && !fenced:
		c.g.Log.DebugContext(ctx, "message was settled before or its loan passed on, this settlement did nothing",
			"topic", c.pg.Topic, "group", c.pg.Name, "id", it.d.Message.ID, "verdict", it.verdict(), "error", err)
		c.locked(func() { c.leave(it) })
	case errors.Is(err, port.ErrConflict) && it.handled && it.conflicts < reruns:
		it.conflicts++
		c.locked(func() { c.rerun(it) })
	case it.handled && (fenced || errors.Is(err, port.ErrConflict) || errors.Is(err, port.ErrNotFound)):
		c.repost(it, fmt.Errorf("the step was refused: %w", err))
	case it.handled && (errors.Is(err, port.ErrInvalid) || errors.Is(err, port.ErrUnsupported)):
		c.repost(it, Reject(fmt.Errorf("the step cannot be made: %w", err)))
	case errors.Is(err, port.ErrInvalid) && it.verdict() == port.Ack:
		c.shrink(it, err)
		c.locked(func() { c.post(it) })
	default:
		return false
	}
	return true
}

func (c *consumer) locked(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
}

// rerun makes an item ready again, which still holds its lane, and its place if it is a suspect.
func (c *consumer) rerun(it *item) {
	if c.draining {
		c.release(0, []*item{it})
		return
	}
	c.lanes.ready.push(it.no)
}

// repost makes a refused step a failure.
func (c *consumer) repost(it *item, err error) {
	it.err = err
	c.fail(it, err)
	c.locked(func() {
		if it.verdict() != port.Ack {
			c.postpone(it)
			return
		}
		c.post(it)
	})
}

// declare declares the limits of the topics that the steps go to, once for each.
func (c *consumer) declare(ctx context.Context, items []int32) error {
	for _, no := range items {
		it := c.items.at(no)
		if it.settlement == nil || it.settlement.Verdict != port.Ack || it.plain() {
			continue
		}
		if it.handled {
			for _, t := range it.step.gathers().declare {
				if err := c.declare1(ctx, t); err != nil {
					return err
				}
			}
			continue
		}
		if err := c.declareDead(ctx); err != nil {
			return err
		}
	}
	return nil
}

// declareDead declares the topic of the dead letters, unless somebody has given it a limit by age of his own.
func (c *consumer) declareDead(ctx context.Context) error {
	keep, _ := DeadTopic(c.pg.Topic, c.pg.Name).keep()
	if c.declared[keep.Name] {
		return nil
	}
	for info, err := range c.q.Inspect(ctx, keep.Name) {
		if err != nil {
			return fmt.Errorf("inspect topic %q: %w", keep.Name, err)
		}
		if info.Topic.MaxAge != port.DefaultMaxAge {
			c.declared[keep.Name] = true
		}
	}
	return c.declare1(ctx, keep)
}

func (c *consumer) declare1(ctx context.Context, t port.Topic) error {
	if c.declared[t.Name] {
		return nil
	}
	if err := c.q.Declare(ctx, t); err != nil {
		return fmt.Errorf("declare topic %q: %w", t.Name, err)
	}
	c.declared[t.Name] = true
	return nil
}
