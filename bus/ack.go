package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

var (
	// ErrNoSubscribers answers a PublishWithAck that nobody who serves saw.
	ErrNoSubscribers = errors.New("no subscribers")
	// ErrAckTimeout answers a PublishWithAck that too few acknowledged in time.
	ErrAckTimeout = errors.New("acknowledgements missing")
)

// Ack is what one who serves a channel answered.
type Ack struct {
	Subscriber string
	Err        error // nil: its handler returned nil; else the text of its error: it refused
}

// headerReply names the channel on which acknowledgements are awaited.
const headerReply = "muster-reply"

// answer is one acknowledgement on the wire: first that a message was seen, then what came of it.
type answer struct {
	Subscriber string `json:"subscriber"`
	Done       bool   `json:"done"`
	Refused    bool   `json:"refused,omitempty"`
	Error      string `json:"error,omitempty"`
}

var answers = Channel[answer]{Name: "_ack", Type: "muster.ack"}

// PublishWithAck sends v to those who listen now and waits until want of those who [Channel.Serve] have acknowledged it: their
// handlers returned nil. It returns who answered, also those who refused, and the answers beside an error: [ErrAckTimeout] when
// fewer than want acknowledged within timeout, [ErrNoSubscribers] when by then nobody had even seen it. Want and timeout must be
// positive.
func (c Channel[T]) PublishWithAck(ctx context.Context, s port.Signals, v T, want int, timeout time.Duration) ([]Ack, error) {
	if want < 1 || timeout <= 0 {
		return nil, fmt.Errorf("publish on channel %q: want %d and timeout %v must be positive: %w", c.Name, want, timeout, port.ErrInvalid)
	}
	ctx, end := context.WithTimeoutCause(ctx, timeout, ErrAckTimeout)
	defer end()
	reply := answers
	reply.Name += "." + envelope.NewID()
	heard, err := reply.Listen(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := c.publish(ctx, s, v, map[string]string{headerReply: reply.Name}); err != nil {
		return nil, err
	}
	var acks []Ack
	seen, done := make(map[string]bool), 0
	for e, err := range heard {
		if errors.Is(err, port.ErrGap) || errors.Is(err, port.ErrInvalid) {
			continue // a missing acknowledgement is told by the timeout
		}
		if err != nil {
			return acks, err
		}
		a := e.Payload
		seen[a.Subscriber] = true
		if !a.Done || answered(acks, a.Subscriber) {
			continue
		}
		ack := Ack{Subscriber: a.Subscriber}
		if a.Refused {
			ack.Err = errors.New(a.Error)
		} else {
			done++
		}
		if acks = append(acks, ack); done >= want {
			return acks, nil
		}
	}
	switch cause := context.Cause(ctx); {
	case !errors.Is(cause, ErrAckTimeout):
		return acks, fmt.Errorf("publish on channel %q: %w", c.Name, cause)
	case len(seen) == 0:
		return nil, fmt.Errorf("publish on channel %q: nobody who serves saw it within %v: %w", c.Name, timeout, ErrNoSubscribers)
	default:
		return acks, fmt.Errorf("publish on channel %q: %d of %d acknowledged within %v: %w", c.Name, done, want, timeout, ErrAckTimeout)
	}
}

func answered(acks []Ack, subscriber string) bool {
	for _, a := range acks {
		if a.Subscriber == subscriber {
			return true
		}
	}
	return false
}

// maxServed is how many messages wait for the handler of Serve; those beyond are refused.
const maxServed = 1024

// Serve listens and runs h for each message, one after the other, until ctx ends; then it returns nil. To a publisher who asks,
// it tells that the message was seen, at its receipt, and after h returned, what came of it. A panic of h is a refusal. What
// arrives while 1,024 messages wait is refused; a gap is logged. Errors are those of [port.Signals].Listen.
func (c Channel[T]) Serve(ctx context.Context, s port.Signals, h func(context.Context, envelope.Envelope[T]) error) error {
	heard, err := c.Listen(ctx, s)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	me := server[T]{signals: s, name: unique(hostPID()), work: make(chan envelope.Envelope[T], maxServed)}
	ctx, stop := context.WithCancel(ctx)
	me.handling.Go(func() { me.handle(ctx, h) })
	err = me.receive(ctx, c.Name, heard)
	stop()
	close(me.work)
	me.handling.Wait()
	return err
}

// server is one call of Serve.
type server[T any] struct {
	signals  port.Signals
	name     string
	work     chan envelope.Envelope[T]
	handling sync.WaitGroup
}

func (s *server[T]) receive(ctx context.Context, channel string, heard func(func(envelope.Envelope[T], error) bool)) error {
	for e, err := range heard {
		switch {
		case errors.Is(err, port.ErrGap), errors.Is(err, port.ErrInvalid):
			slog.WarnContext(ctx, "something on the channel was missed", "channel", channel, "error", err)
		case err != nil:
			return err
		default:
			s.answer(ctx, e, answer{})
			select {
			case s.work <- e:
			default:
				s.answer(ctx, e, answer{Done: true, Refused: true, Error: "too many messages wait"})
			}
		}
	}
	return nil
}

func (s *server[T]) handle(ctx context.Context, h func(context.Context, envelope.Envelope[T]) error) {
	for e := range s.work {
		if ctx.Err() != nil {
			continue // the publisher learns by its timeout that nobody handled it
		}
		s.handle1(ctx, e, h)
	}
}

// handle1 handles one message. Where the handler ends the goroutine, another one goes on.
func (s *server[T]) handle1(ctx context.Context, e envelope.Envelope[T], h func(context.Context, envelope.Envelope[T]) error) {
	err := errGoexit
	returned := false
	defer func() {
		a := answer{Done: true}
		if err != nil {
			a.Refused, a.Error = true, toValid(err.Error())
		}
		s.answer(ctx, e, a)
		if !returned {
			s.handling.Go(func() { s.handle(ctx, h) })
		}
	}()
	err = guarded(func() error { return h(envelope.With(ctx, e.Meta), e) })
	returned = true
}

// answerTime is how long an answer may take, also when the serving ends.
const answerTime = 5 * time.Second

// answer tells the publisher, if it asked. That it fails is told to the publisher by its timeout, and here by a log line.
func (s *server[T]) answer(ctx context.Context, e envelope.Envelope[T], a answer) {
	reply := answers
	if reply.Name = e.Headers[headerReply]; reply.Name == "" {
		return
	}
	a.Subscriber = s.name
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer end()
	if err := reply.Publish(envelope.With(ctx, e.Meta), s.signals, a); err != nil {
		slog.WarnContext(ctx, "an acknowledgement could not be sent", "channel", reply.Name, "error", err)
	}
}
