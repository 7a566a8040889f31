package redis

import (
	"context"
	"fmt"
	"slices"
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
	topics map[string]error // what was wrong with the last round of each
}

func newJanitor(b *Backend) *janitor { return &janitor{b: b, topics: map[string]error{}} }

// know takes a topic on.
func (j *janitor) know(topic string) {
	j.mu.RLock()
	_, known := j.topics[topic]
	j.mu.RUnlock()
	if known {
		return
	}
	j.once.Do(func() { j.b.begin(j.run) })
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.topics[topic]; !known {
		j.topics[topic] = nil
	}
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
	start := time.Now()
	for _, t := range topics {
		err := j.tend(t)
		j.mu.Lock()
		j.topics[t] = err
		j.mu.Unlock()
		if j.b.ctx.Err() != nil || err != nil && time.Since(start) > round {
			return // it was closed, or the server is silent: the next round will do
		}
	}
}

// tend has one round of a topic, unless another process has it.
func (j *janitor) tend(topic string) error {
	won, err := j.turn(topic)
	if err != nil || !won {
		return err
	}
	cut := trimmed{more: true}
	for cut.more && err == nil {
		cut, err = j.b.trimSome(j.b.ctx, topic)
	}
	if err != nil {
		return err
	}
	note := j.b.client.B().Srem().Key(j.b.space.held()).Member(topic).Build()
	if cut.held != "" {
		note = j.b.client.B().Sadd().Key(j.b.space.held()).Member(topic).Build()
	}
	return j.b.fail(j.b.ctx, "trim topic "+topic, j.b.client.Do(j.b.ctx, note).Error(), true)
}

// troubles are sentences about topics that could not be trimmed in the last round.
func (j *janitor) troubles() []string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var out []string
	for topic, err := range j.topics {
		if err != nil {
			out = append(out, fmt.Sprintf("Topic %s was not brought within its limits: %v.", topic, err))
		}
	}
	slices.Sort(out)
	return out
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

// trim removes what may be removed, and reports whether a group keeps something that is over a limit.
func (b *Backend) trim(ctx context.Context, topic string) (kept bool, err error) {
	cut := trimmed{more: true}
	for cut.more && err == nil {
		cut, err = b.trimSome(ctx, topic)
	}
	return cut.kept, err
}

// trimmed is what came of one run of the script.
type trimmed struct {
	more bool   // there may be more to remove
	kept bool   // a group keeps something that is over a limit
	held string // the group that keeps what is over a limit while nobody has a message of it on loan
}

// trimSome runs the script once, which removes up to 2,000 entries and about 64 MiB.
func (b *Backend) trimSome(ctx context.Context, topic string) (trimmed, error) {
	what := "trim topic " + topic
	groups, err := b.groups(ctx, what, topic)
	if err != nil {
		return trimmed{}, err
	}
	m, err := b.run(ctx, what, b.scripts.trim, b.withGroups(topic, groups), groups)
	if err != nil {
		return trimmed{}, err
	}
	if word(&m) == "changed" {
		return trimmed{more: true}, nil
	}
	r := reply{list: m}
	cut := trimmed{more: r.int() == 1, kept: r.int() == 1, held: r.text()}
	return cut, b.fail(ctx, what, r.err, true)
}
