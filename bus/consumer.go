package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// consumer is one process at work in a group: it fetches ahead, lets workers handle, keeps the loans, and settles in batches.
//
//	fetch -> lanes -> workers -> outbox -> settle
//	            keep: extends the loan of everything in hand
//
// The crash points are the backend's: before the settlement everything comes again, with it the step is done. What is not in
// hand any more is never touched; what is in hand is settled, released or known to have passed on.
type consumer struct {
	q     port.Queue
	g     Group
	pg    port.Group
	size  int            // messages in one call
	limit int            // messages in hand
	calls func() call    // makes a worker's way to the handler
	bare  *envelope.Meta // what the messages of a bare topic have in common; nil where envelopes travel

	mu       sync.Mutex
	work     sync.Cond     // an item is ready, or no more will be
	send     sync.Cond     // the outbox has something, or no more will come
	room     chan struct{} // holds one: the fetcher, which found the hand full, may look again
	full     bool          // the fetcher waits for room, or is about to
	items    shelf
	arrivals []*arrival // of which nothing is in hand any more: memory for the next ones
	lanes    lanes
	running  []*running // calls of the handler
	outbox   []int32    // items that are to be settled, by their numbers
	spare    []int32    // room for the next outbox
	draining bool       // nothing is begun any more
	flushing bool       // the outbox gets nothing any more

	turns    atomic.Uint64   // calls of the handler
	handling context.Context // of the handlers; ends when they are cut off
	cut      context.CancelCauseFunc
	stop     context.CancelCauseFunc // ends the fetching
	workers  sync.WaitGroup
	keeper   *keeper
	sending  []port.Settlement // the settler's: what the call under way carries
	stained  bool              // the settler's: some of it is more than a receipt
	declared map[string]bool   // the settler's: topics that it has declared
	failed   error             // the settler's: why nothing can be settled any more
}

// call runs the handler for items, and leaves each its verdict. One worker has it, so that its calls share their memory.
type call func(ctx context.Context, items []*item)

func newConsumer(q port.Queue, g Group, pg port.Group, size int, bare *envelope.Meta, calls func() call) *consumer {
	c := &consumer{
		q: q, g: g, pg: pg, size: size, limit: g.Workers*size + g.Ahead, calls: calls, bare: bare,
		room: make(chan struct{}, 1), declared: make(map[string]bool),
	}
	c.work.L, c.send.L = &c.mu, &c.mu
	c.items = newShelf(c.limit)
	c.lanes.items = &c.items
	return c
}

// run works until ctx ends or something fails for good, and drains.
func (c *consumer) run(ctx context.Context) error {
	var err error
	if c.keeper, err = newKeeper(c); err != nil {
		return fmt.Errorf("group %q of topic %q: %w: %w", c.pg.Name, c.pg.Topic, port.ErrInvalid, err)
	}
	if err := c.q.Join(ctx, c.pg); err != nil {
		return unlessEnded(ctx, fmt.Errorf("join group %q of topic %q: %w", c.pg.Name, c.pg.Topic, err))
	}
	fetching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	base := context.WithoutCancel(ctx)
	handling, cut := context.WithCancelCause(base)
	defer cut(nil)
	c.handling, c.cut, c.stop = handling, cut, stop
	calls, endCalls := context.WithCancelCause(base)
	defer endCalls(nil)

	for range c.g.Workers {
		c.workers.Go(c.worker)
	}
	var settler, keeper sync.WaitGroup
	var unsettled error
	settler.Go(func() { unsettled = c.settle(calls) })
	keeping, endKeeping := context.WithCancel(base)
	defer endKeeping()
	keeper.Go(func() { c.keeper.run(keeping) })

	err = c.fetch(fetching)
	if ctx.Err() != nil && errors.Is(context.Cause(fetching), context.Cause(ctx)) {
		err = nil
	}
	c.drain(err)
	patience := c.g.Grace
	if err != nil {
		patience = 0
	}
	c.finish(patience)

	last := time.AfterFunc(max(patience, time.Second), func() { endCalls(errors.New("the backend does not answer")) })
	if err != nil {
		endCalls(err)
	}
	c.flush()
	settler.Wait()
	last.Stop()
	endKeeping()
	keeper.Wait()
	if err != nil {
		return err
	}
	return unsettled
}

// finish waits until the running handlers have returned, and ends their context when patience is over.
func (c *consumer) finish(patience time.Duration) {
	over := func() { c.cut(fmt.Errorf("subscription ends: %w", context.Canceled)) }
	if patience > 0 {
		timer := time.AfterFunc(patience, over)
		defer timer.Stop()
	} else {
		over()
	}
	c.workers.Wait()
}

// fetch keeps the hand filled until ctx ends; it returns why it ended.
func (c *consumer) fetch(ctx context.Context) error {
	failures := 0
	for {
		n := c.waitForRoom(ctx)
		if n == 0 {
			return context.Cause(ctx)
		}
		a := c.arrival()
		pg := c.pg
		pg.Into = a.ds[:0]
		ds, err := c.q.Fetch(ctx, pg, n)
		switch {
		case err == nil:
			if failures > 0 {
				c.g.Log.InfoContext(ctx, "fetch works again", "topic", c.pg.Topic, "group", c.pg.Name, "failures", failures)
			}
			failures = 0
			a.ds = ds[:min(len(ds), n)] // what nobody asked for is left to run out
			c.accept(a)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(err):
			return fmt.Errorf("fetch for group %q of topic %q: %w", c.pg.Name, c.pg.Topic, err)
		default:
			failures++
			if failures == 1 {
				c.g.Log.WarnContext(ctx, "fetch fails, trying again until it works", "topic", c.pg.Topic, "group", c.pg.Name, "error", err)
			}
			pause(ctx, outage.Delay(failures, rand.Float64()))
		}
	}
}

