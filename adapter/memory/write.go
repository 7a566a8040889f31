package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Write makes one step of b. A topic is never let over its limits: what would pass them is refused.
func (b *Backend) Write(ctx context.Context, batch port.Batch) error {
	if err := batch.Check(b.caps, ""); err != nil {
		return fmt.Errorf("memory: write: %w", err)
	}
	k := b.room()
	defer b.giveBack(k)
	k.add(batch.Messages) // before the lock: others do not wait for the copies
	_, err := do(ctx, b, "write", func(c call) (none, error) { return none{}, c.write(&batch, *k) })
	return err
}

func (c call) write(b *port.Batch, k kept) error {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) > 0 {
		if err := c.clear(func(st *step) bool { return st.crosses(b) }); err != nil {
			return err
		}
	}
	now := s.now()
	if b.ID != "" && s.batches.has(b.ID, now.ns) {
		return nil
	}
	st, err := c.decide(b, k, nil, nil, 0, now)
	if err != nil {
		c.count(err)
		return fmt.Errorf("memory: write: %w", err)
	}
	left := st.duplicates()
	if err := c.carry(st, now); err != nil {
		return err
	}
	s.flush(now)
	if left != nil {
		return fmt.Errorf("memory: write: %w", left)
	}
	return nil
}

// check refuses a step that cannot be: something is addressed to or removed from what is not there, a condition does not
// hold, or a topic is full.
func (c call) check(b *port.Batch, k *kept, now moment) error {
	s := c.b.space
	if k.topic == "" {
		if err := s.checkGroups(b); err != nil {
			return err
		}
	}
	if err := s.checkRemoves(b.Removes); err != nil {
		return err
	}
	for i := range b.Changes {
		ch := &b.Changes[i]
		if !s.keys.holds(ch, now) {
			return fmt.Errorf("change of key %q if %s: %w", ch.Key, ch.If, port.ErrConflict)
		}
	}
	if k.topic != "" {
		if t := s.topic(k.topic); t == nil || !t.limited() || t.room(int64(len(k.entries)), k.bytes) {
			return nil
		}
	}
	return s.checkRoom(b, now)
}

// checkGroups refuses messages that are addressed to groups that are not there.
func (s *space) checkGroups(b *port.Batch) error {
	for i := range b.Messages {
		if m := &b.Messages[i]; m.Group != "" && s.group(m.Topic, m.Group) == nil {
			return fmt.Errorf("message %q is addressed to group %q of topic %q: %w", m.ID, m.Group, m.Topic, port.ErrNotFound)
		}
	}
	return nil
}

func (s *space) checkRemoves(list []port.Removal) error {
	var twice map[port.Removal]bool
	if len(list) > 1 {
		twice = make(map[port.Removal]bool, len(list))
	}
	for _, r := range list {
		t := s.topic(r.Topic)
		if t == nil || t.log.find(r.Offset) == 0 || twice[r] {
			return fmt.Errorf("removal of %q from topic %q: %w", r.Offset, r.Topic, port.ErrNotFound)
		}
		if twice != nil {
			twice[r] = true
		}
	}
	return nil
}

// load is what a step would add to a topic that has limits.
type load struct {
	topic    *topic
	n, bytes int64
}

// checkRoom refuses a step when one of its topics has no room for what would come.
func (s *space) checkRoom(b *port.Batch, now moment) error {
	full := func(l load) bool { return !l.topic.room(l.n, l.bytes) }
	if !slices.ContainsFunc(s.loads(b, func(*topic, *port.Message) bool { return true }), full) {
		return nil
	}
	// It may have room yet: what will be left out as a duplicate needs none.
	type name struct{ topic, id string }
	first := map[name]bool{}
	exact := s.loads(b, func(t *topic, m *port.Message) bool {
		if t.conf.Window < 0 {
			return true
		}
		known := t.window.has(m.ID, now.ns) || first[name{m.Topic, m.ID}]
		first[name{m.Topic, m.ID}] = true
		return !known
	})
	i := slices.IndexFunc(exact, full)
	if i < 0 {
		return nil
	}
	t := exact[i].topic
	return fmt.Errorf("topic %q is full of what its groups have not finished (%d entries, %d bytes; limits %d and %d): let them catch up or drop one: %w",
		t.conf.Name, t.log.count, t.log.bytes, t.conf.MaxCount, t.conf.MaxBytes, port.ErrUnavailable)
}

// loads are what the messages of b that count would add to each topic that has limits.
func (s *space) loads(b *port.Batch, counts func(*topic, *port.Message) bool) []load {
	var list []load
	var t *topic
	at := -1
	for i := range b.Messages {
		m := &b.Messages[i]
		if i == 0 || m.Topic != b.Messages[i-1].Topic {
			t = s.topic(m.Topic)
			at = slices.IndexFunc(list, func(l load) bool { return l.topic == t })
		}
		if t == nil || m.Group != "" || !t.limited() || !counts(t, m) {
			continue
		}
		if at < 0 {
			at = len(list)
			list = append(list, load{topic: t})
		}
		list[at].n++
		list[at].bytes += int64(len(m.Body))
	}
	return list
}
