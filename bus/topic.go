package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// Topic is the definition of a topic: a value, bound to no backend.
type Topic[T any] struct {
	Name string // required
	Type string // of the messages on the wire; default Name
	// Key is what a message is about; default none. Messages of one key are handled one at a time within a process, in the order of
	// the log, up to the first failure (or [Later]): that one comes again after its wait, and with it those behind it that were
	// fetched, in their order as far as one Fetch brings them. What was not fetched yet may come before them. Between processes
	// there is no order.
	Key   func(T) string
	Codec envelope.Codec[T] // default envelope.JSON[T]
	Keep  port.Topic        // limits to declare at the first use; its Name is ignored; default as the topic is
	// Bare makes the body the payload alone, as other programs write and read it. No envelope travels then: a message has its ID
	// (after a redrive <id>~<offset>), its key and the time at which it became available, is the root of its own correlation, and
	// Tenant and Headers of [Out] are port.ErrInvalid. It costs less than half. Default false.
	Bare bool
}

// Out is a message to be: what is published or emitted when the payload is not all of it.
type Out[T any] struct {
	Payload T
	ID      string            // default a new UUIDv7; of an emitted message, one derived from its input
	Key     string            // default that of Topic.Key
	Tenant  string            // default that of the message being handled
	Headers map[string]string // default none but the trace of the message being handled
	At      time.Time         // not to be handled before; default now
}

// Publish appends v to the topic and returns the message's id. Once it returns nil, every group that exists will handle the
// message, as far as the backend's Caps.Durable reaches. Under a handler's context the message belongs to the one that is handled
// (its correlation, cause, tenant and trace); it does not wait for the acknowledgement: see [Emit] for that.
//
// A step whose outcome is unknown is repeated a few times, which doubles nothing. One that stays unknown is [port.ErrUncertain];
// publishing again with the same [Out].ID within the topic's window is then safe. Errors are those of [port.Queue].Write, and
// port.ErrInvalid for a payload that cannot be encoded.
func (t Topic[T]) Publish(ctx context.Context, q port.Queue, v T) (id string, err error) {
	ids, err := t.PublishAll(ctx, q, Out[T]{Payload: v})
	if len(ids) == 1 {
		id = ids[0]
	}
	return id, err
}

// PublishAll appends messages in order, in steps of at most [port.MaxParts], each whole or not at all. It returns the ids of all
// that were appended or known already, also beside an error: then those after them were not published. An id that was known in
// the topic's window is left out, and beside all ids a [port.DuplicateError] names it, as far as the answer to the step arrived.
func (t Topic[T]) PublishAll(ctx context.Context, q port.Queue, out ...Out[T]) (ids []string, err error) {
	if err := t.declare(ctx, q); err != nil {
		return nil, err
	}
	var repeated []string
	for len(out) > 0 {
		n := min(len(out), port.MaxParts)
		leaving := newParcel(n)
		names, err := t.fill(ctx, leaving, out[:n])
		if err != nil {
			return ids, err
		}
		step := port.Batch{Messages: leaving.messages}
		if n == 1 && out[0].ID == "" {
			step.ID = names[0] // nobody else has it: one record does for both
		}
		err = write(ctx, q, step)
		leaving.done(err)
		if dup, ok := errors.AsType[*port.DuplicateError](err); ok {
			repeated = append(repeated, dup.IDs...)
		} else if err != nil {
			return ids, fmt.Errorf("publish to topic %q: %w", t.Name, err)
		}
		if ids == nil {
			ids = names
		} else {
			ids = append(ids, names...)
		}
		out = out[n:]
	}
	if len(repeated) > 0 {
		return ids, &port.DuplicateError{IDs: repeated}
	}
	return ids, nil
}

// names are the ids of the messages to be: those that are given, and new ones.
func names[T any](out []Out[T]) []string {
	if len(out) == 1 {
		if out[0].ID != "" {
			return []string{out[0].ID}
		}
		return []string{envelope.NewID()}
	}
	nameless := 0
	for i := range out {
		if out[i].ID == "" {
			nameless++
		}
	}
	fresh := envelope.NewIDs(nameless)
	if nameless == len(out) {
		return fresh
	}
	list := make([]string, len(out))
	for i := range out {
		if list[i] = out[i].ID; list[i] == "" {
			list[i], fresh = fresh[0], fresh[1:]
		}
	}
	return list
}

