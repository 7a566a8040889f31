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
	if err := c.fill(out, want, limit); err != nil {
		return nil, err
	}
	out.write()
	list := out.list
	out.empty()
	c.b.parcels.Put(out)
	return list, nil
}

// fill waits until there is something for the group, and puts it into out.
func (c call) fill(out *parcel, want *port.Group, limit int) error {
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := c.clearForFetch(want); err != nil {
			return err
		}
		now := s.now()
		g := s.group(want.Topic, want.Name)
		if g == nil {
			return c.groupLost(want)
		}
		if g.topic.promote(now) {
			s.touch(g.topic)
		}
		if n := g.expects(limit, now); !out.holds(n) {
			s.flush(now)
			s.mu.Unlock()
			out.grow(n, want.Into) // others do not wait for memory
			s.mu.Lock()
			continue
		}
		g.take(&c.b.counts, want, limit, now, out)
		s.flush(now)
		g.notify(now)
		if len(out.labels) > 0 {
			return nil
		}
		if err := c.await(g, limit, now); err != nil {
			return err
		}
	}
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
