package redis

import (
	"context"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// round is how often a topic is looked at. One process at a time does it, by a key that ends by itself.
const round = 3 * time.Second

// janitor trims the topics that this process has to do with.
type janitor struct {
	b    *Backend
	once sync.Once

	mu     sync.RWMutex
	topics map[string]bool
}

func newJanitor(b *Backend) *janitor { return &janitor{b: b, topics: map[string]bool{}} }

// know takes a topic on.
func (j *janitor) know(topic string) {
	j.mu.RLock()
	known := j.topics[topic]
	j.mu.RUnlock()
	if known {
		return
	}
	j.once.Do(func() { j.b.begin(j.run) })
	j.mu.Lock()
	defer j.mu.Unlock()
	j.topics[topic] = true
}

func (j *janitor) run() {
	t := time.NewTicker(round)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			j.sweep()
		case <-j.b.ctx.Done():
			return
		}
	}
}

func (j *janitor) sweep() {
	j.mu.RLock()
	topics := make([]string, 0, len(j.topics))
	for t := range j.topics {
		topics = append(topics, t)
	}
	j.mu.RUnlock()
	for _, t := range topics {
		won, err := j.turn(t)
		if err != nil {
			return // the server does not answer: the next round will do
		}
		if !won {
			continue
		}
		for more := true; more && err == nil; {
			_, more, err = j.b.trimSome(j.b.ctx, t)
		}
	}
}

// turn asks for this round of a topic.
func (j *janitor) turn(topic string) (won bool, err error) {
	if err := j.b.alive(j.b.ctx, "trim"); err != nil {
		return false, err
	}
	c := j.b.client
	set := c.B().Set().Key(j.b.space.janitor(topic)).Value(j.b.process).Nx().PxMilliseconds(port.Millis(round - round/10)).Build()
	m, err := c.Do(j.b.ctx, set).ToMessage()
	if m.IsNil() {
		return false, nil
	}
	return err == nil, j.b.fail(j.b.ctx, "trim", err, true)
}

// trim removes what may be removed, and reports whether that was anything.
func (b *Backend) trim(ctx context.Context, topic string) (any bool, err error) {
	for more := true; more && err == nil; {
		var some bool
		some, more, err = b.trimSome(ctx, topic)
		any = any || some
	}
	return any, err
}

// trimSome runs the script once, which removes up to 2,000 entries.
func (b *Backend) trimSome(ctx context.Context, topic string) (some, more bool, err error) {
	what := "trim topic " + topic
	groups, err := b.groups(ctx, what, topic)
	if err != nil {
		return false, false, err
	}
	m, err := b.run(ctx, what, b.scripts.trim, b.withGroups(topic, groups), groups)
	if err != nil {
		return false, false, err
	}
	if word(&m) == "changed" {
		return false, true, nil
	}
	r := reply{list: m}
	some, more = r.int() > 0, r.int() == 1
	return some, more, b.fail(ctx, what, r.err, true)
}
