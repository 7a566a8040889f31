package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/redis/rueidis"

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
	publish := b.client.B().Publish().Channel(b.space.signal(channel)).Message(rueidis.BinaryString(payload)).Build()
	if err := b.client.Do(ctx, publish).Error(); err != nil {
		return b.fail(ctx, "signal on channel "+channel, err, true)
	}
	b.counts.signals.Add(1)
	return nil
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
