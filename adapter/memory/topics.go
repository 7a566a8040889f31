package memory

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/musterhq/muster/port"
)

// Declare applies new limits at once.
func (b *Backend) Declare(ctx context.Context, conf port.Topic) error {
	if err := conf.Check(); err != nil {
		return fmt.Errorf("memory: declare: %w", err)
	}
	_, err := do(ctx, b, "declare", func(c call) (none, error) {
		s := b.space
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.now()
		t := s.create(conf.Name, now)
		t.conf = conf.Over(t.conf)
		s.touch(t)
		s.flush(now)
		return none{}, nil
	})
	return err
}

// Join makes the group unless it exists.
func (b *Backend) Join(ctx context.Context, g port.Group) error {
	if err := g.Check(b.caps); err != nil {
		return fmt.Errorf("memory: join: %w", err)
	}
	_, err := do(ctx, b, "join", func(c call) (none, error) { return none{}, b.space.join(g) })
	return err
}

func (s *space) join(g port.Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.topic(g.Topic)
	if t != nil {
		if t.group(g.Name) != nil {
			return nil
		}
		if t.promote(now) {
			s.touch(t)
		}
	}
	var cursor uint64
	switch {
	case g.From == port.Earliest || g.From == port.Latest:
		t = s.create(g.Topic, now)
		if cursor = t.log.first; g.From == port.Latest {
			cursor = t.log.next
		}
	case t == nil:
		return fmt.Errorf("memory: join: group %q of topic %q at %q: there is no such topic: %w", g.Name, g.Topic, g.From, port.ErrGap)
	default:
		after, gap := t.log.overtaken(g.From)
		if gap {
			return fmt.Errorf("memory: join: group %q of topic %q at %q: what followed was trimmed, or the offset is of another log: %w", g.Name, g.Topic, g.From, port.ErrGap)
		}
		cursor = max(after+1, t.log.first)
	}
	s.serial++
	i, _ := t.place(g.Name)
	t.groups = slices.Insert(t.groups, i, newGroup(t, g.Name, s.serial, cursor))
	s.flush(now)
	return nil
}

// Drop refuses while a loan of the group, or of one of the topic's groups, has not run out.
func (b *Backend) Drop(ctx context.Context, topic, group string) error {
	if err := port.CheckName("topic", topic); err != nil {
		return fmt.Errorf("memory: drop: %w", err)
	}
	if group != "" {
		if err := port.CheckGroupName(group); err != nil {
			return fmt.Errorf("memory: drop: %w", err)
		}
	}
	_, err := do(ctx, b, "drop", func(c call) (none, error) { return none{}, c.drop(topic, group) })
	return err
}

func (c call) drop(topic, name string) error {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) > 0 {
		err := c.clear(func(st *step) bool {
			return st.inTopic(topic) || st.group != nil && st.group.topic.conf.Name == topic
		})
		if err != nil {
			return err
		}
	}
	now := s.now()
	t := s.topic(topic)
	if t == nil {
		return fmt.Errorf("memory: drop: topic %q: %w", topic, port.ErrNotFound)
	}
	gone := t.groups
	if name != "" {
		i, ok := t.place(name)
		if !ok {
			return fmt.Errorf("memory: drop: group %q of topic %q: %w", name, topic, port.ErrNotFound)
		}
		gone = t.groups[i : i+1]
	}
	for _, g := range gone {
		if consumer, lent := g.lent(now); lent {
			return fmt.Errorf("memory: drop: group %q of topic %q: consumer %q has a message on loan: %w", g.name, topic, consumer, port.ErrConflict)
		}
	}
	for _, g := range gone {
		g.items(func(it *item) { g.entry(it).pins-- })
		g.wakeAll()
	}
	if name != "" {
		dropped := gone[0]
		t.latest = nil
		t.groups = slices.DeleteFunc(t.groups, func(g *group) bool { return g == dropped })
		s.touch(t)
	} else {
		delete(s.topics, topic)
		s.latest = nil
		s.wakeReaders(topic)
	}
	s.flush(now)
	return nil
}

// lent tells who has a message on loan, if anyone.
func (g *group) lent(now moment) (consumer string, lent bool) {
	for _, l := range g.loans {
		if l.last == 0 {
			continue
		}
		if tail := g.item(l.last - 1); tail.due > now.ns {
			return tail.consumer, true
		}
	}
	return "", false
}

// Inspect asks for the names, and then for one topic at a time.
func (b *Backend) Inspect(ctx context.Context, pattern string) iter.Seq2[port.TopicInfo, error] {
	return func(yield func(port.TopicInfo, error) bool) {
		if err := port.CheckPattern(pattern); err != nil {
			yield(port.TopicInfo{}, fmt.Errorf("memory: inspect: %w", err))
			return
		}
		names, err := do(ctx, b, "inspect", func(c call) ([]string, error) { return b.space.topicNames(pattern), nil })
		if err != nil {
			yield(port.TopicInfo{}, err)
			return
		}
		for _, name := range names {
			if err := (call{b: b, ctx: ctx, name: "inspect"}).alive(); err != nil {
				yield(port.TopicInfo{}, err)
				return
			}
			if info, ok := b.space.topicInfo(name); ok && !yield(info, nil) {
				return
			}
		}
	}
}

func (s *space) topicNames(pattern string) []string {
	s.mu.Lock()
	names := slices.Collect(maps.Keys(s.topics))
	s.mu.Unlock()
	names = slices.DeleteFunc(names, func(name string) bool { return !port.Match(pattern, name) })
	slices.Sort(names)
	return names
}

func (s *space) topicInfo(name string) (port.TopicInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(name)
	if t == nil {
		return port.TopicInfo{}, false
	}
	now := s.now()
	t.promote(now)
	s.touch(t)
	s.flush(now)
	info := port.TopicInfo{Topic: t.conf, Count: t.log.count, Delayed: int64(len(t.delayed.list))}
	info.First, info.Last = t.log.ends()
	for _, g := range t.groups {
		info.Groups = append(info.Groups, g.info(now))
	}
	return info, true
}
