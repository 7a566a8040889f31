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
	turn uint64 // of the step: which handling this is
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
