package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// follower reads a log from its own offset, applies each entry in the order of the log, own ones included, and knows until when
// what was applied may be believed. It touches no key of the store.
//
// What is proved elsewhere rests on three lines here: the time is taken before the log is asked for its end; heard is set
// after everything up to that end was applied; and heard is taken away before anything is tried again.
type follower struct {
	b     Backend
	topic port.Topic
	bound time.Duration
	node  *node
	watch watch

	apply func(op Op, at time.Time) // an entry of the log; at is the server's time
	reset func()                    // entries were missed, or may have been: nothing local may be believed

	heard atomic.Pointer[hearing] // nil: deaf
	last  atomic.Pointer[instant] // when the end of the log was last asked for with success; nil: never

	running sync.Mutex
	anchor  anchor // of the goroutine that follows

	mu    sync.Mutex
	place port.Offset // anchor.at, for others to read
	gaps  int64
	fault error // the last that made it deaf
}

// hearing is a time at which the log was heard to its end, and until when that counts.
type hearing struct{ from, until instant }

// anchor is a place in the log, and the entry there.
type anchor struct {
	known      bool
	before, at port.Offset // the entries around the place: before is the one before at, or where reading began
	id         string      // of the message at at
}

// hears reports whether what was applied may be believed at now. It is called with a hearing that was loaded before what is to
// be believed.
func (h *hearing) hears(now instant) bool { return h != nil && !h.until.due(now) }

// waits is how long a node that cannot hear waits before it tries again.
var waits = retry.Backoff{Tries: -1, First: 20 * time.Millisecond, Max: time.Second, Factor: 2}

// run follows until ctx ends, and then returns nil. An error that trying again does not mend is returned.
func (f *follower) run(ctx context.Context) error {
	if !f.running.TryLock() {
		return fmt.Errorf("cache %s: it is being followed already; one Follow for each node: %w", f.node.name, port.ErrInvalid)
	}
	defer f.running.Unlock()
	defer f.heard.Store(nil)
	for tries := 1; ; tries++ {
		before := f.last.Load()
		err := f.session(ctx)
		f.heard.Store(nil)
		if ctx.Err() != nil {
			return nil
		}
		f.note(err)
		switch {
		case errors.Is(err, port.ErrGap):
			f.anchor = anchor{}
		case errors.Is(err, port.ErrInvalid), errors.Is(err, port.ErrUnsupported), errors.Is(err, port.ErrClosed):
			return fmt.Errorf("cache %s: follow: %w", f.node.name, err)
		}
		if f.last.Load() != before {
			tries = 1
		}
		if pause(ctx, waits.Delay(tries, f.node.rnd())) != nil {
			return nil
		}
	}
}

func (f *follower) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
	if errors.Is(err, port.ErrGap) {
		f.gaps++
	}
}

// session follows until something goes wrong.
func (f *follower) session(ctx context.Context) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	pulse := max(f.bound/4, time.Millisecond)
	for {
		asked := f.watch.now()
		list, err := f.read(ctx, f.anchor.at, 500, pulse)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			f.hear(asked)
			continue
		}
		f.applyAll(list)
		if f.last.Load().since(f.watch.now()) >= pulse {
			if err := f.catchUp(ctx); err != nil {
				return err
			}
		}
	}
}

// begin finds the place to go on from. Where the place of before cannot be shown to be in this log still, everything local is
// dropped and reading begins at the end of the log.
func (f *follower) begin(ctx context.Context) error {
	if f.anchor.known {
		list, err := f.read(ctx, f.anchor.before, 1, 0)
		if err != nil {
			return err
		}
		if len(list) == 0 || list[0].Offset != f.anchor.at || list[0].Message.ID != f.anchor.id {
			return fmt.Errorf("cache %s: the log is not the one that was followed before: %w", f.node.name, port.ErrGap)
		}
		return f.catchUp(ctx)
	}
	ctx, stop := context.WithTimeout(ctx, f.patience(0))
	defer stop()
	if err := f.b.Declare(ctx, f.topic); err != nil {
		return err
	}
	end := port.Earliest
	for info, err := range f.b.Inspect(ctx, f.topic.Name) {
		if err != nil {
			return err
		}
		end = info.Last
	}
	// Not before the end is known: a copy of what this node set meanwhile may have been overwritten by an entry before it.
	f.reset()
	f.anchor = anchor{at: end}
	return f.ask(ctx, OpHello)
}

// catchUp hears the log to its end. While others write so fast that there always is something more, an entry of its own marks the
// end.
func (f *follower) catchUp(ctx context.Context) error {
	for range 3 {
		asked := f.watch.now()
		list, err := f.read(ctx, f.anchor.at, 500, 0)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			f.hear(asked)
			return nil
		}
		f.applyAll(list)
	}
	ctx, stop := context.WithTimeout(ctx, f.patience(0))
	defer stop()
	return f.ask(ctx, OpTick)
}

// ask writes an entry and reads until it comes: whatever was in the log when it was written has been applied then.
func (f *follower) ask(ctx context.Context, k Kind) error {
	op := Op{Kind: k, Version: f.node.version(0)}
	m, err := op.message(f.topic.Name)
	if err != nil {
		return err
	}
	asked := f.watch.now()
	if err := f.b.Write(ctx, port.Batch{Messages: []port.Message{m}}); err != nil {
		return err
	}
	for {
		list, err := f.read(ctx, f.anchor.at, 500, f.bound)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("cache %s: an entry that was written is not in the log: %w", f.node.name, port.ErrGap)
		}
		f.applyAll(list)
		for _, s := range list {
			if s.Message.ID == m.ID {
				f.hear(asked)
				return nil
			}
		}
	}
}

// read is Queue.Read with an end: a link that swallows what is sent must not hold the node up for ever.
func (f *follower) read(ctx context.Context, after port.Offset, most int, wait time.Duration) ([]port.Stored, error) {
	ctx, stop := context.WithTimeout(ctx, f.patience(wait))
	defer stop()
	return f.b.Read(ctx, port.Range{Topic: f.topic.Name, After: after, Max: most, Wait: wait})
}

func (f *follower) patience(wait time.Duration) time.Duration {
	return wait + max(2*f.bound, time.Second)
}

// applyAll applies entries in order. One that cannot be read may have said anything, so nothing local is believed after it.
func (f *follower) applyAll(list []port.Stored) {
	for _, s := range list {
		op, err := ParseOp(s.Message.Body)
		if err != nil {
			f.note(fmt.Errorf("entry %q of topic %q: %w", s.Offset, f.topic.Name, err))
			f.reset()
		} else {
			f.apply(op, s.At)
		}
		f.anchor = anchor{known: true, before: f.anchor.at, at: s.Offset, id: s.Message.ID}
	}
	f.mu.Lock()
	f.place = f.anchor.at
	f.mu.Unlock()
}

// hear notes that everything that was in the log at asked, or later, has been applied.
func (f *follower) hear(asked instant) {
	f.last.Store(&asked)
	f.heard.Store(&hearing{from: asked, until: asked.plus(less(f.bound))})
}
