package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Declare sets limits in one script.
func (b *Backend) Declare(ctx context.Context, t port.Topic) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("redis: declare: %w", err)
	}
	b.facts.RLock()
	same, known := b.declared[t.Name] == t, b.known
	b.facts.RUnlock()
	if same && b.alive(ctx, "") == nil {
		return nil
	}
	what := "declare topic " + t.Name
	if err := b.alive(ctx, what); err != nil {
		return err
	}
	if err := b.register(ctx, what, port.Family(t.Name)); err != nil {
		return err
	}
	args := []string{limit(most(t.MaxAge)), limit(t.MaxCount), limit(t.MaxBytes), limit(most(t.Window)), ofMessage(t.Name)}
	keys := b.space.addSteps(b.topicKeys(t.Name), port.Family(t.Name))
	if _, err := b.run(ctx, what, b.scripts.declare, keys, args); err != nil {
		return err
	}
	b.janitor.know(t.Name)
	b.facts.Lock()
	defer b.facts.Unlock()
	if b.known == known {
		b.declared[t.Name] = t
	}
	return nil
}

// most is so many milliseconds, or -1 for none.
func most(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return port.Millis(d)
}

// limit is n as the scripts take it: 0 leaves what is set, -1 is none.
func limit(n int64) string { return number(max(n, -1)) }

// topicKeys are the keys of a script about one topic, before those of its groups.
func (b *Backend) topicKeys(topic string) []string {
	keys := make([]string, 0, 1+topicKeys+groupKeys)
	return b.space.addTopic(append(keys, b.space.topics(port.Family(topic))), topic)
}

// withGroups are topicKeys and those of these groups.
func (b *Backend) withGroups(topic string, groups []string) []string {
	keys := b.topicKeys(topic)
	for _, g := range groups {
		keys = b.space.addGroup(keys, topic, g)
	}
	return keys
}

// Join makes the group in one script.
func (b *Backend) Join(ctx context.Context, g port.Group) error {
	if err := g.Check(b.caps); err != nil {
		return fmt.Errorf("redis: join: %w", err)
	}
	what := fmt.Sprintf("join group %s of topic %s", g.Name, g.Topic)
	from, p, ok := placed(g.From)
	if !ok {
		return fmt.Errorf("redis: %s: from %q is no offset of this topic: %w", what, g.From, port.ErrGap)
	}
	if err := b.register(ctx, what, port.Family(g.Topic)); err != nil {
		return err
	}
	args := []string{g.Name, from, p.era, p.ms, p.n, number(port.Millis(g.Remember))}
	m, err := b.run(ctx, what, b.scripts.join, b.withGroups(g.Topic, []string{g.Name}), args)
	if err != nil {
		return err
	}
	if word(&m) == "gap" {
		return fmt.Errorf("redis: %s: from %q: what followed was trimmed, or the offset is of another log: %w", what, g.From, port.ErrGap)
	}
	b.janitor.know(g.Topic)
	return nil
}

// placed is an offset as the scripts take it.
func placed(o port.Offset) (from string, p place, ok bool) {
	switch o {
	case port.Earliest:
		return "earliest", place{"", "0", "0"}, true
	case port.Latest:
		return "latest", place{"", "0", "0"}, true
	default:
		p, ok = at(o)
		return "after", p, ok
	}
}

// Drop refuses while a loan is out that has not ended.
func (b *Backend) Drop(ctx context.Context, topic, group string) error {
	if err := port.CheckName("topic", topic); err != nil {
		return fmt.Errorf("redis: drop: %w", err)
	}
	what, names := "drop topic "+topic, []string{group}
	if group != "" {
		if err := port.CheckGroupName(group); err != nil {
			return fmt.Errorf("redis: drop: %w", err)
		}
		what = fmt.Sprintf("drop group %s of topic %s", group, topic)
	}
	for {
		script, keys := b.scripts.leave, b.withGroups(topic, names)
		if group == "" {
			var err error
			if names, err = b.groups(ctx, what, topic); err != nil {
				return err
			}
			script, keys = b.scripts.drop, b.withGroups(topic, names)
		}
		m, err := b.run(ctx, what, script, keys, names)
		if err != nil {
			return err
		}
		switch word(&m) {
		case "none":
			return fmt.Errorf("redis: %s: %w", what, port.ErrNotFound)
		case "loaned":
			return fmt.Errorf("redis: %s: a message of it is on loan; wait until it is settled or the loan has ended: %w", what, port.ErrConflict)
		case "changed":
			continue
		}
		if group == "" {
			b.facts.Lock()
			defer b.facts.Unlock()
			delete(b.declared, topic)
		}
		return nil
	}
}

