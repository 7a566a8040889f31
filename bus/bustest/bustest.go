// Package bustest is for the tests of handlers: one call of a handler without a backend, and the crash matrix, which cuts the
// worker at every operation of a run and shows what is left after recovery. It imports testing; bus does not.
//
// What may not enter: another way to subscribe. What is tested is what runs.
package bustest

import (
	"context"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Result is what one call of a handler came to.
type Result struct {
	Batch port.Batch // what it emitted, applied and saved; zero when Err is not nil
	Err   error      // the verdict
}

// Handle calls h once, without a backend, for a message of topic "test" and group "test" with the payload v. The message takes
// correlation and tenant from ctx, and its context is what a handler gets.
func Handle[T any](ctx context.Context, h bus.Handler[T], v T) Result {
	meta := envelope.Derive(ctx, envelope.Meta{Type: "test"})
	m := bus.Message[T]{
		Envelope: envelope.Envelope[T]{Meta: meta, Payload: v},
		Delivery: bus.Delivery{Topic: "test", Group: "test", Worker: "test", FirstAt: meta.At},
	}
	place := envelope.Place{Topic: m.Topic, Group: m.Group, Worker: m.Worker}
	batch, err := bus.Try(envelope.Enter(ctx, meta, place, "test/test/"+meta.ID), h, m)
	return Result{Batch: batch, Err: err}
}
