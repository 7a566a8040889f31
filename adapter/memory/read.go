package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// Read waits without polling. A topic that is not there has no entries yet.
func (b *Backend) Read(ctx context.Context, r port.Range) ([]port.Stored, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("memory: read: %w", err)
	}
	return do(ctx, b, "read", func(c call) ([]port.Stored, error) { return c.read(r) })
}

func (c call) read(r port.Range) ([]port.Stored, error) {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.now().after(r.Wait)
	for {
		if len(s.steps) > 0 {
			if err := c.clear(func(st *step) bool { return st.inTopic(r.Topic) }); err != nil {
				return nil, err
			}
		}
		now := s.now()
		t := s.topic(r.Topic)
		if t != nil && t.promote(now) {
			s.touch(t)
		}
		s.flush(now)
		if r.After == port.Latest {
			r.After = latest(t)
		}
		list, err := t.read(r, now)
		if err != nil {
			return nil, fmt.Errorf("memory: read: %w", err)
		}
		if len(list) > 0 || now.ns >= last {
			return list, nil
		}
		due := last
		if t != nil {
			due = min(due, t.delayed.next())
		}
		if err := c.awaitEntry(r.Topic, due-now.ns); err != nil {
			return nil, err
		}
	}
}

// latest is the offset after the last entry there is now. While there is no topic, all that comes is after it.
func latest(t *topic) port.Offset {
	if t == nil {
		return port.Earliest
	}
	return t.log.offset(t.log.next - 1)
}

// read is what the topic, which may be nil, has after r.After.
func (t *topic) read(r port.Range, now moment) ([]port.Stored, error) {
	if t == nil {
		return nil, nil
	}
	t.trim(now)
	l := &t.log
	seq := l.first
	if r.After != port.Earliest {
		after, gap := l.overtaken(r.After)
		if gap {
			return nil, fmt.Errorf("topic %q after %q: what followed was trimmed, or the offset is of another log: %w", r.Topic, r.After, port.ErrGap)
		}
		seq = max(seq, after+1)
	}
	if seq = l.live(seq); seq == l.next {
		return nil, nil
	}
	list := make([]port.Stored, 0, min(uint64(r.Max), l.next-seq))
	offsets := make([]byte, 0, cap(list)*offsetLen)
	for ; seq < l.next && len(list) < r.Max; seq = l.live(seq + 1) {
		e, b := l.show(seq)
		offsets = l.appendOffset(offsets, seq)
		list = append(list, port.Stored{Message: port.Message{Topic: t.conf.Name}, At: time.Unix(0, e.at)})
		e.show(b, &list[len(list)-1].Message)
	}
	text := string(offsets)
	for i := range list {
		list[i].Offset = port.Offset(text[i*offsetLen : (i+1)*offsetLen])
	}
	return list, nil
}

// awaitEntry sleeps for ns at most, until the topic may have something new. The space is let go meanwhile.
func (c call) awaitEntry(topic string, ns int64) error {
	s := c.b.space
	w := newWaiter(0)
	s.readers[topic] = append(s.readers[topic], w)
	s.mu.Unlock()
	c.sleep(ns, w.wake)
	s.mu.Lock()
	if !w.woken {
		rest := slices.DeleteFunc(s.readers[topic], func(o *waiter) bool { return o == w })
		if s.readers[topic] = rest; len(rest) == 0 {
			delete(s.readers, topic)
		}
	}
	return c.alive()
}
