package nats

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// Inspect lists the topics first, and then looks at each.
func (b *Backend) Inspect(ctx context.Context, pattern string) iter.Seq2[port.TopicInfo, error] {
	return func(yield func(port.TopicInfo, error) bool) {
		names, err := b.topicNames(ctx, pattern)
		if err != nil {
			yield(port.TopicInfo{}, err)
			return
		}
		for _, name := range names {
			if err := b.alive(ctx, "inspect"); err != nil {
				yield(port.TopicInfo{}, err)
				return
			}
			info, ok, err := b.inspect(ctx, name)
			if err != nil {
				yield(port.TopicInfo{}, b.fail(ctx, "inspect", err, false))
				return
			}
			if ok && !yield(info, nil) {
				return
			}
		}
	}
}

// topicNames are those that match, by name, dropped ones included.
func (b *Backend) topicNames(ctx context.Context, pattern string) ([]string, error) {
	if err := port.CheckPattern(pattern); err != nil {
		return nil, fmt.Errorf("nats: inspect: %w", err)
	}
	if err := b.alive(ctx, "inspect"); err != nil {
		return nil, err
	}
	var names []string
	prefix := b.space.topic("")
	filter := b.space.topics()
	if !port.IsPattern(pattern) && port.CheckName("topic", pattern) == nil {
		filter = b.space.topic(pattern)
	}
	err := b.subjects(ctx, filter, func(s string) bool {
		if name := untoken(strings.TrimPrefix(s, prefix)); port.Match(pattern, name) {
			names = append(names, name)
		}
		return true
	})
	if err != nil {
		return nil, b.fail(ctx, "inspect", err, false)
	}
	slices.Sort(names)
	return names, nil
}

// look is what is read of one topic for Inspect.
type look struct {
	b     *Backend
	v     *view
	topic string
	states
	end *chunk
}

func (b *Backend) inspect(ctx context.Context, topic string) (info port.TopicInfo, ok bool, err error) {
	v, err := b.look(ctx)
	if err != nil {
		return info, false, err
	}
	l := &look{b: b, v: v, topic: topic}
	found, err := v.cells(ctx, []string{b.space.topic(topic), b.space.removed(topic), b.space.delayed(topic), b.space.log(topic)})
	if err != nil {
		return info, false, err
	}
	if l.states, err = statesOf(b, topic, found); err != nil || !l.states.topic.exists() {
		return info, false, err
	}
	if r := found[b.space.log(topic)]; r != nil {
		if l.end, err = decodeChunk(r); err != nil {
			return info, false, err
		}
	}
	s := l.states.topic
	n, _ := l.removed.after(s.trimmed())
	info = port.TopicInfo{Topic: s.Limits, Delayed: int64(l.delayed.count())}
	if l.end != nil {
		info.Count = max(0, int64(l.end.end()-s.Ord-n))
	}
	if info.Count > 0 {
		if info.First, _, err = l.next(ctx, s.trimmed()); err != nil {
			return info, false, err
		}
		if info.Last, err = l.last(ctx); err != nil {
			return info, false, err
		}
	}
	for _, name := range s.Groups {
		g, ok, err := l.group(ctx, name)
		if err != nil {
			return info, false, err
		}
		if ok {
			info.Groups = append(info.Groups, g)
		}
	}
	return info, true, nil
}

// next is the first entry behind a place, with its time; "" when there is none.
func (l *look) next(ctx context.Context, p place) (port.Offset, time.Time, error) {
	for q := (directGet{Seq: max(p.seq, 1), Batch: 16}); ; {
		list, more, err := l.v.chunks(ctx, l.topic, q)
		if err != nil {
			return "", time.Time{}, err
		}
		for _, c := range list {
			for i := range c.entries {
				if at := (place{seq: c.seq, idx: uint32(i)}); p.less(at) && !l.removed.has(at) {
					return offset(l.states.topic.Era, at, c.at.UnixNano()), c.at, nil
				}
			}
			q.Seq = c.seq + 1
		}
		if !more || len(list) == 0 {
			return "", time.Time{}, nil
		}
	}
}

// last is the last entry, found from the end back.
func (l *look) last(ctx context.Context) (port.Offset, error) {
	floor := l.states.topic.trimmed()
	for seq := l.end.back(); seq > 0; {
		c, err := l.v.chunkAt(ctx, l.topic, seq)
		if err != nil || c == nil {
			return "", err
		}
		for i := len(c.entries) - 1; i >= 0; i-- {
			at := place{seq: c.seq, idx: uint32(i)}
			if !floor.less(at) {
				return "", nil
			}
			if !l.removed.has(at) {
				return offset(l.states.topic.Era, at, c.at.UnixNano()), nil
			}
		}
		seq = c.last
	}
	return "", nil
}

// group is where a group stands; false when it went meanwhile.
func (l *look) group(ctx context.Context, name string) (info port.GroupInfo, ok bool, err error) {
	subject := l.b.space.group(l.topic, name)
	found, err := l.v.cells(ctx, []string{subject})
	if err != nil || found[subject] == nil || found[subject].gone {
		return info, false, err
	}
	g, err := decodeGroup(found[subject].data)
	if err != nil {
		return info, false, err
	}
	info.Name = name
	now := l.b.sinceEarly()
	if l.end != nil {
		n, _ := l.removed.after(g.cursor)
		info.Lag = max(0, int64(l.end.end())-int64(g.ord)-int64(n))
	}
	oldest, addressed := place{seq: never64}, time.Time{}
	note := func(it *item) {
		if it.body > 0 {
			if at := time.Unix(0, it.at); addressed.IsZero() || at.Before(addressed) {
				addressed = at
			}
		} else if it.place.less(oldest) {
			oldest = it.place
		}
	}
	for i := range g.loaned {
		switch it := &g.loaned[i]; {
		case it.due > now:
			info.Loaned++
			info.Consumers = append(info.Consumers, it.who)
			note(it)
		case it.body > 0 || !l.removed.has(it.place):
			info.Lag++
			note(it)
		}
	}
	for i := range g.near {
		it := &g.near[i]
		if it.body == 0 && l.removed.has(it.place) {
			continue
		}
		if note(it); it.due > now {
			info.Delayed++
		} else {
			info.Lag++
		}
	}
	for _, p := range g.pages {
		if p.first.seq > 0 && p.first.less(oldest) {
			oldest = p.first
		}
		if p.due > now {
			info.Delayed += int64(p.count)
		} else {
			info.Lag += int64(p.count)
		}
	}
	slices.Sort(info.Consumers)
	info.Consumers = slices.Compact(info.Consumers)
	info.Oldest, err = l.oldest(ctx, g, oldest, addressed)
	return info, true, err
}

const never64 = 1<<64 - 1

// oldest is the time of the oldest message that the group has not finished.
func (l *look) oldest(ctx context.Context, g *groupState, first place, addressed time.Time) (time.Time, error) {
	var at time.Time
	if first.seq != never64 {
		c, err := l.v.chunkAt(ctx, l.topic, first.seq)
		if err != nil {
			return at, err
		}
		if c != nil {
			at = c.at
		}
	} else if l.end != nil && l.end.end() > g.ord {
		var err error
		if _, at, err = l.next(ctx, g.cursor); err != nil {
			return at, err
		}
	}
	if at.IsZero() || !addressed.IsZero() && addressed.Before(at) {
		return addressed, nil
	}
	return at, nil
}
