package redis

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// A fetch that was woken, and takes all that is there, leaves this process registered to be woken again, and what it was woken by is
// kept for the next fetch of the group: that waits without asking first. So a message that comes alone costs one script to be fetched and
// none to be waited for. Where messages come faster than they are fetched, a fetch finds them when it asks, and nothing is registered.
//
// What is kept stays registered in this process while nobody fetches: what happens then is heard, and the next fetch asks at once.

// unregistered answers, in place of a time, that nobody is registered to be woken.
const unregistered = -2

// parked is what fetches have left for the next ones, by topic and group.
type parked struct {
	mu sync.Mutex
	of map[[2]string]*stand
}

// stand is what a fetch is woken by.
type stand struct {
	w     *waiter
	leave func()
	until time.Time // when to look at the latest; zero: now
}

func (p *parked) take(g *port.Group) *stand {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{g.Topic, g.Name}
	s := p.of[key]
	delete(p.of, key)
	return s
}

func (p *parked) put(g *port.Group, s *stand) {
	p.mu.Lock()
	key := [2]string{g.Topic, g.Name}
	before := p.of[key]
	p.of[key] = s
	p.mu.Unlock()
	if before != nil {
		before.leave()
	}
}

// settlements are those that are under way, the latest of each group, by topic and name. A fetch that is woken lets it go first: its script
// would be first at the server, too, and what comes meanwhile is fetched with the rest.
type settlements struct {
	mu sync.Mutex
	of map[[2]string]chan struct{} // closed at its end
}

// begin notes one; end is called once.
func (s *settlements) begin(g *port.Group) (end func()) {
	key, over := [2]string{g.Topic, g.Name}, make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[key] = over
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(over)
		if s.of[key] == over {
			delete(s.of, key)
		}
	}
}

// wait returns when the latest settlement of a group is over, if there is one, ctx has ended, or the backend was closed.
func (s *settlements) wait(ctx context.Context, closed <-chan struct{}, g *port.Group) {
	s.mu.Lock()
	over := s.of[[2]string{g.Topic, g.Name}]
	s.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-closed:
	}
}

// looked is what came of one look: whether something was found, and in how many ms to look again, -1 where that is not known; or
// unregistered.
type looked struct {
	found bool
	due   int64
}

// attend looks until something is found, as await does, for a group. Again says that this look follows one that found nothing.
func (b *Backend) attend(ctx context.Context, g *port.Group, look func(channel string, again bool) (looked, error)) error {
	s := b.parked.take(g)
	if s == nil {
		if !b.hub.listens() {
			if l, err := look("", false); l.found || err != nil {
				return err
			}
		}
		s = &stand{}
		s.w, s.leave = b.hub.wait(b.space.topicHash(g.Topic))
	}
	kept, again := false, false
	defer func() {
		if !kept {
			s.leave()
		}
	}()
	for {
		if s.until.IsZero() {
			live := b.hub.ready(ctx, time.Second)
			from := time.Now()
			l, err := look(b.space.wake(b.process), again && live)
			if err != nil {
				return err
			}
			d := poll + rand.N(poll/4)
			if !live {
				d = poll / 20
			}
			if l.due >= 0 {
				d = min(d, time.Duration(l.due)*time.Millisecond)
			}
			s.until = from.Add(d)
			if l.found {
				if kept = live && l.due != unregistered; kept {
					b.parked.put(g, s)
				}
				return nil
			}
		}
		if err := b.sleep(ctx, s.w, time.Until(s.until)); err != nil {
			return err
		}
		b.settling.wait(ctx, b.ctx.Done(), g)
		s.until, again = time.Time{}, true
	}
}
