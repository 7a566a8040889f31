package nats

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

// errFull tells that a topic stands at its limit and nothing of it can go, as far as is known.
var errFull = errors.New("full")

// fullError names the topic.
type fullError struct {
	topic   string
	n, size uint64 // what was to come
}

func (e *fullError) Error() string {
	return fmt.Sprintf("topic %q is full of what its groups have not finished: let them catch up or drop one", e.topic)
}

func (e *fullError) Is(target error) bool { return target == errFull || target == port.ErrUnavailable }

// step decides b and returns what carries it out, and which messages it leaves out. It changes nothing itself, so a step that
// is refused leaves the steps beside it as they were.
func (t *tx) step(b *port.Batch) (apply func(), left []string, err error) {
	if b.IsZero() {
		return func() {}, nil, nil
	}
	var parts []func()
	add := func(fn func(), err error) error {
		if fn != nil {
			parts = append(parts, fn)
		}
		return err
	}
	t.foresee(b)
	if err := add(t.fences(b)); err != nil {
		return nil, nil, err
	}
	if err := add(t.removes(b.Removes)); err != nil {
		return nil, nil, err
	}
	for i := range b.Changes {
		if err := add(t.change(&b.Changes[i])); err != nil {
			return nil, nil, err
		}
	}
	fn, left, err := t.messages(b.Messages)
	if err := add(fn, err); err != nil {
		return nil, nil, err
	}
	return func() {
		for _, fn := range parts {
			fn()
		}
	}, left, nil
}

// foresee notes all cells that the step will look at, so that they are read together.
func (t *tx) foresee(b *port.Batch) {
	s := &t.b.space
	if !b.Fence.IsZero() {
		t.want(s.fence(b.Fence.Name))
	}
	for i := range b.Changes {
		ch := &b.Changes[i]
		if !ch.Fence.IsZero() {
			t.want(s.fence(ch.Fence.Name))
		}
		if ch.If == port.Equals || ch.TTL == port.KeepTTL {
			t.want(s.key(ch.Key))
		}
	}
	for _, r := range b.Removes {
		t.want(s.topic(r.Topic), s.removed(r.Topic))
	}
	for i := range b.Messages {
		m := &b.Messages[i]
		if m.Group != "" {
			t.want(s.group(m.Topic, m.Group))
		} else if t.b.tail(m.Topic).view(m.Topic) == nil {
			t.run.need.tails[m.Topic] = true
		}
	}
}

// fences checks the tokens of the step and of its changes.
func (t *tx) fences(b *port.Batch) (func(), error) {
	seen := map[string]uint64{}
	pass := func(f port.Fence) error {
		if f.IsZero() {
			return nil
		}
		if _, ok := seen[f.Name]; !ok {
			c, err := t.get(t.b.space.fence(f.Name))
			if err != nil {
				return err
			}
			r := &reader{b: c.data}
			if c.found {
				seen[f.Name] = r.uint()
			}
			if err := r.err(); err != nil {
				return fmt.Errorf("fence %q: %w", f.Name, err)
			}
		}
		if f.Token < seen[f.Name] {
			return &port.FenceError{Name: f.Name, Token: f.Token, Seen: seen[f.Name]}
		}
		seen[f.Name] = f.Token
		return nil
	}
	if err := pass(b.Fence); err != nil {
		return nil, err
	}
	for i := range b.Changes {
		if err := pass(b.Changes[i].Fence); err != nil {
			return nil, err
		}
	}
	if len(seen) == 0 {
		return nil, nil
	}
	return func() {
		for name, token := range seen {
			t.put(t.b.space.fence(name), write{data: appendUint(nil, token)})
		}
	}, nil
}

// change checks the condition of one change.
func (t *tx) change(ch *port.Change) (func(), error) {
	c, err := t.key(ch)
	if err != nil {
		return nil, err
	}
	if !holds(ch, c) {
		return nil, fmt.Errorf("change of key %q if %s: %w", ch.Key, ch.If, port.ErrConflict)
	}
	return func() { t.set(ch, c) }, nil
}

// key is the cell that the change looks at, or nil where it looks at none.
func (t *tx) key(ch *port.Change) (*cell, error) {
	subject := t.b.space.key(ch.Key)
	switch {
	case ch.If == port.Absent:
		c, err := t.absent(subject)
		return t.b.living(c), err
	case ch.If == port.Equals || ch.TTL == port.KeepTTL:
		c, err := t.get(subject)
		return t.b.living(c), err
	default:
		return nil, nil
	}
}

