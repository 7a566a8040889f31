package memory

import (
	"slices"

	"github.com/musterhq/muster/port"
)

// step is one batch and, in Settle, the acknowledgement that it comes with. Once it was decided, its parts are carried out
// one by one: the messages, the changes, the removals, and last the acknowledgement. Nothing is checked again then.
//
// Where the backend is atomic all of it happens under one lock. Where it is Stepwise the step is kept in space.steps until
// it is finished, and others may see its parts come. Everything that has to be true of a decision for others at once is
// settled by it: the item is decided, the IDs of the batch, the messages and the acknowledged one are known, the fences' tokens
// are seen, and room is reserved. What is left is finished by whoever meets it (see call.clear).
type step struct {
	batch *port.Batch
	kept  kept  // of its messages
	skip  []int // messages that are left out, ascending
	group *group
	item  *item // to be acknowledged, of group; nil in Write
	next  int   // the part that comes next
}

func (st *step) parts() int {
	n := len(st.batch.Messages) + len(st.batch.Changes) + len(st.batch.Removes)
	if st.item != nil {
		n++
	}
	return n
}

func (st *step) done() bool { return st.next == st.parts() }

// inTopic reports whether the step has messages for the topic, or removals from it.
func (st *step) inTopic(topic string) bool {
	return slices.ContainsFunc(st.batch.Messages, func(m port.Message) bool { return m.Topic == topic }) ||
		slices.ContainsFunc(st.batch.Removes, func(r port.Removal) bool { return r.Topic == topic })
}

func (st *step) hasKey(key string) bool {
	return slices.ContainsFunc(st.batch.Changes, func(ch port.Change) bool { return ch.Key == key })
}

// crosses reports whether b changes one of the step's keys or removes from one of its topics, or repeats it.
func (st *step) crosses(b *port.Batch) bool {
	return b.ID != "" && st.batch.ID == b.ID ||
		slices.ContainsFunc(b.Changes, func(ch port.Change) bool { return st.hasKey(ch.Key) }) ||
		slices.ContainsFunc(b.Removes, func(r port.Removal) bool { return st.inTopic(r.Topic) })
}

// decide checks b, which comes with the acknowledgement of it where that is not nil, and settles that it happens.
// K is what is kept of its messages; remember is for how long the acknowledged ID is known.
func (c call) decide(b *port.Batch, k kept, g *group, it *item, remember int64, now moment) (*step, error) {
	s := c.b.space
	fences := c.fencing()
	topic := ""
	if g != nil {
		topic = g.topic.conf.Name
	}
	if err := fences.passBatch(b, topic); err != nil {
		return nil, err
	}
	if err := c.check(b, &k, now); err != nil {
		return nil, err
	}
	fences.commit()
	if b.ID != "" {
		s.batches.add(b.ID, now.ns, now.after(port.BatchWindow))
	}
	st := &s.scratch
	if c.b.conf.Stepwise {
		own := *b
		own.Messages, own.Changes, own.Removes = slices.Clone(b.Messages), slices.Clone(b.Changes), slices.Clone(b.Removes)
		st, b = &step{}, &own
		k.entries, k.blocks = slices.Clone(k.entries), slices.Clone(k.blocks)
	}
	*st = step{batch: b, kept: k, group: g, item: it, skip: st.skip[:0]}
	if it != nil {
		it.state = decided
		if remember > now.ns {
			g.known.add(g.id(it), now.ns, remember)
		}
	}
	s.admit(st, now)
	c.b.counts.written += int64(len(b.Messages) - len(st.skip))
	c.b.counts.duplicates += int64(len(st.skip))
	if c.b.conf.Stepwise && !st.done() {
		s.reserve(st)
		s.steps = append(s.steps, st)
	}
	return st, nil
}

// admit makes the IDs of the messages known, and leaves those out that were known before.
func (s *space) admit(st *step, now moment) {
	if st.kept.topic != "" && s.create(st.kept.topic, now).conf.Window < 0 {
		return
	}
	var t *topic
	for i := range st.batch.Messages {
		m := &st.batch.Messages[i]
		if i == 0 || m.Topic != st.batch.Messages[i-1].Topic {
			t = s.create(m.Topic, now)
		}
		if m.Group != "" || t.conf.Window < 0 {
			continue
		}
		if !t.window.add(st.kept.id(i), now.ns, now.after(t.conf.Window)) {
			st.skip = append(st.skip, i)
		}
	}
}

// duplicates is the error that names what the step left out, or nil.
func (st *step) duplicates() error {
	if len(st.skip) == 0 {
		return nil
	}
	err := &port.DuplicateError{}
	for _, i := range st.skip {
		err.IDs = append(err.IDs, st.batch.Messages[i].ID)
	}
	return err
}

