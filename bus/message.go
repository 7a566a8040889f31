package bus

import (
	"context"
	"time"

	"github.com/musterhq/muster/envelope"
)

// Message is what a handler gets. It is valid until the handler returns.
type Message[T any] struct {
	envelope.Envelope[T]
	Delivery
	step *step
	turn turn // this handling
}

// become makes m, which was another one's message or none's, that of an item, all but its payload. What is as it was is not written:
// a write costs more than a look.
func (m *Message[T]) become(it *item, worker string) {
	to, from := &m.Meta, it.bare
	if from != nil {
		to.ID = it.id()
		to.CorrID, to.At = to.ID, it.d.FirstAt
		set(&to.Key, it.key())
	} else {
		from = &it.inside().meta
		to.ID, to.At = from.ID, from.At
		set(&to.CorrID, from.CorrID)
		set(&to.Key, from.Key)
	}
	set(&to.Type, from.Type)
	set(&to.CauseID, from.CauseID)
	set(&to.Tenant, from.Tenant)
	set(&to.Source, from.Source)
	set(&to.ContentType, from.ContentType)
	to.Attempts = from.Attempts
	set(&to.LastError, from.LastError)
	if to.Headers != nil || from.Headers != nil {
		to.Headers = from.Headers
	}
	if to.Extra != nil || from.Extra != nil {
		to.Extra = from.Extra
	}
	d, g := &m.Delivery, it.step.at
	set(&d.Topic, g.Topic)
	set(&d.Group, g.Name)
	set(&d.Worker, worker)
	set(&d.LastError, it.d.Reason)
	d.Attempt, d.Crashes, d.FirstAt = it.d.Attempt, it.d.Crashes, it.d.FirstAt
	m.step, m.turn.n = &it.step, it.step.turn.n
	if m.turn.gate != it.step.turn.gate {
		m.turn.gate = it.step.turn.gate
	}
}

// leave lets go of what is m's own.
func (m *Message[T]) leave() {
	var none T
	m.ID, m.Payload, m.step = "", none, nil
	set(&m.CorrID, "")
	set(&m.CauseID, "")
	set(&m.Key, "")
	set(&m.Meta.LastError, "")
	set(&m.Delivery.LastError, "")
	if m.Headers != nil || m.Extra != nil {
		m.Headers, m.Extra = nil, nil
	}
}

func set(to *string, s string) {
	if *to != s {
		*to = s
	}
}

// Delivery tells how the message came here.
type Delivery struct {
	Topic, Group, Worker string
	Attempt              int       // failures so far; 0 is the first try
	Crashes              int       // workers that died while they handled it
	LastError            string    // of the last failure; default none
	FirstAt              time.Time // when it became available to the group
}

// Handler handles one message. Its error is the verdict: see the package's comment.
type Handler[T any] func(ctx context.Context, m Message[T]) error

// BatchHandler handles several messages at once. It returns nil when all are done, or one verdict for each, in order.
type BatchHandler[T any] func(ctx context.Context, ms []Message[T]) []error

// Middleware goes around a handler. It sees messages before their payload is decoded, and every verdict.
type Middleware func(next Handler[[]byte]) Handler[[]byte]
