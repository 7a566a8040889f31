package bus

import (
	"context"
	"log/slog"
	"time"
)

// Logged is middleware that writes one line for each message at debug level: its verdict and how long the handler took. The line
// carries the correlation. It costs nothing to speak of while the level is off.
func Logged(log *slog.Logger) Middleware {
	return func(next Handler[[]byte]) Handler[[]byte] {
		return func(ctx context.Context, m Message[[]byte]) error {
			if !log.Enabled(ctx, slog.LevelDebug) {
				return next(ctx, m)
			}
			start := time.Now()
			err := next(ctx, m)
			log.LogAttrs(ctx, slog.LevelDebug, "handled",
				slog.String("id", m.ID), slog.String("topic", m.Topic), slog.String("group", m.Group),
				slog.Int("attempt", m.Attempt), slog.Duration("took", time.Since(start)), slog.Any("error", err))
			return err
		}
	}
}
