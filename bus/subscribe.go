package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Subscribe works off the topic as one consumer of the group, until ctx ends and what was begun is settled; then it returns nil.
// It joins the group first: nothing published after that is missed.
//
// When ctx ends it stops fetching, hands back at once what no worker has begun, and gives running handlers Group.Grace; then it
// ends their context and waits until they return, still holding their loans, and hands back what they did not finish. An error
// ends it too: port.ErrInvalid for a group that cannot work, port.ErrLost when the group was dropped, port.ErrClosed when the
// backend was closed, and what Declare and Join answer at the start. An outage later on is waited out.
//
// When the backend was away for so long that loans may have run out, the context of their handlers ends with the cause port.ErrLost.
// What was not begun, and what did not end with nil, is handed back, and if it was still ours then, nothing is counted. What somebody was
// handed before that is a suspect for him; it is no failure, and a crash only where the message was one already. A handler that returned
// nil is settled all the same: the first settlement wins.
//
// A message whose body is no envelope, or whose payload does not decode, goes to the dead letters as it came.
func (t Topic[T]) Subscribe(ctx context.Context, q port.Queue, g Group, h Handler[T]) error {
	g = g.filled(0)
	codec := t.codec()
	chain := Handler[[]byte](func(ctx context.Context, m Message[[]byte]) error {
		typed, err := decoded(codec, m)
		if err != nil {
			return err
		}
		return h(ctx, typed)
	})
	for _, use := range slices.Backward(g.Use) {
		chain = use(chain)
	}
	one := func(ctx context.Context, items []*item) {
		it := items[0]
		it.err = guarded(func() error { return chain(it.enter(ctx, g.Worker), it.message(g.Worker)) })
	}
	return t.subscribe(ctx, q, g, 1, func() call { return one })
}

// SubscribeBatch is [Topic.Subscribe] for a handler that takes up to limit messages at once, as they are there: it does not wait for
// more. Group.Workers calls run at a time; a batch has at most one message of each key; Group.Ahead is by default 2 x limit.
// The context of a call carries no message, for there are many. Group.Use is for single messages and refused here.
func (t Topic[T]) SubscribeBatch(ctx context.Context, q port.Queue, g Group, limit int, h BatchHandler[T]) error {
	if limit < 1 {
		return fmt.Errorf("group %q of topic %q: batches of %d messages, at least 1 is needed: %w", g.Name, t.Name, limit, port.ErrInvalid)
	}
	if len(g.Use) > 0 {
		return fmt.Errorf("group %q of topic %q: middleware is for single messages, not for batches: %w", g.Name, t.Name, port.ErrInvalid)
	}
	g = g.filled(2 * limit)
	codec := t.codec()
	return t.subscribe(ctx, q, g, limit, func() call {
		return (&batches[T]{codec: codec, worker: g.Worker, handle: h}).call
	})
}

// batches is how one worker calls a handler of batches. What it hands over is valid until the handler returns, so each call uses
// the memory of the one before.
type batches[T any] struct {
	codec  envelope.Codec[T]
	worker string
	handle BatchHandler[T]
	ms     []Message[T]
}

func (b *batches[T]) call(ctx context.Context, items []*item) {
	b.decode(items)
	if len(b.ms) == 0 {
		return
	}
	defer b.clear()
	var verdicts []error
	err := guarded(func() error {
		verdicts = b.handle(ctx, b.ms)
		if verdicts != nil && len(verdicts) != len(b.ms) {
			return fmt.Errorf("the handler returned %d verdicts for %d messages; return nil or one for each", len(verdicts), len(b.ms))
		}
		return nil
	})
	if err == nil && verdicts == nil {
		return
	}
	i := 0
	for _, it := range items {
		if it.err != nil { // its payload did not decode
			continue
		}
		if it.err = err; err == nil && verdicts[i] != nil {
			it.err = guarded(func() error { return verdicts[i] })
		}
		i++
	}
}

// clear lets go of the messages, so that who kept them finds nothing, and not those of another call. What all of them have in common
// stays: to write it anew for each costs more than the rest of a message.
func (b *batches[T]) clear() {
	for i := range b.ms {
		b.ms[i].leave()
	}
	b.ms = b.ms[:0]
}

// subscribe checks the group, declares the topic's limits, and works.
func (t Topic[T]) subscribe(ctx context.Context, q port.Queue, g Group, size int, calls func() call) error {
	if err := g.check(t.Name); err != nil {
		return err
	}
	if err := t.declare(ctx, q); err != nil {
		return unlessEnded(ctx, err)
	}
	return newConsumer(q, g, g.consumer(t.Name), size, t.bare(), calls).run(ctx)
}

// unlessEnded is err, or nil when it says no more than that ctx ended before anything was begun: a clean end.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// decoded is m with its payload decoded; one that does not decode is rejected.
func decoded[T any](c envelope.Codec[T], m Message[[]byte]) (Message[T], error) {
	typed := Message[T]{Envelope: envelope.Envelope[T]{Meta: m.Meta}, Delivery: m.Delivery, step: m.step, turn: m.turn}
	if err := c.Decode(m.Payload, &typed.Payload); err != nil {
		return typed, undecoded(err)
	}
	return typed, nil
}

func undecoded(err error) error { return Reject(fmt.Errorf("the payload does not decode: %w", err)) }

// decode gathers the messages of those items, of which none has failed, whose payload decodes; the others are rejected, or failed where
// the codec panics.
func (b *batches[T]) decode(items []*item) {
	b.ms = slices.Grow(b.ms[:0], len(items))[:len(items)]
	next, good := 0, 0
	decode := func() error {
		for next < len(items) {
			it := items[next]
			next++
			m := &b.ms[good]
			m.become(it, b.worker)
			if err := b.codec.Decode(it.body(), &m.Payload); err != nil {
				var none T
				it.err, m.Payload = undecoded(err), none
				continue
			}
			good++
		}
		return nil
	}
	for next < len(items) {
		if err := guarded(decode); err != nil {
			var none T
			items[next-1].err, b.ms[good].Payload = err, none
		}
	}
	for i := range b.ms[good:] {
		b.ms[good+i].leave()
	}
	b.ms = b.ms[:good]
}
