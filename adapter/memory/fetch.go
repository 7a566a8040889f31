package memory

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

// Fetch waits without polling. Of several that wait for one group, as many are woken as there is work.
func (b *Backend) Fetch(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
	if err := port.CheckFetch(b.caps, g, limit); err != nil {
		return nil, fmt.Errorf("memory: fetch: %w", err)
	}
	return do(ctx, b, "fetch", func(c call) ([]port.Delivery, error) { return c.fetch(&g, limit) })
}

func (c call) fetch(want *port.Group, limit int) ([]port.Delivery, error) {
	out, _ := c.b.parcels.Get().(*parcel)
	if out == nil {
		out = &parcel{}
	}
	some := fetchedTogether
	if c.seen() {
		some = limit
	}
	more, err := c.fill(out, want, limit, some)
	if err != nil {
		return nil, err
	}
	out.write()
	for more {
		more = c.fillUp(out, want, limit, some)
		out.write()
	}
	list := out.list
	out.list = nil
	c.b.parcels.Put(out)
	return list, nil
}

// fetchedTogether is how many messages are handed out under one lock. Who waits for the lock longer than it takes to hand out so few is
// put to sleep, and to wake him takes longer than all of it.
const fetchedTogether = 64

// fill waits until there is something for the group, and puts it into out, some at most. It reports whether there may be more.
func (c call) fill(out *parcel, want *port.Group, limit, some int) (more bool, err error) {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := c.clearForFetch(want); err != nil {
			return false, err
		}
		now := s.now()
		g := s.group(want.Topic, want.Name)
		if g == nil {
			return false, c.groupLost(want)
		}
		if g.topic.promote(now) {
			s.touch(g.topic)
		}
		if n := g.expects(limit, now); !out.holds(n, some) {
			s.flush(now)
			s.mu.Unlock()
			out.grow(n, some, want.Into) // others do not wait for memory
			s.mu.Lock()
			continue
		}
		more := c.take(g, want, limit, some, now, out)
		if len(out.labels) > 0 {
			return more, nil
		}
		if err := c.await(g, limit, now); err != nil {
			return false, err
		}
	}
}

// fillUp puts what else is there into out, some at most, and reports whether there may be more.
func (c call) fillUp(out *parcel, want *port.Group, limit, some int) (more bool) {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.group(want.Topic, want.Name)
	if g == nil {
		return false
	}
	now := s.now()
	if len(s.steps) > 0 { // others may have begun something with it meanwhile
		g.notify(now)
		return false
	}
	if g.topic.promote(now) {
		s.touch(g.topic)
	}
	return c.take(g, want, limit, some, now, out)
}

// take puts some messages of the group into out, and reports whether it is to go on. If not, those who wait may have what is left.
func (c call) take(g *group, want *port.Group, limit, some int, now moment, out *parcel) (more bool) {
	room := min(limit, cap(out.list)) - len(out.list)
	g.take(&c.b.counts, want, min(room, some), now, out)
	c.b.space.flush(now)
	if len(out.labels) == some && some < room {
		return true
	}
	g.notify(now)
	return false
}

// clearForFetch finishes the steps that left something in the topic, or that acknowledge what would be handed out again.
func (c call) clearForFetch(want *port.Group) error {
	s := c.b.space
	if len(s.steps) == 0 {
		return nil
	}
	return c.clear(func(st *step) bool {
		return st.inTopic(want.Topic) ||
			st.item != nil && st.group == s.group(want.Topic, want.Name) && st.item.due <= s.now().ns
	})
}

// await sleeps until there may be something for the group. The space is let go meanwhile.
func (c call) await(g *group, limit int, now moment) error {
	s := c.b.space
	w := newWaiter(limit)
	d := g.enter(w, now)
	s.mu.Unlock()
	c.sleep(d, w.wake)
	s.mu.Lock()
	g.leave(w)
	err := c.alive()
	if err != nil {
		g.notify(s.now()) // what it was woken for is for the next
	}
	return err
}

func (c call) groupLost(g *port.Group) error {
	return fmt.Errorf("memory: %s: group %q of topic %q does not exist: %w", c.name, g.Name, g.Topic, port.ErrLost)
}

// count counts a refused step or change.
func (c call) count(err error) {
	if errors.Is(err, port.ErrConflict) {
		c.b.counts.conflicts++
	}
}