// living is c, as empty where its time is over.
func (b *Backend) living(c *cell) *cell {
	if c != nil && c.found && c.end > 0 && c.end <= b.sinceEarly() {
		return &cell{rev: c.rev, at: c.at}
	}
	return c
}

func holds(ch *port.Change, c *cell) bool {
	switch ch.If {
	case port.Absent:
		return !c.found
	case port.Equals:
		return c.found && bytes.Equal(c.data, ch.Old)
	default:
		return true
	}
}

// set makes a change whose condition holds.
func (t *tx) set(ch *port.Change, c *cell) {
	subject := t.b.space.key(ch.Key)
	w := write{data: ch.Value, blind: c == nil}
	switch {
	case ch.Delete:
		w = write{gone: true, ttl: tombstone, blind: c == nil}
	case ch.TTL == port.KeepTTL && c.found:
		w.end = c.end
	case ch.TTL > 0:
		w.end = t.b.after(ch.TTL)
	}
	if w.end > 0 && w.end != never {
		w.ttl = t.b.span(w.end)
	}
	t.put(subject, w)
}

// removes checks that every entry to be taken out is there.
func (t *tx) removes(list []port.Removal) (func(), error) {
	type one struct {
		topic string
		place
		size uint64
	}
	var out []one
	seen := map[port.Removal]bool{}
	for _, r := range list {
		p, size, err := t.entryAt(r)
		if err != nil {
			return nil, err
		}
		if seen[r] {
			return nil, missing(r)
		}
		seen[r] = true
		out = append(out, one{topic: r.Topic, place: p, size: size})
	}
	if len(out) == 0 {
		return nil, nil
	}
	return func() {
		for _, o := range out {
			x := t.removed[t.b.space.removed(o.topic)]
			x.add(o.place, o.size)
			t.touchGone(o.topic, x)
		}
	}, nil
}

func missing(r port.Removal) error {
	return fmt.Errorf("removal of %q from topic %q: %w", r.Offset, r.Topic, port.ErrNotFound)
}

// entryAt is the place of an entry that is there, and the size of its body.
func (t *tx) entryAt(r port.Removal) (place, uint64, error) {
	at, ok := parseOffset(r.Offset)
	if !ok {
		return place{}, 0, missing(r)
	}
	ts, err := t.topic(r.Topic)
	if err != nil {
		return place{}, 0, err
	}
	x, err := t.gone(r.Topic)
	if err != nil {
		return place{}, 0, err
	}
	if !ts.exists() || ts.Era != at.era || !ts.trimmed().less(at.place) || x.has(at.place) {
		return place{}, 0, missing(r)
	}
	c, err := t.chunk(r.Topic, at.seq)
	if err != nil {
		return place{}, 0, err
	}
	if c == nil || int(at.idx) >= len(c.entries) || c.at.UnixNano() != at.at {
		return place{}, 0, missing(r)
	}
	return at.place, uint64(len(c.entries[at.idx].body)), nil
}

// chunk is the chunk at a sequence, or nil when there is none.
func (t *tx) chunk(topic string, seq uint64) (*chunk, error) {
	if t.run.lane != nil {
		for _, c := range t.run.lane.ahead {
			if c.seq == seq {
				return c, nil
			}
		}
	}
	c, read := t.run.at[seq]
	if !read {
		t.run.need.chunks[seq] = topic
		return nil, errMissing
	}
	return c, nil
}

// messages checks the messages of a step: those to a group need the group, those of a limited topic need room. Left are those
// whose ID is known.
func (t *tx) messages(list []port.Message) (func(), []string, error) {
	if len(list) == 0 {
		return nil, nil, nil
	}
	now := t.b.sinceEarly()
	var parts []func()
	var left []string
	fresh := map[string]map[hash]bool{} // IDs of this step by topic
	load := map[*appends]*port.TopicInfo{}
	for i := range list {
		m := &list[i]
		if m.Group != "" {
			fn, err := t.addressed(m)
			if err != nil {
				return nil, nil, err
			}
			parts = append(parts, fn)
			continue
		}
		a, err := t.log(m.Topic)
		if err != nil {
			return nil, nil, err
		}
		if err := t.ensure(a); err != nil {
			return nil, nil, err
		}
		id := hashOf(m.ID)
		if a.windowed() {
			if a.knows(id, now) || fresh[m.Topic][id] {
				left = append(left, m.ID)
				continue
			}
			if fresh[m.Topic] == nil {
				fresh[m.Topic] = map[hash]bool{}
			}
			fresh[m.Topic][id] = true
		}
		if !m.At.IsZero() && m.At.UnixMilli() >= now {
			fn, err := t.postpone(a, m, id)
			if err != nil {
				return nil, nil, err
			}
			parts = append(parts, fn)
			continue
		}
		l := load[a]
		if l == nil {
			l = &port.TopicInfo{}
			load[a] = l
		}
		l.Count++
		l.Topic.MaxBytes += int64(len(m.Body))
		parts = append(parts, func() { t.append(a, entryOf(m)) })
	}
	for a, l := range load {
		if err := t.fits(a, uint64(l.Count), uint64(l.Topic.MaxBytes)); err != nil {
			return nil, nil, err
		}
	}
	return func() {
		for _, fn := range parts {
			fn()
		}
	}, left, nil
}

