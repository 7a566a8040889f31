package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

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

// named reports whether a step is one plain message, and has its ID: then one record of the two will do, where the topic remembers long
// enough.
func (w *writing) named() bool {
	return w.topic != "" && len(w.batch.Messages) == 1 && w.batch.ID == w.batch.Messages[0].ID
}

// id is the ID of the step as it lies on the server.
func (w *writing) id() string {
	if w.named() {
		return ofMessage(w.topic) + short(w.batch.ID)
	}
	return short(w.batch.ID)
}

// ofMessage is in front of the ID of a step that is its message's. No other ID begins like that: behind literal is another mark.
func ofMessage(topic string) string {
	return string([]byte{literal, named}) + strconv.Itoa(len(topic)) + ":" + topic
}

// together are the IDs and the messages of steps that are all plain and of one topic, as append.lua takes them; nil when not all are of the
// first one's topic, or an ID is there twice. Lasting says that the topic remembers the IDs of messages for as long as those of steps.
func (s *sheet) together(list []*writing, lasting bool) []string {
	messages := 0
	for _, w := range list {
		if w.topic != list[0].topic {
			return nil
		}
		messages += len(w.blobs)
	}
	if messages > mostAppended {
		return nil
	}
	args := append(s.args[:0], "", "0")
	for _, w := range list {
		switch {
		case w.batch.ID == "":
		case lasting && w.named():
			args[1] = "1"
		default:
			args = append(args, w.id())
		}
	}
	args[0] = strconv.Itoa(len(args) - 2)
	if messages == 1 {
		s.args = append(args, list[0].blobs...)
		return s.args
	}
	if !distinct(args[2:]) {
		return nil
	}
	s.packing = packing{blobs: s.blobs[:0], ids: s.ids[:0], room: s.room[:0]}
	for _, w := range list {
		s.add(w.blobs)
	}
	if !distinct(s.ids) {
		return nil
	}
	s.args = s.packing.args(args)
	return s.args
}

// sheet is memory for the arguments of one script.
type sheet struct {
	args []string
	packing
}

var sheets sync.Pool // of *sheet, with nothing in them

func newSheet() *sheet {
	if s, ok := sheets.Get().(*sheet); ok {
		return s
	}
	return &sheet{}
}

// over lets go of a sheet whose script was answered.
func (s *sheet) over() {
	if cap(s.room) <= 4*mostKept {
		clear(s.args)
		clear(s.blobs)
		clear(s.ids)
		sheets.Put(s)
	}
}

// mostKeys is of how many topics the keys are kept, which cost more to make than all else around a step.
const mostKeys = 1024

// target is a topic that append.lua writes to.
type target struct {
	keys    []string // nobody may change them
	lasting atomic.Bool
}

func (g *gather) target(family, topic string) *target {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.topics[topic]
	if t == nil {
		t = &target{keys: g.b.space.addTopic(g.b.space.addHead(make([]string, 0, 5+topicKeys), family), topic)}
		if len(g.topics) >= mostKeys {
			clear(g.topics)
		}
		g.topics[topic] = t
	}
	return t
}

// appendAll writes plain steps by the script that is made for them, and answers them. False: it has done nothing, and they are to be
// written as all others, because a step or a message is known, the topic is new or full, or a delayed message is due in it.
func (g *gather) appendAll(ctx context.Context, family string, list []*writing) bool {
	if list[0].topic == "" {
		return false
	}
	t := g.target(family, list[0].topic)
	lasting := t.lasting.Load()
	s := newSheet()
	args := s.together(list, lasting)
	if args == nil {
		return false
	}
	m, err := g.b.run(ctx, "write", g.b.scripts.append, t.keys, args)
	if err == nil {
		s.over()
		var done int64
		if done, err = m.AsInt64(); err == nil && done == 0 {
			t.lasting.Store(false)
			return false
		}
		if lasting != (done == 1) {
			t.lasting.Store(done == 1)
		}
		if err != nil {
			err = fmt.Errorf("redis: write: %w: %w", port.ErrUncertain, err)
		}
	}
	if err != nil && len(list) > 1 && refusedWhole(err) {
		return false
	}
	if err == nil {
		g.b.janitor.know(list[0].topic)
	}
	for _, w := range list {
		if err == nil {
			g.b.counts.written.Add(int64(len(w.blobs)))
		}
		w.done <- err
	}
	return true
}
