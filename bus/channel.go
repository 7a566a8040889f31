package bus

import (
	"context"
	"fmt"
	"iter"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Channel is the definition of a live channel: what is published reaches those who listen now, at most once, and nobody else.
// What must not be lost goes through a [Topic].
type Channel[T any] struct {
	Name  string            // required
	Type  string            // of the messages on the wire; default Name
	Codec envelope.Codec[T] // default envelope.JSON[T]
}

// Publish sends v to those who listen now. That nobody does is not an error. Errors are those of [port.Signals].Signal, and
// port.ErrInvalid for a payload that cannot be encoded.
func (c Channel[T]) Publish(ctx context.Context, s port.Signals, v T) error {
	return c.publish(ctx, s, v, nil)
}

func (c Channel[T]) publish(ctx context.Context, s port.Signals, v T, headers map[string]string) error {
	like := Topic[T]{Name: c.Name, Type: c.Type, Codec: c.Codec}
	meta := envelope.Derive(ctx, like.meta(&Out[T]{Payload: v, Headers: headers}))
	var wire room
	if err := encode(&wire, like.codec(), meta, v); err != nil {
		return fmt.Errorf("publish on channel %q: %w: %w", c.Name, port.ErrInvalid, err)
	}
	if err := s.Signal(ctx, c.Name, wire.bytes); err != nil {
		return fmt.Errorf("publish on channel %q: %w", c.Name, err)
	}
	return nil
}

// Listen yields what is published from now on. It is live when it returns, and for one use. port.ErrGap says that something was
// missed, port.ErrInvalid that something did not decode; both are followed by more. Any other error is the last item. The
// sequence ends without an error when ctx ends.
func (c Channel[T]) Listen(ctx context.Context, s port.Signals) (iter.Seq2[envelope.Envelope[T], error], error) {
	if err := port.CheckName("channel", c.Name); err != nil {
		return nil, err
	}
	signals, err := s.Listen(ctx, c.Name)
	if err != nil {
		return nil, fmt.Errorf("listen on channel %q: %w", c.Name, err)
	}
	codec := Topic[T]{Codec: c.Codec}.codec()
	return func(yield func(envelope.Envelope[T], error) bool) {
		for signal, err := range signals {
			var e envelope.Envelope[T]
			if err != nil {
				err = fmt.Errorf("channel %q: %w", c.Name, err)
			} else if e, err = opened(codec, signal.Payload); err != nil {
				err = fmt.Errorf("channel %q: %w: %w", c.Name, port.ErrInvalid, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// opened is the envelope on the wire with its payload decoded.
func opened[T any](c envelope.Codec[T], wire []byte) (e envelope.Envelope[T], err error) {
	meta, payload, err := envelope.Parse(wire)
	if err != nil {
		return e, err
	}
	e.Meta = meta
	if err := c.Decode(payload, &e.Payload); err != nil {
		return e, fmt.Errorf("payload of %q: %w", meta.ID, err)
	}
	return e, nil
}
