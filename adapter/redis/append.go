package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/musterhq/muster/port"
)

// mostAppended is how many messages the script of the most frequent steps takes.
const mostAppended = 500

// plainTopic is the topic of a step that is nothing but messages to one topic, for all groups and at once; "" for every other.
func plainTopic(b *port.Batch) string {
	if len(b.Messages) == 0 || len(b.Changes)+len(b.Removes) > 0 || !b.Fence.IsZero() {
		return ""
	}
	topic := b.Messages[0].Topic
	for i := range b.Messages {
		m := &b.Messages[i]
		if m.Topic != topic || m.Group != "" || !m.At.IsZero() {
			return ""
		}
	}
	return topic
}

// together are the IDs and the messages of steps that are all plain and of one topic, as append.lua takes them; nil when they are not.
func together(list []*writing) []string {
	if list[0].topic == "" {
		return nil
	}
	steps, messages := 0, 0
	for _, w := range list {
		if w.topic != list[0].topic {
			return nil
		}
		if w.batch.ID != "" {
			steps++
		}
		messages += len(w.blobs)
	}
	if messages > mostAppended {
		return nil
	}
	args := make([]string, 1, 1+steps+messages)
	args[0] = strconv.Itoa(steps)
	for _, w := range list {
		if w.batch.ID != "" {
			args = append(args, w.batch.ID)
		}
	}
	for _, w := range list {
		args = append(args, w.blobs...)
	}
	return args
}

// mostKeys is of how many topics the keys are kept, which cost more to make than all else around a step.
const mostKeys = 1024

// keys are those of append.lua for a topic. Nobody may change them.
func (g *gather) keys(family, topic string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := g.topics[topic]
	if keys == nil {
		keys = g.b.space.addTopic(g.b.space.addHead(make([]string, 0, 5+topicKeys), family), topic)
		if len(g.topics) >= mostKeys {
			clear(g.topics)
		}
		g.topics[topic] = keys
	}
	return keys
}

// appendAll writes plain steps by the script that is made for them, and answers them. False: it has done nothing, and they are to be
// written as all others, because a step or a message is known, the topic is new or full, or a delayed message is due in it.
func (g *gather) appendAll(ctx context.Context, family string, list []*writing) bool {
	args := together(list)
	if args == nil {
		return false
	}
	m, err := g.b.run(ctx, "write", g.b.scripts.append, g.keys(family, list[0].topic), args)
	if err == nil {
		var done int64
		if done, err = m.AsInt64(); err == nil && done == 0 {
			return false
		}
		if err != nil {
			err = fmt.Errorf("redis: write: %w: %w", port.ErrUncertain, err)
		}
	}
	if err != nil && len(list) > 1 && refusedWhole(err) {
		return false
	}
	for _, w := range list {
		if err == nil {
			g.b.counts.written.Add(int64(len(w.blobs)))
		}
		w.done <- err
	}
	return true
}