// fill makes a message of each out, and returns their ids.
func (t *Topic[T]) fill(ctx context.Context, p *parcel, out []Out[T]) ([]string, error) {
	list := names(out)
	codec := t.codec()
	if err := port.CheckName("topic", t.Name); err != nil {
		return nil, err
	}
	for i := range out {
		var err error
		if t.Bare {
			err = bareMessage(&p.messages[i], &p.bodies, t, codec, list[i], &out[i])
		} else {
			meta := t.meta(&out[i])
			meta.ID = list[i]
			err = enveloped(&p.messages[i], &p.bodies, t, codec, envelope.Derive(ctx, meta), &out[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// write makes one step, under a new ID where it has none. While its outcome is unknown it is repeated a few times: its ID makes that safe, also where the IDs of its
// messages are not known for any time. Every other error is left to the caller, so that no second layer of retries grows here.
func write(ctx context.Context, q port.Queue, b port.Batch) error {
	if b.ID == "" {
		b.ID = envelope.NewID()
	}
	err := q.Write(ctx, b)
	if !errors.Is(err, port.ErrUncertain) {
		return err
	}
	policy := retry.Policy{Backoff: retry.Backoff{Tries: 3, First: 20 * time.Millisecond}}
	inVain := retry.Do(ctx, policy, func(ctx context.Context) error {
		if err = q.Write(ctx, b); errors.Is(err, port.ErrUncertain) {
			return err
		}
		return nil
	})
	switch {
	case inVain != nil:
		return inVain
	case errors.Is(err, port.ErrUnavailable): // not wrapped: it says nothing about the tries before
		return fmt.Errorf("%w: the first try may have been carried out: %s", port.ErrUncertain, err.Error())
	case errors.Is(err, port.ErrClosed), err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: the first try may have been carried out: %w", port.ErrUncertain, err)
	default:
		return err
	}
}

func (t Topic[T]) declare(ctx context.Context, q port.Queue) error {
	keep, ok := t.keep()
	if !ok {
		return nil
	}
	if err := q.Declare(ctx, keep); err != nil {
		return fmt.Errorf("declare topic %q: %w", t.Name, err)
	}
	return nil
}

// keep is what to declare; false when the definition leaves the topic as it is.
func (t Topic[T]) keep() (port.Topic, bool) {
	keep := t.Keep
	keep.Name = ""
	ok := keep != port.Topic{}
	keep.Name = t.Name
	return keep, ok
}

func (t Topic[T]) codec() envelope.Codec[T] {
	if t.Codec == nil {
		return envelope.JSON[T]{}
	}
	return t.Codec
}

// meta is what the definition and out say about a message; the rest is derived from where it is made.
func (t Topic[T]) meta(out *Out[T]) envelope.Meta {
	m := envelope.Meta{ID: out.ID, Type: t.Type, Tenant: out.Tenant, Key: out.Key, Headers: out.Headers}
	if m.Type == "" {
		m.Type = t.Name
	}
	if m.Key == "" && t.Key != nil {
		m.Key = t.Key(out.Payload)
	}
	m.ContentType = t.codec().ContentType()
	return m
}

// message encodes out under m.
func (t Topic[T]) message(m *envelope.Meta, out *Out[T]) (port.Message, error) {
	if err := port.CheckName("topic", t.Name); err != nil {
		return port.Message{}, err
	}
	var msg port.Message
	var own room
	if t.Bare {
		return msg, bareMessage(&msg, &own, &t, t.codec(), m.ID, out)
	}
	return msg, enveloped(&msg, &own, &t, t.codec(), *m, out)
}

// bareMessage makes msg the message of a bare topic whose codec is c, with its body in r. It takes t by its place: it is called for
// each of many.
func bareMessage[T any](msg *port.Message, r *room, t *Topic[T], c envelope.Codec[T], id string, out *Out[T]) error {
	if out.Tenant != "" || len(out.Headers) > 0 {
		return fmt.Errorf("message for topic %q: a bare message carries no tenant and no headers: %w", t.Name, port.ErrInvalid)
	}
	start := len(r.bytes)
	var err error
	if r.bytes, err = c.Append(r.bytes, out.Payload); err != nil {
		return fmt.Errorf("message for topic %q: %w: %w", t.Name, port.ErrInvalid, err)
	}
	key := out.Key
	if key == "" && t.Key != nil {
		key = t.Key(out.Payload)
	}
	fillIn(msg, t.Name, id, key, r.from(start), out.At)
	return nil
}

// enveloped makes msg the message of a topic whose codec is c, with the envelope m, in r.
func enveloped[T any](msg *port.Message, r *room, t *Topic[T], c envelope.Codec[T], m envelope.Meta, out *Out[T]) error {
	start := len(r.bytes)
	if err := encode(r, c, m, out.Payload); err != nil {
		return fmt.Errorf("message for topic %q: %w: %w", t.Name, port.ErrInvalid, err)
	}
	fillIn(msg, t.Name, m.ID, m.Key, r.from(start), out.At)
	return nil
}

// bare is what the messages of a bare topic have in common; nil for a topic with envelopes.
func (t Topic[T]) bare() *envelope.Meta {
	if !t.Bare {
		return nil
	}
	m := t.meta(&Out[T]{Key: "none"})
	m.Key = ""
	return &m
}

// encode appends the wire form of v under m to what is in r.
func encode[T any](r *room, c envelope.Codec[T], m envelope.Meta, v T) error {
	if raw, ok := any(&v).(*[]byte); ok {
		if _, plain := any(c).(envelope.Bytes); plain {
			return r.envelope(m, *raw)
		}
	}
	payload, err := c.Append(r.payload[:0], v)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	r.payload = payload
	return r.envelope(m, payload)
}
