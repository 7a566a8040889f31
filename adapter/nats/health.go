package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// Health asks for the stream.
func (b *Backend) Health(ctx context.Context) port.Health {
	start := time.Now()
	err := b.alive(ctx, "health")
	var info *streamInfo
	if err == nil {
		info, err = b.tellTime(ctx)
	}
	h := port.Health{State: port.Healthy, RoundTrip: time.Since(start)}
	if err != nil {
		h.State = port.Unavailable
		h.Details = []string{fmt.Sprintf("The namespace does not answer: %v.", b.fail(ctx, "health", err, false))}
		return h
	}
	say := func(format string, args ...any) {
		h.State = port.Degraded
		h.Details = append(h.Details, fmt.Sprintf(format, args...))
	}
	if info.Config.Storage != "file" {
		say("The stream %s is kept in memory, so all of it is lost when the server ends: make it anew with file storage.", b.space.stream)
	}
	if most := limit(info.Config.MaxBytes); most > 0 && info.State.Bytes > uint64(most)/10*9 {
		say("The stream %s uses %d of %d bytes and refuses writes when it is full: raise its limit, or let groups catch up.", b.space.stream, info.State.Bytes, most)
	}
	if b.host != nil && !b.host.synced() {
		say("The embedded server was opened Relaxed, so up to 2 minutes of what was acknowledged may be lost at a power cut.")
	}
	return h
}
