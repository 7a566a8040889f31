package port

import (
	"context"
	"fmt"
	"iter"
)

// Signals are live and at most once: they reach those who listen now, and nobody else. What must not be lost goes through a
// [Queue].
type Signals interface {
	// Signal sends payload to everyone who listens to channel at this moment. That nobody does is not an error.
	Signal(ctx context.Context, channel string, payload []byte) error

	// Listen is live when it returns: what is signalled from then on is yielded, once, however many of the patterns
	// match it, and in the order in which one sender sent it. Patterns are globs (see [Match]); at least one is required.
	//
	// The sequence is for one use. It buffers for a slow loop; when the buffer overflows, or the connection broke, it
	// yields [ErrGap] at that place and goes on. Any other error is the last item. The sequence ends without an error when
	// ctx ends, and with [ErrClosed] when the backend is closed. Leaving the loop, or the end of ctx, frees what it holds.
	Listen(ctx context.Context, patterns ...string) (iter.Seq2[Signal, error], error)
}

// Signal is one live message.
type Signal struct {
	Channel string
	Payload []byte
}

// CheckSignal answers [ErrInvalid] for a channel that is no name or a payload over c.MaxBody, and [ErrUnsupported] where there
// are no live signals.
func CheckSignal(c Caps, channel string, payload []byte) error {
	if !c.LiveSignals {
		return fmt.Errorf("signal on channel %q: %s has no live signals: %w", channel, c.Name, ErrUnsupported)
	}
	if err := CheckName("channel", channel); err != nil {
		return err
	}
	return checkSize(c, "payload for channel "+brief(channel), payload)
}

// CheckListen answers [ErrInvalid] for no pattern or one that is malformed, and [ErrUnsupported] where there are no live
// signals.
func CheckListen(c Caps, patterns []string) error {
	if !c.LiveSignals {
		return fmt.Errorf("listen: %s has no live signals: %w", c.Name, ErrUnsupported)
	}
	if len(patterns) == 0 {
		return fmt.Errorf("listen: no pattern given; use \"*\" for every channel: %w", ErrInvalid)
	}
	for _, p := range patterns {
		if err := CheckPattern(p); err != nil {
			return err
		}
	}
	return nil
}