// reserve keeps room for the messages that the step will append.
func (s *space) reserve(st *step) {
	for i := range st.batch.Messages {
		if m := &st.batch.Messages[i]; m.Group == "" && !st.leavesOut(i) {
			t := s.topic(m.Topic)
			t.reserved++
			t.reservedBytes += int64(len(m.Body))
		}
	}
}

func (st *step) leavesOut(i int) bool {
	if len(st.skip) == 0 {
		return false
	}
	_, found := slices.BinarySearch(st.skip, i)
	return found
}

// advance carries out the next part.
func (s *space) advance(st *step, now moment) {
	b, i := st.batch, st.next
	st.next++
	if i < len(b.Messages) {
		if !st.leavesOut(i) {
			s.put(st, i, now)
		}
		return
	}
	i -= len(b.Messages)
	if i < len(b.Changes) {
		s.keys.change(&b.Changes[i], now)
		return
	}
	i -= len(b.Changes)
	if i < len(b.Removes) {
		t := s.topic(b.Removes[i].Topic)
		if seq := t.log.find(b.Removes[i].Offset); seq > 0 {
			t.log.remove(seq)
			s.touch(t)
		}
		return
	}
	s.touch(st.group.topic)
	st.group.finish(st.item)
}

// put appends the message at i to its topic, or gives it to the group that it is addressed to.
func (s *space) put(st *step, i int, now moment) {
	m := &st.batch.Messages[i]
	t := s.topic(m.Topic)
	s.touch(t)
	if m.Group != "" {
		t.group(m.Group).address(st.kept.single(i), m.At, now)
		return
	}
	t.promote(now)
	t.put(&st.kept, i, m.At, now)
}

// putAll is put for all messages of the step, none of which was put yet.
func (s *space) putAll(st *step, now moment) {
	var t *topic
	list := st.batch.Messages
	st.next = len(list)
	if st.kept.topic != "" && len(st.skip) == 0 {
		t = s.topic(st.kept.topic)
		s.touch(t)
		t.promote(now)
		for i := range list {
			t.put(&st.kept, i, list[i].At, now)
		}
		return
	}
	for i := range list {
		m := &list[i]
		if st.leavesOut(i) {
			continue
		}
		if m.Group != "" {
			s.put(st, i, now)
			continue
		}
		if t == nil || t.conf.Name != m.Topic {
			t = s.topic(m.Topic)
			s.touch(t)
			t.promote(now)
		}
		t.put(&st.kept, i, m.At, now)
	}
}

// carry carries the step out. Where the backend is Stepwise, others may come in between; when it is cut or fails there, the
// rest of the step is left to them.
func (c call) carry(st *step, now moment) error {
	s := c.b.space
	if !c.b.conf.Stepwise {
		s.putAll(st, now)
		for !st.done() {
			s.advance(st, now)
		}
		st.batch, st.kept, st.group, st.item = nil, kept{}, nil, nil
		return nil
	}
	several := st.parts() > 1
	for !st.done() {
		if several {
			s.flush(now)
			if err := c.unlocked(); err != nil {
				s.leave(st)
				return err
			}
			now = s.now()
		}
		s.push(st, now)
	}
	return nil
}

// push carries out one part of a kept step, unless somebody finished it meanwhile.
func (s *space) push(st *step, now moment) {
	if st.done() {
		return
	}
	if i := st.next; i < len(st.batch.Messages) && !st.leavesOut(i) && st.batch.Messages[i].Group == "" {
		t := s.topic(st.batch.Messages[i].Topic)
		t.reserved--
		t.reservedBytes -= int64(len(st.batch.Messages[i].Body))
	}
	s.advance(st, now)
	if st.done() {
		s.steps = slices.DeleteFunc(s.steps, func(o *step) bool { return o == st })
	}
}

// leave wakes those who wait for something of the step, so that they finish it: nobody else will come by for them.
func (s *space) leave(st *step) {
	if st.done() {
		return
	}
	for name, t := range s.topics {
		if !st.inTopic(name) {
			continue
		}
		for _, g := range t.groups {
			g.wakeAll()
		}
		s.wakeReaders(name)
	}
}

// clear finishes the steps that others decided and that meet what this call is about to touch, in the order of their
// decisions. The space may have been let go meanwhile: nothing that was looked up before it is valid after it.
func (c call) clear(meets func(*step) bool) error {
	s := c.b.space
	for {
		i := slices.IndexFunc(s.steps, meets)
		if i < 0 {
			return nil
		}
		now := s.now()
		s.push(s.steps[i], now)
		s.flush(now)
		if err := c.between(); err != nil {
			return err
		}
	}
}
