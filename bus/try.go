package bus

import (
	"context"

	"github.com/musterhq/muster/port"
)

// Try runs a handler once, for a message that no backend holds: what it would emit, apply and save with the acknowledgement, and
// its verdict. The step is the zero Batch when the verdict is an error. A panic of the handler goes through.
func Try[T any](ctx context.Context, h Handler[T], m Message[T]) (effects port.Batch, verdict error) {
	m.step = &step{in: &m.Meta, at: &port.Group{Topic: m.Topic, Name: m.Group}}
	m.turn = turn{gate: &gate{}, n: 1}
	m.turn.gate.open.Store(m.turn.n)
	verdict = h(ctx, m)
	m.turn.gate.open.Store(0)
	m.step.close()
	if verdict == nil && m.step.failed() != nil {
		verdict = Reject(m.step.failed())
	}
	if verdict != nil {
		return port.Batch{}, verdict
	}
	return m.step.gathers().batch, nil
}
