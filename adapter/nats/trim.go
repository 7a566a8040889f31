package nats

import (
	"context"
	"time"

	"github.com/musterhq/muster/port"
)

// trim takes off what passed the topic's limits and no group needs. What goes is told in the topic's record first, so that a
// reader that would miss it hears of a gap; the records of the log go after that, and may stay a while.
//
// Afterwards there is room for n more entries of size bytes, where that could be made.
func (b *Backend) trim(ctx context.Context, topic string, n, size uint64) error {
	for more, changed := true, false; more; {
		o := &op{what: "trim", weight: roundWeight}
		o.decide = func(t *tx) (err error) {
			before := t.changes
			more, err = t.trim(topic, n, size)
			changed = t.changes > before
			return err
		}
		if err := b.lane("log "+topic, "").do(ctx, o); err != nil {
			return err
		}
		if changed {
			if err := b.sweep(ctx, topic); err != nil {
				return err
			}
		}
	}
	return nil
}

// trim decides one portion of it.
func (t *tx) trim(topic string, n, size uint64) (more bool, err error) {
	s, x, last, err := t.bounds(topic)
	if err != nil || !s.exists() {
		return false, err
	}
	a, err := t.log(topic)
	if err != nil {
		return false, err
	}
	if end := behind(a.head); end.less(last) {
		last = end
	}
	w := &trimming{s: *s, last: last, end: a.ord + n, size: a.size + size, x: x, now: t.b.sinceEarly()}
	if !t.run.read {
		batch := 16
		if w.over(0) {
			batch = 0
		}
		t.run.need.ahead = &aheadNeed{topic: topic, cursor: place{seq: s.Seq}, batch: batch, whole: true}
		return false, errMissing
	}
	for _, c := range t.run.lane.ahead {
		if !w.pass(c) {
			break
		}
		more = true
	}
	if w.s.trimmed() == s.trimmed() {
		return false, nil
	}
	*s = w.s
	t.touchTopic(topic, s)
	if w.gone > 0 {
		i, found := x.search(w.s.trimmed())
		if found {
			i++
		}
		x.list = x.list[i:]
		t.touchGone(topic, x)
	}
	a.state = *s
	t.after = append(t.after, func() { a.tail.learn(*s) })
	return more, nil
}

// bounds are the records of a topic, newly read, and the last place that all its groups have finished.
func (t *tx) bounds(topic string) (s *topicState, x *removedState, last place, err error) {
	space := &t.b.space
	last = behind(1<<63 - 1)
	if fresh := t.renew(space.topic(topic)); !t.renew(space.removed(topic)) || !fresh {
		return nil, nil, last, errMissing
	}
	if s, err = t.topic(topic); err != nil {
		return nil, nil, last, err
	}
	if x, err = t.gone(topic); err != nil {
		return nil, nil, last, err
	}
	fresh := true
	for _, name := range s.Groups {
		fresh = t.renew(space.group(topic, name)) && fresh
	}
	if !fresh {
		return nil, nil, last, errMissing
	}
	for _, name := range s.Groups {
		g, err := t.group(topic, name)
		if err != nil {
			return nil, nil, last, err
		}
		if g == nil {
			continue
		}
		if p := g.unfinished(); p.less(last) {
			last = p
		}
	}
	return s, x, last, nil
}

// trimming walks over a log from its first entry on.
type trimming struct {
	s    topicState // as it will be
	last place      // what stands behind it is needed
	end  uint64     // sums of entries and bytes up to the end of the log, with what is to come
	size uint64
	x    *removedState
	gone int // removed entries that were passed
	now  int64
}

// overAge is by how many milliseconds an entry passes its topic's MaxAge before it is taken off: what is read just now is not cut
// off where ages are short.
const overAge = 3000

// over reports whether the topic has more than it should, when its first chunk is of that time.
func (w *trimming) over(at int64) bool {
	n, size := w.x.after(w.s.trimmed())
	limits := w.s.Limits
	return limits.MaxCount > 0 && w.end-w.s.Ord-n > uint64(limits.MaxCount) ||
		limits.MaxBytes > 0 && w.size-w.s.Size-size > uint64(limits.MaxBytes) ||
		limits.MaxAge > 0 && at > 0 && w.now-at > port.Millis(limits.MaxAge)+overAge
}

// pass takes off what it can of the chunk, and reports whether that was all of it.
func (w *trimming) pass(c *chunk) bool {
	for i := range c.entries {
		at := place{seq: c.seq, idx: uint32(i)}
		if !w.s.trimmed().less(at) {
			continue
		}
		if w.last.less(at) {
			return false
		}
		removed := w.x.has(at)
		if !removed && !w.over(c.at.UnixMilli()) {
			return false
		}
		if removed {
			w.gone++
		} else {
			w.s.GapSeq, w.s.GapIdx = at.seq, at.idx
		}
		if i == len(c.entries)-1 {
			at = behind(c.seq)
		}
		w.s.Seq, w.s.Idx = at.seq, at.idx
		w.s.Ord++
		w.s.Size += uint64(len(c.entries[i].body))
	}
	return true
}

// sweep deletes the records of the log that nobody asks for any more. Those of the window stay: they tell which IDs are known.
// The last one stays always: it is where the log goes on.
func (b *Backend) sweep(ctx context.Context, topic string) error {
	v, err := b.look(ctx)
	if err != nil {
		return b.fail(ctx, "trim", err, false)
	}
	found, err := v.cells(ctx, []string{b.space.topic(topic), b.space.log(topic)})
	if err != nil {
		return b.fail(ctx, "trim", err, false)
	}
	states, err := statesOf(b, topic, found)
	end := found[b.space.log(topic)]
	if err != nil || end == nil {
		return err
	}
	s := states.topic
	before := s.Seq
	if s.Idx == maxIdx {
		before++
	}
	before = min(before, end.seq)
	early, _ := b.clock.now()
	from := early.Add(-2*max(s.Limits.Window, port.BatchWindow) - time.Second)
	list, _, err := v.chunks(ctx, topic, directGet{From: &from, Batch: 1})
	if err != nil {
		return b.fail(ctx, "trim", err, false)
	}
	if len(list) > 0 {
		before = min(before, list[0].seq)
	}
	if before < 2 {
		return nil
	}
	return b.fail(ctx, "trim", b.purge(ctx, b.space.log(topic), before), true)
}
