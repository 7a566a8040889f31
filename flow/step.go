package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Step is a handler's place between two topics. Where the backend's Caps.Atomic is AtomicFamily, both are of one family.
type Step[I, O any] struct {
	Name  string        // required; no dots
	In    bus.Topic[I]  // required
	Out   bus.Topic[O]  // required
	Group bus.Group     // how In is worked off; its Name is by default that of the step
	Keep  time.Duration // how long the record of a handled message is kept, and with it the message known; default 7 days
}

// Orchestrator is a step with its handler: a value, bound to no backend.
type Orchestrator[I, O any] struct {
	s Step[I, O]
	h Handler[I, O]
}

// New is the orchestrator of a step.
func New[I, O any](s Step[I, O], h Handler[I, O]) Orchestrator[I, O] { return Orchestrator[I, O]{s, h} }

// Run consumes In, handles, and emits to Out, until ctx ends and what was begun is settled: see bus.Topic.Subscribe. The output, the
// record of the handling and the acknowledgement are one step. A message that has a record is acknowledged unhandled, so that
// an id is worked off once within Step.Keep, by whatever way it comes again. [Do] and [Note] work as in a pipeline; the visit
// is the message.
func (o Orchestrator[I, O]) Run(ctx context.Context, b Backend) error {
	s := o.s
	bad := func(why string) error { return fmt.Errorf("step %q: %s: %w", s.Name, why, port.ErrInvalid) }
	switch {
	case checkPart("step", s.Name) != nil:
		return checkPart("step", s.Name)
	case o.h == nil:
		return bad("it has no handler")
	case s.Keep < 0:
		return bad(fmt.Sprintf("Keep %v is negative", s.Keep))
	case port.CheckName("topic", s.Out.Name) != nil:
		return fmt.Errorf("step %q: %w", s.Name, port.CheckName("topic", s.Out.Name))
	}
	s.Group.Name = cmp.Or(s.Group.Name, s.Name)
	s.Keep = cmp.Or(s.Keep, 7*24*time.Hour)
	raw := bus.Topic[[]byte]{Name: s.In.Name, Codec: envelope.Bytes{}, Keep: s.In.Keep}
	return raw.Subscribe(ctx, b, s.Group, func(ctx context.Context, m bus.Message[[]byte]) error {
		return Orchestrator[I, O]{s, o.h}.handle(ctx, b, m)
	})
}

// Record is the record of a message that the step has handled; port.ErrNotFound where there is none.
func (o Orchestrator[I, O]) Record(ctx context.Context, kv port.KV, message string) (Visit, error) {
	vs, err := kv.Get(ctx, o.key("step", message))
	if err != nil {
		return Visit{}, fmt.Errorf("step %q, message %q: %w", o.s.Name, message, err)
	}
	if !vs[0].Found {
		return Visit{}, fmt.Errorf("step %q, message %q: %w", o.s.Name, message, port.ErrNotFound)
	}
	var v Visit
	if err := json.Unmarshal(vs[0].Bytes, &v); err != nil {
		return v, fmt.Errorf("step %q, message %q: %w: %w", o.s.Name, message, port.ErrInvalid, err)
	}
	return v, nil
}

// key is the key of a message's record, or where its sub-steps begin. A long id would not fit.
func (o Orchestrator[I, O]) key(what, message string) string {
	if len(message) > port.MaxName {
		message = envelope.DeriveID(message)
	}
	return port.Family(o.s.In.Name) + "/" + what + "/" + o.s.Name + "/" + message
}

func (o Orchestrator[I, O]) handle(ctx context.Context, b Backend, m bus.Message[[]byte]) error {
	key := o.key("step", m.ID)
	vs, err := b.Get(ctx, key)
	switch {
	case away(err):
		return bus.Later(time.Second, err)
	case err != nil:
		return err
	case vs[0].Found:
		return nil
	}
	var in I
	if err := codec(o.s.In.Codec).Decode(m.Payload, &in); err != nil {
		return bus.Reject(fmt.Errorf("the input does not decode: %w", err))
	}
	if at, ok := envelope.PlaceFrom(ctx); ok {
		at.Phase = o.s.Name
		ctx = envelope.WithPlace(ctx, at)
	}
	sub := &scope{
		kv: b, prefix: o.key("do", m.ID) + "/", name: fmt.Sprintf("step %q, message %q", o.s.Name, m.ID), ttl: o.s.Keep, guard: key,
		still: func(v port.Value) error {
			if v.Found {
				return fmt.Errorf("message %q was handled elsewhere: %w", m.ID, port.ErrLost)
			}
			return nil
		},
	}
	v := Visit{
		Phase: o.s.Name, Visit: 1, Attempts: m.Attempt + 1, Worker: m.Worker, Queued: m.FirstAt.UTC(), Started: time.Now().UTC(),
		Input: digest(m.Payload), Error: clip(m.LastError),
	}
	out, err := o.h(within(ctx, sub), in)
	if err != nil {
		return err
	}
	v.Ended, v.Notes = time.Now().UTC(), sub.taken()
	return o.done(m, key, v, out)
}

func (o Orchestrator[I, O]) done(m bus.Message[[]byte], key string, v Visit, out O) error {
	payload, err := codec(o.s.Out.Codec).Append(nil, out)
	if err != nil {
		return bus.Reject(fmt.Errorf("the output does not encode: %w", err))
	}
	v.Output = digest(payload)
	value, err := json.Marshal(v)
	if err != nil {
		return bus.Reject(fmt.Errorf("the record does not encode: %w", err))
	}
	bus.Emit(m, o.s.Out, out)
	bus.Apply(m, port.Change{Key: key, Value: value, If: port.Absent, TTL: o.s.Keep})
	return nil
}

// codec is c or its default.
func codec[T any](c envelope.Codec[T]) envelope.Codec[T] {
	if c == nil {
		return envelope.JSON[T]{}
	}
	return c
}