// groups lists a topic's groups, by name.
func (b *Backend) groups(ctx context.Context, what, topic string) ([]string, error) {
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	fields, err := b.client.Do(ctx, b.client.B().Hkeys().Key(b.space.topicHash(topic)).Build()).AsStrSlice()
	if err != nil {
		return nil, b.fail(ctx, what, err, false)
	}
	var names []string
	for _, f := range fields {
		if name, ok := strings.CutPrefix(f, "g:"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Inspect asks for the names of topics at once and for what they hold one by one. The counts of a group behind removed entries,
// and the oldest message of one with more than 1,000 that are open, are bounded in work and may be estimates.
func (b *Backend) Inspect(ctx context.Context, pattern string) iter.Seq2[port.TopicInfo, error] {
	return func(yield func(port.TopicInfo, error) bool) {
		names, err := b.topicNames(ctx, pattern)
		if err != nil {
			yield(port.TopicInfo{}, err)
			return
		}
		for _, name := range names {
			info, ok, err := b.inspect(ctx, name)
			if err != nil {
				yield(port.TopicInfo{}, err)
				return
			}
			if ok && !yield(info, nil) {
				return
			}
		}
	}
}

// topicNames are the topics that match pattern, by name.
func (b *Backend) topicNames(ctx context.Context, pattern string) ([]string, error) {
	if err := port.CheckPattern(pattern); err != nil {
		return nil, fmt.Errorf("redis: inspect: %w", err)
	}
	var names []string
	families, err := b.familyNames(ctx, "inspect")
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(families, 500) {
		ask := make([]rueidis.Completed, len(part))
		for i, family := range part {
			ask[i] = b.client.B().Smembers().Key(b.space.topics(family)).Build()
		}
		for _, r := range b.client.DoMulti(ctx, ask...) {
			hashes, err := r.AsStrSlice()
			if err != nil {
				return nil, b.fail(ctx, "inspect", err, false)
			}
			for _, h := range hashes {
				if name := b.space.topicName(h); port.Match(pattern, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

func (b *Backend) familyNames(ctx context.Context, what string) ([]string, error) {
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	families, err := b.client.Do(ctx, b.client.B().Smembers().Key(b.space.families()).Build()).AsStrSlice()
	return families, b.fail(ctx, what, err, false)
}

func (b *Backend) inspect(ctx context.Context, topic string) (info port.TopicInfo, ok bool, err error) {
	what := "inspect topic " + topic
	names, err := b.groups(ctx, what, topic)
	if err != nil {
		return info, false, err
	}
	m, err := b.run(ctx, what, b.scripts.inspect, b.withGroups(topic, names), names)
	if err != nil || word(&m) == "none" {
		return info, false, err
	}
	r := reply{list: m}
	age, count, size, window := r.int(), r.int(), r.int(), r.int()
	info.Topic = port.Topic{Name: topic, MaxAge: span(age), MaxCount: count, MaxBytes: size, Window: span(window)}
	era := r.text()
	info.First, info.Last = r.offset(era), r.offset(era)
	info.Count, info.Delayed = r.int(), r.int()
	for _, name := range names {
		g := reply{list: r.next()}
		if g.list.IsInt64() {
			continue // it was dropped meanwhile
		}
		one := port.GroupInfo{Name: name, Lag: g.int(), Loaned: g.int(), Delayed: g.int()}
		if first := g.text(); first != "" {
			ms, err := strconv.ParseInt(first, 10, 64)
			g.note(err)
			one.Oldest = time.UnixMilli(ms)
		}
		for g.more() {
			one.Consumers = append(one.Consumers, g.text())
		}
		r.note(g.err)
		slices.Sort(one.Consumers)
		info.Groups = append(info.Groups, one)
	}
	if r.err != nil {
		return info, false, fmt.Errorf("redis: %s: %w: %w", what, port.ErrUnavailable, r.err)
	}
	return info, true, nil
}

// span is so many milliseconds, or -1 for none.
func span(ms int64) time.Duration {
	if ms < 0 {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}
