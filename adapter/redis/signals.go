package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/musterhq/muster/port"
)

// Signal publishes; the server drops listeners that are too slow for it, and they are told so by [port.ErrGap].
func (b *Backend) Signal(ctx context.Context, channel string, payload []byte) error {
	if err := port.CheckSignal(b.caps, channel, payload); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if err := b.alive(ctx, "signal"); err != nil {
		return err
	}
	if err := b.publish(ctx, "signal on channel "+channel, b.space.signal(channel), string(payload)); err != nil {
		return err
	}
	b.counts.signals.Add(1)
	return nil
}

// publish goes to one node of a cluster for all of a namespace, and that is the one which has its families: sent to several, signals
// of one sender would overtake each other.
func (b *Backend) publish(ctx context.Context, what, channel, payload string) error {
	if b.clustered() {
		_, err := b.run(ctx, what, b.scripts.signal, []string{b.space.families()}, []string{channel, payload})
		return err
	}
	err := b.pipeline.do(ctx, channel, b.client.B().Publish().Channel(channel).Message(payload).Build()).Error()
	return b.fail(ctx, what, err, true)
}

// Listen shares one connection with all that listens in this backend. It buffers 4,096 signals.
func (b *Backend) Listen(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error) {
	if err := port.CheckListen(b.caps, patterns); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	l := &listener{logical: patterns}
	for _, p := range patterns {
		if p = coarse(p); !slices.Contains(l.coarse, p) {
			l.coarse = append(l.coarse, p)
			l.patterns = append(l.patterns, b.space.signal(p))
		}
	}
	return b.listen(ctx, "listen", l)
}

// coarse is a pattern that matches at least what p does, and means the same to the server and to port.Match: sets, which they
// read differently, become any one byte.
func coarse(p string) string {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			out = append(out, p[i], p[i+1])
			i++
		case '[':
			for i++; p[i] != ']'; i++ {
				if p[i] == '\\' {
					i++
				}
			}
			out = append(out, '?')
		default:
			out = append(out, p[i])
		}
	}
	return string(out)
}
