package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// Read looks at the log first and at the topic's record after it: what is trimmed is told in the record before it goes.
func (b *Backend) Read(ctx context.Context, r port.Range) ([]port.Stored, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("nats: read: %w", err)
	}
	end := time.Now().Add(r.Wait)
	var scanned uint64
	for {
		if err := b.alive(ctx, "read"); err != nil {
			return nil, err
		}
		bell, err := b.bells.listen(ctx, b.space.hint(r.Topic))
		if err != nil {
			return nil, b.fail(ctx, "read", err, false)
		}
		v, err := b.look(ctx)
		if err != nil {
			return nil, b.fail(ctx, "read", err, false)
		}
		rd := &reading{b: b, v: v, r: &r, scanned: scanned}
		if err := rd.read(ctx); err != nil {
			return nil, err
		}
		scanned = rd.scanned
		left := time.Until(end)
		if len(rd.list) > 0 || left <= 0 && !rd.again {
			return rd.list, nil
		}
		if rd.again {
			continue
		}
		if err := b.wait(ctx, "read", bell, min(left, poll, max(b.until(rd.due), time.Millisecond))); err != nil {
			return nil, err
		}
	}
}

// reading is one look at a log.
type reading struct {
	b       *Backend
	v       *view
	r       *port.Range
	list    []port.Stored
	due     int64  // when a delayed message comes
	scanned uint64 // up to this sequence there is nothing behind r.After
	again   bool   // something was promoted: look again at once
}

func (rd *reading) read(ctx context.Context) error {
	b, topic := rd.b, rd.r.Topic
	after, err := rd.place(ctx)
	if err != nil {
		return err
	}
	list, more, err := rd.v.chunks(ctx, topic, directGet{Seq: max(after.seq, rd.scanned+1, 1), Batch: min(rd.r.Max+1, readChunks)})
	if err != nil {
		return b.fail(ctx, "read", err, false)
	}
	found, err := rd.v.cells(ctx, []string{b.space.topic(topic), b.space.removed(topic), b.space.delayed(topic)})
	if err != nil {
		return b.fail(ctx, "read", err, false)
	}
	states, err := statesOf(b, topic, found)
	if err != nil {
		return fmt.Errorf("nats: read: %w: %w", port.ErrUnavailable, err)
	}
	if rd.due = states.delayed.due(); rd.due <= b.sinceEarly() {
		rd.again = true
		return b.promote(ctx, topic)
	}
	if rd.r.After != port.Earliest {
		if err := rd.check(ctx, after, states.topic, list); err != nil {
			return err
		}
	}
	floor := states.topic.trimmed()
	if floor.less(after.place) {
		floor = after.place
	}
	for _, c := range list {
		for i := range c.entries {
			at := place{seq: c.seq, idx: uint32(i)}
			if !floor.less(at) || states.removed.has(at) || len(rd.list) == rd.r.Max {
				continue
			}
			rd.list = append(rd.list, port.Stored{Offset: offset(states.topic.Era, at, c.at.UnixNano()), Message: c.entries[i].message(topic), At: c.at})
		}
	}
	if len(rd.list) == 0 && len(list) > 0 {
		rd.scanned = list[len(list)-1].seq
		rd.again = more
	}
	return nil
}

// place is where reading begins. Latest becomes the offset of the end that there is now.
func (rd *reading) place(ctx context.Context) (spot, error) {
	b, r := rd.b, rd.r
	if r.After == port.Earliest {
		return spot{}, nil
	}
	if r.After == port.Latest {
		c, err := rd.v.lastChunk(ctx, r.Topic)
		if err != nil {
			return spot{}, b.fail(ctx, "read", err, false)
		}
		if r.After = port.Earliest; c != nil {
			found, err := rd.v.cells(ctx, []string{b.space.topic(r.Topic)})
			if err != nil {
				return spot{}, b.fail(ctx, "read", err, false)
			}
			states, err := statesOf(b, r.Topic, found)
			if err != nil {
				return spot{}, fmt.Errorf("nats: read: %w: %w", port.ErrUnavailable, err)
			}
			r.After = offset(states.topic.Era, behind(c.seq), c.at.UnixNano())
		}
		return rd.place(ctx)
	}
	at, ok := parseOffset(r.After)
	if !ok {
		return spot{}, rd.gap("it is no offset")
	}
	return at, nil
}

// check answers ErrGap where what follows the offset cannot be given.
func (rd *reading) check(ctx context.Context, after spot, t *topicState, list []*chunk) error {
	switch {
	case t.Era == 0:
		if len(list) == 0 {
			return rd.gap("there is no such log")
		}
	case t.Era != after.era:
		return rd.gap("it is of another log")
	case after.less(t.gap()):
		return rd.gap("what followed was trimmed")
	}
	for _, c := range list {
		if c.seq == after.seq && c.at.UnixNano() != after.at {
			return rd.gap("the log lost its end since, and went on")
		}
	}
	if len(list) == 0 {
		end, err := rd.v.lastChunk(ctx, rd.r.Topic)
		if err != nil {
			return rd.b.fail(ctx, "read", err, false)
		}
		if end == nil || end.seq < after.seq {
			return rd.gap("the log ends before it")
		}
	}
	return nil
}

func (rd *reading) gap(why string) error {
	return fmt.Errorf("nats: read: topic %q after %.64q: %s: %w", rd.r.Topic, rd.r.After, why, port.ErrGap)
}

// states are the records of a topic.
type states struct {
	topic   *topicState
	removed *removedState
	delayed *delayedState
}

func statesOf(b *Backend, topic string, found map[string]*record) (s states, err error) {
	s = states{topic: &topicState{}, removed: &removedState{}, delayed: &delayedState{}}
	if r := found[b.space.topic(topic)]; r != nil && !r.gone {
		if s.topic, err = decodeTopic(r.data); err != nil {
			return s, err
		}
	}
	if r := found[b.space.removed(topic)]; r != nil && !r.gone {
		if s.removed, err = decodeRemoved(r.data); err != nil {
			return s, err
		}
	}
	if r := found[b.space.delayed(topic)]; r != nil && !r.gone {
		s.delayed, err = decodeDelayed(r.data)
	}
	return s, err
}
