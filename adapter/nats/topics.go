package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Declare remembers what it has set, and sets the same again without asking.
func (b *Backend) Declare(ctx context.Context, topic port.Topic) error {
	if err := topic.Check(); err != nil {
		return fmt.Errorf("nats: declare: %w", err)
	}
	if err := b.alive(ctx, "declare"); err != nil {
		return err
	}
	b.mu.Lock()
	last, known := b.declared[topic.Name]
	b.mu.Unlock()
	if known && last == topic {
		return nil
	}
	o := &op{what: "declare", writes: true, weight: roundWeight, decide: func(t *tx) error {
		s, err := t.topic(topic.Name)
		if err != nil {
			return err
		}
		a, err := t.log(topic.Name)
		if err != nil {
			return err
		}
		if !s.exists() {
			t.newTopic(topic.Name, s)
		}
		limits := topic.Over(s.Limits)
		if limits == s.Limits {
			return nil
		}
		s.Limits = limits
		t.touchTopic(topic.Name, s)
		a.mark(limitsChunk)
		return nil
	}}
	if err := b.lane("steps", "").do(ctx, o); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.declared[topic.Name] = topic
	return nil
}

// Join looks at the newest record of the topic.
func (b *Backend) Join(ctx context.Context, g port.Group) error {
	if err := g.Check(b.caps); err != nil {
		return fmt.Errorf("nats: join: %w", err)
	}
	if err := b.alive(ctx, "join"); err != nil {
		return err
	}
	var refused error
	o := &op{what: "join", writes: true, weight: roundWeight, decide: func(t *tx) error {
		refused = t.join(&g)
		if errors.Is(refused, errMissing) {
			return refused
		}
		return nil
	}}
	b.tail(g.Topic).lag() // Latest is the end that there is now
	if err := b.lane("steps", "").do(ctx, o); err != nil {
		return err
	}
	return refused
}

func (t *tx) join(g *port.Group) error {
	if !t.want(t.b.space.topic(g.Topic), t.b.space.group(g.Topic, g.Name)) {
		return errMissing
	}
	ts, err := t.topic(g.Topic)
	if err != nil {
		return err
	}
	s, err := t.group(g.Topic, g.Name)
	if err != nil || s != nil {
		return err
	}
	a, err := t.log(g.Topic)
	if err != nil {
		return err
	}
	early, _ := t.b.clock.now()
	s = &groupState{serial: max(uint64(early.UnixMicro()), 1), cursor: ts.trimmed(), ord: ts.Ord}
	switch g.From {
	case port.Earliest:
	case port.Latest:
		s.cursor, s.ord = behind(a.head), a.ord
	default:
		if s.cursor, s.ord, err = t.start(g, ts, a); err != nil {
			return err
		}
	}
	if !ts.exists() {
		t.newTopic(g.Topic, ts)
	}
	ts.Groups = append(slices.Clone(ts.Groups), g.Name)
	slices.Sort(ts.Groups)
	ts.Groups = slices.Compact(ts.Groups)
	t.touchTopic(g.Topic, ts)
	subject := t.b.space.group(g.Topic, g.Name)
	t.groups[subject] = s
	t.touchGroup(g.Topic, g.Name, s)
	return nil
}

// start is the place of an offset, and the sum of entries up to there.
func (t *tx) start(g *port.Group, ts *topicState, a *appends) (place, uint64, error) {
	gap := fmt.Errorf("nats: join: topic %q at %.64q: what followed was trimmed, or the offset is of another log: %w", g.Topic, g.From, port.ErrGap)
	at, ok := parseOffset(g.From)
	if !ok || !ts.exists() || ts.Era != at.era || at.less(ts.gap()) || at.seq > a.head {
		return place{}, 0, gap
	}
	c, err := t.chunk(g.Topic, at.seq)
	if err != nil {
		return place{}, 0, err
	}
	if c == nil && at.less(ts.trimmed()) {
		return ts.trimmed(), ts.Ord, nil // what was there was removed
	}
	if c == nil || c.at.UnixNano() != at.at {
		return place{}, 0, gap
	}
	n := min(uint64(at.idx)+1, uint64(len(c.entries)))
	p := at.place
	if n == uint64(len(c.entries)) {
		p = behind(c.seq)
	}
	return p, c.ord + n, nil
}