// outage is how calls that carry no verdict are repeated while the backend is away or refuses. Its return goes unnoticed for the longest wait,
// in which what waits to be settled may pass on.
var outage = retry.Backoff{Tries: -1, First: 50 * time.Millisecond, Max: time.Second}

// final reports whether a call can never succeed any more.
func final(err error) bool {
	return errors.Is(err, port.ErrClosed) || errors.Is(err, port.ErrLost) || errors.Is(err, port.ErrInvalid) ||
		errors.Is(err, port.ErrUnsupported)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// waitForRoom waits until the hand has room for more than a few, and tells for how many; 0 when ctx ended. Fetching a few at a
// time would cost one call for each.
func (c *consumer) waitForRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		c.mu.Lock()
		free := c.limit - c.items.inHand
		c.full = free < c.few()
		full := c.full
		c.mu.Unlock()
		if !full {
			return free
		}
		select {
		case <-ctx.Done():
		case <-c.room:
		}
	}
	return 0
}

// few is for how many there must be room before a fetch.
func (c *consumer) few() int { return max(1, c.g.Ahead/2) }

// accept takes deliveries in hand.
func (c *consumer) accept(a *arrival) {
	a.sent = hold.Clock{}.Now()
	ds := a.ds
	if disordered(ds) {
		slices.SortStableFunc(ds, func(a, b port.Delivery) int { return strings.Compare(string(a.Offset), string(b.Offset)) })
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.left = len(ds)
	for i := range ds {
		it := c.items.take()
		it.d, it.came = &ds[i], a
		if it.bare != c.bare {
			it.bare = c.bare
		}
		c.lanes.enter(it)
	}
	c.wake()
}

// arrival is memory for what the next Fetch brings.
func (c *consumer) arrival() *arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.arrivals) - 1
	if last < 0 {
		return &arrival{}
	}
	a := c.arrivals[last]
	c.arrivals = c.arrivals[:last]
	return a
}

// disordered reports whether messages with a key came in another order than that of the log. Those that come again at the same time
// may: a backend promises no order among them. Addressed ones are older than all that is in the log, and have no offset.
func disordered(ds []port.Delivery) bool {
	last := port.Offset("")
	for i := range ds {
		d := &ds[i]
		if d.Message.Key == "" {
			continue
		}
		if d.Offset < last {
			return true
		}
		last = d.Offset
	}
	return false
}

// wake calls workers to what is ready, and the fetcher when it waits for room and there is. The caller holds the mutex, and lets it go
// soon.
func (c *consumer) wake() {
	if c.full && c.limit-c.items.inHand >= c.few() {
		c.full = false
		c.room <- struct{}{} // it has room: the fetcher takes what is in it before it waits again
	}
	if n := c.lanes.ready.len(); n > c.g.Workers {
		c.work.Broadcast()
	} else {
		for range n {
			c.work.Signal()
		}
	}
}

// take waits for work and takes up to c.size items; none when nothing will come any more. A suspect is taken alone.
func (c *consumer) take(into []*item) []*item {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(into) < c.size {
			no, ok := c.lanes.ready.front()
			if !ok {
				break
			}
			it := c.items.at(no)
			if it.suspect && len(into) > 0 {
				break
			}
			c.lanes.ready.pop()
			if it.lost || it.overdue {
				c.abandon(it)
				continue
			}
			into = append(into, it)
			if it.suspect {
				break
			}
		}
		if len(into) > 0 || c.draining {
			return into
		}
		c.work.Wait()
	}
}

// abandon lets go of an item that no worker has begun and whose loan is gone. The caller holds the mutex.
func (c *consumer) abandon(it *item) {
	if it.lost {
		c.leave(it)
		c.wake()
		return
	}
	c.release(0, []*item{it}) // the store has the last word: it may still be ours
}

// leave lets an item go: it is settled or passed on. The caller holds the mutex.
func (c *consumer) leave(it *item) {
	it.forget()
	c.discard(it)
}

// discard takes an item, which has forgotten its message, out of the hand. The caller holds the mutex.
func (c *consumer) discard(it *item) {
	if it.booked {
		it.booked = false
		c.keeper.book.Remove(it)
	}
	c.lanes.leave(it)
	it.d, it.suspect, it.overdue, it.lost = nil, false, false, false
	if it.lane != nil || it.begun != nil {
		it.lane, it.begun = nil, nil
	}
	if it.came.left--; it.came.left == 0 {
		c.arrivals = append(c.arrivals, it.came)
	}
	c.items.putBack(it)
}

// post puts items in the outbox. The caller holds the mutex.
func (c *consumer) post(items ...*item) {
	for _, it := range items {
		c.outbox = append(c.outbox, it.no)
	}
	c.send.Signal()
}

// drain begins nothing more and hands back what was not begun. Err is why, nil for the end of the context.
func (c *consumer) drain(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.release(0, c.lanes.unstarted())
	c.work.Broadcast()
	if err != nil {
		c.cut(err)
	}
}

// postpone posts an item that comes again, and behind it the later ones of its key, to come again with it. The caller holds the
// mutex.
func (c *consumer) postpone(it *item) {
	c.post(it)
	c.release(it.settlement.After, c.lanes.empty(it))
}

// release posts items to be handed back, uncounted, due after a while. The caller holds the mutex.
func (c *consumer) release(after time.Duration, items []*item) {
	for _, it := range items {
		it.handled = false
		it.settle(port.Settlement{Verdict: port.Release, After: after})
	}
	c.post(items...)
}

// flush tells the settler that nothing comes after what is in the outbox.
func (c *consumer) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushing = true
	c.send.Broadcast()
}
