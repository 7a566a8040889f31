package bus

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// item is one message in hand: from its fetch to its settlement. Its worker owns it while it runs; what the keeper and the lanes
// need is guarded by the consumer's mutex.
type item struct {
	d       *port.Delivery // among those that it was fetched with
	meta    envelope.Meta
	payload []byte
	bare    bool // meta has already what the messages of the consumer's bare topic have in common
	step    step
	ran     bool  // step is of the run under way or over: the handler was to get the message
	err     error // the handler's verdict

	settlement port.Settlement // without its receipt, which is that of d
	handled    bool            // the settlement is the acknowledgement of the handler's step
	buried     int             // how often the burial was tried in a smaller form
	conflicts  int             // runs of the handler whose step was refused

	// Guarded by consumer.mu.
	index     int // in consumer.hand
	lane      *lane
	suspect   bool                    // holds the place of the one suspect
	sent      hold.Instant            // when the loan was received, or its start recorded
	booked    bool                    // the keeper looks after it
	overdue   bool                    // not extended in time: it must be taken for passed on
	lost      bool                    // it has passed on: nothing that happens to it counts
	interrupt context.CancelCauseFunc // of a running handler: ends the handler's context while it runs
}

// parse reads the envelope; what cannot be read is kept as it came. A bare message has what its topic's have in common, and what
// the port knows of it.
func (it *item) parse(bare *envelope.Meta) error {
	if bare != nil {
		if !it.bare {
			it.bare, it.meta = true, *bare
		}
		it.payload = it.d.Message.Body
		it.meta.ID = clip(it.d.Message.ID, envelope.MaxID)
		it.meta.CorrID, it.meta.At = it.meta.ID, it.d.FirstAt
		if it.meta.Key != it.d.Message.Key {
			it.meta.Key = clip(it.d.Message.Key, envelope.MaxName)
		}
		return nil
	}
	meta, payload, err := envelope.Parse(it.d.Message.Body)
	if err != nil {
		return err
	}
	it.meta, it.payload = meta, payload
	return nil
}

// forget lets go of what has the size of a message. The rest is written over when the next message is accepted, parsed and settled;
// the step keeps its turn.
func (it *item) forget() {
	it.d.Message.Body, it.payload = nil, nil
	if it.err != nil {
		it.err = nil
	}
	if !it.bare {
		it.meta = envelope.Meta{}
	}
	if !it.settlement.Then.IsZero() {
		it.settlement.Then = port.Batch{}
	}
	it.step.empty()
	it.ran, it.handled, it.buried, it.conflicts = false, false, 0, 0
}

// enter is ctx for the handling of this message.
func (it *item) enter(ctx context.Context, worker string) context.Context {
	g := it.step.at
	place := envelope.Place{Topic: g.Topic, Group: g.Name, Worker: worker, Attempt: it.d.Attempt}
	return envelope.Enter(ctx, it.meta, place, g.Topic+"/"+g.Name+"/"+it.meta.ID)
}

// message is what middleware and handlers get.
func (it *item) message(worker string) Message[[]byte] {
	return Message[[]byte]{
		Envelope: envelope.Envelope[[]byte]{Meta: it.meta, Payload: it.payload},
		Delivery: it.delivery(worker),
		step:     &it.step, turn: it.step.turn,
	}
}

func (it *item) delivery(worker string) Delivery {
	return Delivery{
		Topic: it.step.at.Topic, Group: it.step.at.Name, Worker: worker,
		Attempt: it.d.Attempt, Crashes: it.d.Crashes, LastError: it.d.Reason, FirstAt: it.d.FirstAt,
	}
}

// panicError is a handler's panic as its verdict.
type panicError struct {
	value any
	stack string
}

// maxStack is how many bytes of a stack are kept.
const maxStack = 8 << 10

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// Unwrap is the error that was panicked with, if it was one.
func (p *panicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// guarded runs a handler and makes its panic an error. An error whose text panics, such as a nil pointer, is a panic too: it would
// be one later, where it ended the process.
func guarded(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			stack := debug.Stack()
			err = &panicError{value: v, stack: string(stack[:min(len(stack), maxStack)])}
		}
	}()
	if err = fn(); err != nil {
		_ = err.Error()
	}
	return err
}