// Drop writes the end of a topic, or of a group, as one step, and then gives up what belonged to it.
func (b *Backend) Drop(ctx context.Context, topic, group string) error {
	if err := port.CheckName("topic", topic); err != nil {
		return fmt.Errorf("nats: drop: %w", err)
	}
	if group != "" {
		if err := port.CheckGroupName(group); err != nil {
			return fmt.Errorf("nats: drop: %w", err)
		}
	}
	if err := b.alive(ctx, "drop"); err != nil {
		return err
	}
	var refused error
	var purges []string
	var before uint64
	o := &op{what: "drop", writes: true, weight: roundWeight, decide: func(t *tx) error {
		purges, before = nil, 0
		s, err := t.topic(topic)
		if err != nil {
			return err
		}
		if refused = nil; !s.exists() || group != "" && !slices.Contains(s.Groups, group) {
			refused = fmt.Errorf("nats: drop: group %q of topic %q: %w", group, topic, port.ErrNotFound)
			return nil
		}
		names := s.Groups
		if group != "" {
			names = []string{group}
		}
		serials, err := t.idle(topic, names)
		if errors.Is(err, port.ErrConflict) {
			refused = err
			return nil
		}
		if err != nil {
			return err
		}
		for i, name := range names {
			t.empty(t.b.space.group(topic, name))
			purges = append(purges, t.b.space.remembered(serials[i]), t.b.space.root+"s.p."+token(topic)+"."+name+".>", t.b.space.root+"s.a."+token(topic)+"."+name+".>")
		}
		t.hints[t.b.space.hint(topic)] = true
		if group != "" {
			s.Groups = slices.DeleteFunc(slices.Clone(s.Groups), func(n string) bool { return n == group })
			t.touchTopic(topic, s)
			return nil
		}
		before, err = t.endTopic(topic, s)
		purges = append(purges, t.b.space.root+"s.p."+token(topic)+".+.>", t.b.space.root+"s.a."+token(topic)+".+.>")
		return err
	}}
	if err := b.lane("steps", "").do(ctx, o); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	b.mu.Lock()
	if group == "" {
		delete(b.declared, topic)
	}
	b.mu.Unlock()
	b.tail(topic).lag()
	for _, filter := range purges {
		if err := b.purge(ctx, filter, 0); err != nil {
			return b.fail(ctx, "drop: what belonged to it", err, true)
		}
	}
	if before > 0 {
		return b.fail(ctx, "drop: the log", b.purge(ctx, b.space.log(topic), before+1), true)
	}
	return nil
}

// idle answers ErrConflict while a message of one of the groups is on loan.
func (t *tx) idle(topic string, names []string) (serials []uint64, err error) {
	fresh := true
	for _, name := range names {
		fresh = t.renew(t.b.space.group(topic, name)) && fresh
	}
	if !fresh {
		return nil, errMissing
	}
	now := t.b.sinceEarly()
	for _, name := range names {
		s, err := t.group(topic, name)
		if err != nil {
			return nil, err
		}
		if s == nil {
			serials = append(serials, 0)
			continue
		}
		if slices.ContainsFunc(s.loaned, func(it item) bool { return it.due > now }) {
			return nil, fmt.Errorf("nats: drop: somebody has a message of group %q of topic %q on loan: %w", name, topic, port.ErrConflict)
		}
		serials = append(serials, s.serial)
	}
	return serials, nil
}

// endTopic ends the log: what stands in it is of the past, and the next topic of this name has another era. It returns the last
// sequence of the log.
func (t *tx) endTopic(topic string, s *topicState) (uint64, error) {
	if !t.want(t.b.space.removed(topic), t.b.space.delayed(topic)) {
		return 0, errMissing
	}
	a, err := t.log(topic)
	if err != nil {
		return 0, err
	}
	early, _ := t.b.clock.now()
	end := behind(a.head)
	*s = topicState{Limits: port.Topic{Name: topic}, Era: max(s.Era+1, uint64(early.UnixMicro())), Dropped: true, Seq: end.seq, Idx: end.idx, Ord: a.ord, Size: a.size, GapSeq: end.seq, GapIdx: end.idx}
	t.touchTopic(topic, s)
	t.empty(t.b.space.removed(topic))
	t.empty(t.b.space.delayed(topic))
	before := a.head
	a.mark(dropChunk)
	a.state, a.ended = *s, true
	t.changes++
	return before, nil
}
