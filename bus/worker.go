package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// errGoexit is the verdict of a handler that ended its goroutine.
var errGoexit = errors.New("the handler ended its goroutine (runtime.Goexit, or FailNow of a test)")

// worker handles what is ready until nothing will be.
func (c *consumer) worker() {
	var items []*item
	desk, ended := &desk{call: c.calls()}, false
	defer func() {
		if ended {
			return
		}
		for _, it := range items {
			if it.err == nil { // what was rejected before the handler stays so
				it.err = errGoexit
			}
		}
		c.conclude(desk, items)
		c.workers.Go(c.worker)
	}()
	for {
		if items = c.take(items[:0]); len(items) == 0 {
			break
		}
		c.handle(desk, items)
	}
	ended = true
}

// desk is what one worker has for all its calls.
type desk struct {
	call call
	gate gate
	run  running // the call that runs
}

// handle runs the handler for items and posts their verdicts.
func (c *consumer) handle(d *desk, items []*item) {
	ctx, interrupt := context.WithCancelCause(c.handling)
	defer interrupt(nil)
	if c.g.Timeout > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, c.g.Timeout)
		defer end()
	}
	now := turn{gate: &d.gate, n: c.turns.Add(1)}
	run := items
	for i, it := range items {
		if err := c.prepare(ctx, it, now); err != nil || it.err != nil {
			it.err = err
		}
		switch {
		case it.err != nil && len(run) == len(items): // the first one that the handler does not get
			run = append(make([]*item, 0, len(items)-1), items[:i]...)
		case it.err == nil && len(run) < len(items):
			run = append(run, it)
		}
	}
	if len(run) > 0 {
		d.gate.open.Store(now.n)
		c.interruptible(&d.run, run, interrupt)
		d.call(ctx, run)
	}
	c.conclude(d, items)
}

// prepare reads the envelope and decides whether the message may be handled at all: nil, or its verdict.
func (c *consumer) prepare(ctx context.Context, it *item, now turn) error {
	it.ran = false
	if err := it.parse(); err != nil {
		return Reject(fmt.Errorf("the body is no envelope: %w", err))
	}
	switch {
	case it.d.Crashes >= c.g.Crashes:
		return Reject(fmt.Errorf("%d workers died while they handled it", it.d.Crashes))
	case it.d.Attempt > 0 && c.g.Retry.Spent(it.d.Attempt):
		return Reject(fmt.Errorf("%d tries are used up; the last failure: %s", it.d.Attempt, it.d.Reason))
	}
	it.ran = true
	it.step.begin(it, &c.pg, now)
	if it.d.Lost > 0 {
		return c.begin(ctx, it)
	}
	return nil
}

// errNotBegun is the verdict on a suspect whose start could not be recorded: it is handed back.
var errNotBegun = errors.New("the start of a suspect could not be recorded")

// begin records that the handling of a suspect starts, before it does: only then a crash is counted against it.
func (c *consumer) begin(ctx context.Context, it *item) error {
	for failures := 1; ; failures++ {
		sent := hold.Clock{}.Now()
		err := c.record(ctx, it)
		switch {
		case err == nil:
			c.mu.Lock()
			c.began(it, sent)
			c.mu.Unlock()
			return nil
		case errors.Is(err, port.ErrStale):
			c.mu.Lock()
			it.lost = true
			c.mu.Unlock()
			return port.ErrLost
		case ctx.Err() != nil || final(err):
			return errNotBegun
		}
		pause(ctx, outage.Delay(failures, rand.Float64()))
	}
}

// record makes the call that records a start; it takes at most a loan.
func (c *consumer) record(ctx context.Context, it *item) error {
	ctx, end := context.WithTimeout(ctx, c.g.Loan)
	defer end()
	return c.q.Extend(ctx, c.pg, port.Hold{Receipt: it.d.Receipt, Begin: true})[0]
}

// began counts the loan from the record of the start on, also one that was taken for passed on. The caller holds the mutex.
func (c *consumer) began(it *item, sent hold.Instant) {
	it.begun = &sent
	switch {
	case it.overdue:
		it.overdue, it.booked = false, false // it left the book when it was given up
	case it.booked:
		c.keeper.book.Extended(sent, it)
	}
}

// interruptible lets the keeper end the handler's context when all its loans are lost.
func (c *consumer) interruptible(r *running, items []*item, interrupt context.CancelCauseFunc) {
	r.items, r.left, r.end = items, len(items), interrupt
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = append(c.running, r)
	for _, it := range items {
		if it.lost || it.overdue {
			c.interrupt(it)
		}
	}
}

// conclude turns verdicts into settlements.
func (c *consumer) conclude(d *desk, items []*item) {
	d.gate.open.Store(0)
	for _, it := range items {
		if it.ran {
			it.step.close()
		}
		c.judge(it)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = slices.DeleteFunc(c.running, func(r *running) bool { return r == &d.run })
	for _, it := range items {
		it.interrupted = false
		switch {
		case it.ran && it.step.settled && it.err == nil, it.lost:
			c.leave(it)
			continue
		case it.verdict() != port.Ack:
			c.postpone(it)
			continue
		case it.handled && it.plain():
			c.lanes.pass(it) // no step that the next of the key could miss
		}
		c.outbox = append(c.outbox, it.no)
	}
	c.send.Signal()
	c.wake()
}

// judge decides what becomes of an item by the handler's verdict.
func (c *consumer) judge(it *item) {
	err := it.err
	gathered := it.ran && it.step.gathered
	if err == nil && gathered && it.step.failed() != nil {
		err = Reject(it.step.failed())
	}
	it.handled = false
	wait, isLater := errors.AsType[*later](err)
	switch {
	case err == nil:
		it.handled = true
		if gathered {
			it.settle(port.Settlement{Then: it.step.gathers().batch})
		} else {
			it.acknowledge()
		}
	case errors.Is(err, errNotBegun), c.isLost(it), c.handling.Err() != nil && !rejects(err):
		it.settle(port.Settlement{Verdict: port.Release})
	case isLater:
		it.settle(port.Settlement{Verdict: port.Release, After: wait.wait})
	default:
		c.fail(it, err)
	}
}

// fail counts a failure: the message comes again after a wait, or is buried.
func (c *consumer) fail(it *item, err error) {
	it.handled = false
	if rejects(err) || c.g.Retry.Spent(it.d.Attempt+1) {
		c.bury(it, err)
		return
	}
	wait, ok := retry.AfterDelay(err)
	if !ok {
		wait = c.g.Retry.Delay(it.d.Attempt+1, rand.Float64())
	}
	it.settle(port.Settlement{Verdict: port.Return, After: wait, Reason: reason(err)})
	c.g.Log.InfoContext(c.handling, "message failed, it comes again",
		"topic", c.pg.Topic, "group", c.pg.Name, "id", it.d.Message.ID, "corrId", it.about().CorrID,
		"attempt", it.d.Attempt+1, "after", wait, "error", err)
}

// isLost reports whether the loan passed on or must be taken for that.
func (c *consumer) isLost(it *item) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return it.lost || it.overdue
}

// reason is the text of err, cut to what the port takes.
func reason(err error) string { return clip(err.Error(), port.MaxReason) }

// clip is s as valid UTF-8 of at most n bytes.
func clip(s string, n int) string {
	if !utf8.ValidString(s) {
		s = toValid(s)
	}
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
