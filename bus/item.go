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
// need is guarded by the consumer's mutex. What every message needs stands first: it is looked at a dozen times. What few need stands
// elsewhere and is made when it is first needed: the collector looks at every item again and again.
type item struct {
	d    *port.Delivery // among those that it was fetched with; nil: no message is in hand
	bare *envelope.Meta // what the messages of the consumer's bare topic have in common; nil where envelopes travel
	err  error          // the handler's verdict
	no   int32          // its number on the shelf

	ran     bool // step is of the run under way or over: the handler was to get the message
	read    bool // content is this message's
	handled bool // the settlement is the acknowledgement of the handler's step

	// Guarded by consumer.mu.
	suspect     bool          // holds the place of the one suspect
	booked      bool          // the keeper looks after it
	overdue     bool          // not extended in time: it must be taken for passed on
	lost        bool          // it has passed on: nothing that happens to it counts
	interrupted bool          // its part in ending its handler's context is done
	lane        *lane         // that it holds
	came        *arrival      // with which it was fetched
	begun       *hold.Instant // when its start was recorded; nil: it was not

	settlement *port.Settlement // without its receipt, which is that of d; nil: an acknowledgement without a step
	step       step
	content    *content         // memory for what is read; nil until it is needed
	outcome    *port.Settlement // memory for settlement; nil until it is needed
	buried     int              // how often the burial was tried in a smaller form
	conflicts  int              // runs of the handler whose step was refused
}

// content is what stands in a message's envelope, or would.
type content struct {
	meta    envelope.Meta
	payload []byte // where envelopes travel
}

// arrival is what one Fetch brought.
type arrival struct {
	ds   []port.Delivery
	sent hold.Instant // when it was received
	left int          // how many are in hand
}

// sent is when the loan was received, or its start recorded.
func (it *item) sent() hold.Instant {
	if it.begun != nil {
		return *it.begun
	}
	return it.came.sent
}

// parse reads the envelope; what cannot be read is kept as it came.
func (it *item) parse() error {
	if it.bare != nil {
		return nil
	}
	meta, payload, err := envelope.Parse(it.d.Message.Body)
	if err != nil {
		return err
	}
	in := it.inside()
	it.read, in.meta, in.payload = true, meta, payload
	return nil
}

// inside is what was read of the message.
func (it *item) inside() *content {
	if it.content == nil {
		it.content = new(content)
	}
	return it.content
}

// id is the message's id in its envelope, or what a bare message has for it.
func (it *item) id() string {
	if it.bare != nil {
		return clip(it.d.Message.ID, envelope.MaxID)
	}
	return it.inside().meta.ID
}

// key is the same for its key.
func (it *item) key() string {
	if it.bare == nil {
		return it.inside().meta.Key
	}
	if it.d.Message.Key == "" {
		return ""
	}
	return clip(it.d.Message.Key, envelope.MaxName)
}

// about is the message's meta. A bare message has what its topic's have in common, and what the port knows of it.
func (it *item) about() *envelope.Meta {
	meta := &it.inside().meta
	if it.bare != nil && !it.read {
		it.read, *meta = true, *it.bare
		meta.ID, meta.Key, meta.At = it.id(), it.key(), it.d.FirstAt
		meta.CorrID = meta.ID
	}
	return meta
}

// body is the payload.
func (it *item) body() []byte {
	if it.bare != nil {
		return it.d.Message.Body
	}
	return it.inside().payload
}

// settle makes s what becomes of the message.
func (it *item) settle(s port.Settlement) {
	if it.outcome == nil {
		it.outcome = new(port.Settlement)
	}
	*it.outcome = s
	it.settlement = it.outcome
}

// verdict is that of the settlement.
func (it *item) verdict() port.Verdict {
	if it.settlement == nil {
		return port.Ack
	}
	return it.settlement.Verdict
}

// plain reports whether the settlement is an acknowledgement without a step.
func (it *item) plain() bool {
	return it.settlement == nil || it.settlement.Verdict == port.Ack && it.settlement.Then.IsZero()
}

// acknowledge makes the settlement an acknowledgement without a step.
func (it *item) acknowledge() {
	if it.settlement != nil {
		*it.outcome, it.settlement = port.Settlement{}, nil
	}
}

// forget lets go of what has the size of a message. The rest is written over when the next message is accepted, parsed and settled;
// the step keeps its turn.
func (it *item) forget() {
	it.d.Message.Body = nil
	if it.err != nil {
		it.err = nil
	}
	if it.read {
		it.read, *it.content = false, content{}
	}
	it.acknowledge()
	it.step.empty()
	it.ran, it.handled = false, false
	if it.buried != 0 || it.conflicts != 0 {
		it.buried, it.conflicts = 0, 0
	}
}

// enter is ctx for the handling of this message.
func (it *item) enter(ctx context.Context, worker string) context.Context {
	g := it.step.at
	place := envelope.Place{Topic: g.Topic, Group: g.Name, Worker: worker, Attempt: it.d.Attempt}
	meta := it.about()
	return envelope.Enter(ctx, *meta, place, g.Topic+"/"+g.Name+"/"+meta.ID)
}

// message is what middleware and handlers get.
func (it *item) message(worker string) Message[[]byte] {
	return Message[[]byte]{
		Envelope: envelope.Envelope[[]byte]{Meta: *it.about(), Payload: it.body()},
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
