package redis

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// hub is the one connection that listens: for signals, for hints of leases, and for the wake-ups of calls that wait. It connects
// when the first needs it, and again whenever the connection breaks.
type hub struct {
	b    *Backend
	once sync.Once
	asks chan ask // patterns to be listened to, for the goroutine that has the connection

	mu       sync.Mutex
	live     chan struct{} // closed while the connection listens
	before   bool          // it has listened before
	waiters  map[string]map[*waiter]bool
	patterns map[string]map[*listener]bool
}

// ask is a pattern that somebody wants to be listened to, or no more, and where it is answered.
type ask struct {
	pattern string
	off     bool
	done    chan error
}

// waiter is one call that waits for a topic.
type waiter struct{ woken chan struct{} }

func newHub(b *Backend) *hub {
	return &hub{
		b: b, asks: make(chan ask), live: make(chan struct{}),
		waiters: map[string]map[*waiter]bool{}, patterns: map[string]map[*listener]bool{},
	}
}

// start connects unless that was begun before.
func (h *hub) start() { h.once.Do(func() { h.b.begin(h.run) }) }

// ready returns when wake-ups are heard, and reports whether they are when ctx or that time has ended before.
func (h *hub) ready(ctx context.Context, most time.Duration) bool {
	h.start()
	h.mu.Lock()
	live := h.live
	h.mu.Unlock()
	select {
	case <-live:
		return true
	default:
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-live:
		return true
	case <-t.C:
	case <-ctx.Done():
	case <-h.b.ctx.Done():
	}
	return false
}

// listens reports whether wake-ups are heard.
func (h *hub) listens() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.live:
		return true
	default:
		return false
	}
}

// wait registers a call that waits for the topic with this hash; leave takes it off.
func (h *hub) wait(topic string) (w *waiter, leave func()) {
	w = &waiter{woken: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	set := h.waiters[topic]
	if set == nil {
		set = map[*waiter]bool{}
		h.waiters[topic] = set
	}
	set[w] = true
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(set, w); len(set) == 0 {
			delete(h.waiters, topic)
		}
	}
}

func (w *waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// run keeps a connection until the backend is closed.
func (h *hub) run() {
	for h.b.ctx.Err() == nil {
		why := h.listen()
		h.broken()
		t := time.NewTimer(20*time.Millisecond + rand.N(80*time.Millisecond))
		select {
		case <-t.C:
		case a := <-h.asks:
			a.done <- why
		case <-h.b.ctx.Done():
		}
		t.Stop()
	}
}

var errEnded = errors.New("the connection that listened has ended")

// listen has one connection for as long as it holds, and tells why it does not any more.
func (h *hub) listen() error {
	c, release := h.b.client.Dedicate()
	defer release()
	lost := c.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: h.heard})
	h.mu.Lock()
	patterns := make([]string, 0, len(h.patterns))
	for p := range h.patterns {
		patterns = append(patterns, p)
	}
	h.mu.Unlock()
	// In a cluster, at the node that publishes the signals: what goes from node to node is lost when their link breaks.
	on := []rueidis.Completed{c.B().Subscribe().Channel(h.b.space.wake(h.b.process)).Build().SetSlot(h.b.space.families())}
	for part := range slices.Chunk(patterns, 500) {
		on = append(on, c.B().Psubscribe().Pattern(part...).Build())
	}
	for _, r := range c.DoMulti(h.b.ctx, on...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	h.mu.Lock()
	close(h.live)
	h.wakeAll() // what was written meanwhile may have woken nobody
	if h.before {
		h.gapAll() // and what was signalled since the connection broke was not heard
	}
	h.before = true
	h.mu.Unlock()
	for {
		select {
		case a := <-h.asks:
			a.done <- h.turn(c, a)
		case err := <-lost:
			return cmp.Or(err, errEnded)
		case <-h.b.ctx.Done():
			return h.b.ctx.Err()
		}
	}
}

func (h *hub) turn(c rueidis.DedicatedClient, a ask) error {
	if a.off {
		h.mu.Lock()
		wanted := len(h.patterns[a.pattern]) > 0
		h.mu.Unlock()
		if wanted {
			return nil
		}
		return c.Do(h.b.ctx, c.B().Punsubscribe().Pattern(a.pattern).Build()).Error()
	}
	return c.Do(h.b.ctx, c.B().Psubscribe().Pattern(a.pattern).Build()).Error()
}

// broken tells everyone who listens that there is a gap, and who waits to look again. What is not heard until there is another
// connection is told then.
func (h *hub) broken() {
	h.b.forget()
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.live:
		h.live = make(chan struct{})
		h.wakeAll()
		h.gapAll()
	default:
	}
}

// wakeAll makes all that wait look again. The caller holds mu, as for gapAll.
func (h *hub) wakeAll() {
	for _, set := range h.waiters {
		for w := range set {
			w.wake()
		}
	}
}

func (h *hub) gapAll() {
	for l := range h.listeners() {
		l.gap()
	}
}

// listeners yields each listener once. The caller holds mu.
func (h *hub) listeners() map[*listener]bool {
	all := map[*listener]bool{}
	for _, set := range h.patterns {
		for l := range set {
			all[l] = true
		}
	}
	return all
}

// heard is called by the connection's reader for each message, so it does not wait.
func (h *hub) heard(m rueidis.PubSubMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Pattern == "" {
		for w := range h.waiters[m.Message] {
			w.wake()
		}
		return
	}
	for l := range h.patterns[m.Pattern] {
		l.hear(m)
	}
}

// subscribe makes l hear its patterns, and returns when it does.
func (h *hub) subscribe(ctx context.Context, l *listener) error {
	h.start()
	h.mu.Lock()
	for _, p := range l.patterns {
		if h.patterns[p] == nil {
			h.patterns[p] = map[*listener]bool{}
		}
		h.patterns[p][l] = true
	}
	h.mu.Unlock()
	for _, p := range l.patterns {
		if err := h.ask(ctx, ask{pattern: p, done: make(chan error, 1)}); err != nil {
			h.unsubscribe(l)
			return err
		}
	}
	return nil
}

func (h *hub) ask(ctx context.Context, a ask) error {
	select {
	case h.asks <- a:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.b.ctx.Done():
		return port.ErrClosed
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.b.ctx.Done():
		return port.ErrClosed
	}
}

// unsubscribe takes l off. What nobody listens to any more is given up beside the caller.
func (h *hub) unsubscribe(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var off []string
	for _, p := range l.patterns {
		if set := h.patterns[p]; set[l] {
			if delete(set, l); len(set) == 0 {
				delete(h.patterns, p)
				off = append(off, p)
			}
		}
	}
	if len(off) == 0 {
		return
	}
	h.b.begin(func() {
		for _, p := range off {
			// Where it fails there is no connection, and the next one will not ask for this pattern.
			if h.ask(h.b.ctx, ask{pattern: p, off: true, done: make(chan error, 1)}) != nil {
				return
			}
		}
	})
}

// close ends every sequence. The connection ends with the backend's ctx.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners() {
		l.end()
	}
}
