package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/musterhq/muster/port"
)

// Read returns at most 500 entries, and about 4 MiB.
func (b *Backend) Read(ctx context.Context, r port.Range) ([]port.Stored, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	what := "read topic " + r.Topic
	from, p, ok := placed(r.After)
	if !ok {
		return nil, fmt.Errorf("redis: %s: %q is no offset of this topic: %w", what, r.After, port.ErrGap)
	}
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	var out []port.Stored
	keys := b.topicKeys(r.Topic)
	err := b.await(ctx, r.Topic, time.Now().Add(r.Wait), func(channel string) (bool, int64, error) {
		args := []string{from, p.era, p.ms, p.n, strconv.Itoa(min(r.Max, mostMessages)), strconv.Itoa(mostBytes), channel}
		m, err := b.run(ctx, "", b.scripts.read, keys, args)
		if err != nil {
			return true, -1, err
		}
		if word(&m) == "gap" {
			return true, -1, fmt.Errorf("after %q: what followed was trimmed, or the offset is of another log: %w", r.After, port.ErrGap)
		}
		a := reply{list: m}
		from, p = a.text(), place{a.text(), a.text(), a.text()}
		due := a.int()
		for a.more() {
			out = append(out, entryOf(&a, r.Topic, p.era))
		}
		if a.err != nil {
			return true, -1, fmt.Errorf("%w: %w", port.ErrUnavailable, a.err)
		}
		return len(out) > 0, due, nil
	})
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", what, err)
	}
	return out, nil
}

func entryOf(r *reply, topic, era string) port.Stored {
	id, value := r.text(), r.stored()
	if r.err != nil {
		return port.Stored{}
	}
	p, err := entry(era, id)
	r.note(err)
	at, err := millis(p.ms)
	r.note(err)
	out := port.Stored{Offset: p.offset(), At: at}
	r.note(value.unpack(topic, func(m port.Message, _ string) bool {
		out.Message = m
		return true
	}))
	return out
}