// append puts e at the end of the log, and makes the topic where there is none.
func (t *tx) append(a *appends, e entry) {
	t.create(a)
	a.add(e)
	t.changes++
}

// ensure has the topic's record read where it is not known that there is one.
func (t *tx) ensure(a *appends) error {
	if a.state.exists() {
		return nil
	}
	s, err := t.topic(a.topic)
	if err == nil && s.exists() {
		a.state = *s
		t.after = append(t.after, func() { a.tail.learn(*s) })
	}
	return err
}

// create makes the topic that ensure has not found.
func (t *tx) create(a *appends) {
	if a.state.exists() {
		return
	}
	s := t.topics[t.b.space.topic(a.topic)]
	if !s.exists() {
		t.newTopic(a.topic, s)
	}
	a.state = *s
	t.after = append(t.after, func() { a.tail.learn(*s) })
}

// fits reports errFull when the topic has no room.
func (t *tx) fits(a *appends, n, size uint64) error {
	limits := a.state.Limits
	if limits.MaxCount <= 0 && limits.MaxBytes <= 0 {
		return nil
	}
	over := func(s *topicState, x *removedState) bool {
		gone, goneSize := x.after(s.trimmed())
		count, bytes := a.ord-s.Ord-gone, a.size-s.Size-goneSize
		return limits.MaxCount > 0 && count+n > uint64(limits.MaxCount) || limits.MaxBytes > 0 && bytes+size > uint64(limits.MaxBytes)
	}
	if !over(&a.state, &a.lost) {
		return nil
	}
	subjects := []string{t.b.space.topic(a.topic), t.b.space.removed(a.topic)}
	if !t.want(subjects...) {
		return errMissing
	}
	s, err := t.topic(a.topic)
	if err != nil {
		return err
	}
	x, err := t.gone(a.topic)
	if err != nil {
		return err
	}
	if over(s, x) {
		return &fullError{topic: a.topic, n: n, size: size}
	}
	t.after = append(t.after, func() { a.tail.learn(*s) })
	return nil
}

// addressed gives a message to one group.
func (t *tx) addressed(m *port.Message) (func(), error) {
	g, err := t.group(m.Topic, m.Group)
	if err != nil {
		return nil, err
	}
	if g == nil {
		return nil, fmt.Errorf("message %q is addressed to group %q of topic %q: %w", m.ID, m.Group, m.Topic, port.ErrNotFound)
	}
	return func() {
		_, now := t.b.clock.now()
		at := now
		if m.At.After(now) {
			at = m.At
		}
		e := entryOf(m)
		n := g.number()
		t.put(t.b.space.body(m.Topic, m.Group, n), write{data: e.append(nil), blind: true})
		g.near = append(g.near, item{body: n, id: hashOf(m.ID), due: millis(at), at: at.UnixNano(), size: uint64(len(m.Body))})
		if !m.At.After(now) {
			g.near[len(g.near)-1].due = now.UnixMilli() - 1
		}
		t.touchGroup(m.Topic, m.Group, g)
		t.hints[t.b.space.hint(m.Topic)] = true
	}, nil
}

// postpone keeps a message until it is due. Its ID is known from now on.
func (t *tx) postpone(a *appends, m *port.Message, id hash) (func(), error) {
	q, err := t.later(m.Topic)
	if err != nil {
		return nil, err
	}
	return func() {
		t.create(a)
		if a.windowed() {
			a.note(id)
		}
		e := entryOf(m)
		n := q.number()
		t.put(t.b.space.body(m.Topic, topicOwner, n), write{data: e.append(nil), blind: true})
		q.near = append(q.near, item{body: n, id: id, due: millis(m.At), at: m.At.UnixNano(), size: uint64(len(m.Body))})
		t.touchLater(m.Topic, q)
		t.hints[t.b.space.hint(m.Topic)] = true
		t.changes++
	}, nil
}
