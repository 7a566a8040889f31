package memory

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

// mailboxSize is how many signals, or hints, are kept for a listener that does not keep up. Of those that come while it is
// full, a listener is told by ErrGap, once; hints are left out.
const mailboxSize = 1024

// hub passes news on to those who listen.
type hub[T any] struct {
	mu    sync.Mutex
	boxes []*mailbox[T]
}

// mailbox is one listener.
type mailbox[T any] struct {
	owner *Backend
	wants func(*T) bool
	gaps  bool // tells of what is missing
	list  fifo[letter[T]]
	ready chan none
	begun atomic.Bool
}

type letter[T any] struct {
	news T
	gap  bool
}

func (h *hub[T]) join(box *mailbox[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boxes = append(h.boxes, box)
}

// remove takes out every box that is unwanted.
func (h *hub[T]) remove(unwanted func(*mailbox[T]) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boxes = slices.DeleteFunc(h.boxes, unwanted)
}

// leave takes out what a handle listens to.
func (h *hub[T]) leave(b *Backend) {
	h.remove(func(box *mailbox[T]) bool { return box.owner == b })
}

func (h *hub[T]) send(news T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, box := range h.boxes {
		if box.wants(&news) {
			box.put(news)
		}
	}
}

// put is called with the hub locked.
func (box *mailbox[T]) put(news T) {
	l := letter[T]{news: news}
	if box.list.len() >= mailboxSize {
		if !box.gaps || box.list.at(box.list.len()-1).gap {
			return
		}
		l = letter[T]{gap: true}
	}
	box.list.push(l)
	select {
	case box.ready <- none{}:
	default:
	}
}

func (h *hub[T]) next(box *mailbox[T]) (letter[T], bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if box.list.len() == 0 {
		return letter[T]{}, false
	}
	return box.list.pop(), true
}

// listen makes a mailbox and the sequence that empties it. The mailbox is there when it returns.
func listen[T any](c call, h *hub[T], gaps bool, wants func(*T) bool) iter.Seq2[T, error] {
	box := &mailbox[T]{owner: c.b, wants: wants, gaps: gaps, ready: make(chan none, 1)}
	h.join(box)
	leave := func() { h.remove(func(o *mailbox[T]) bool { return o == box }) }
	context.AfterFunc(c.ctx, leave)
	return func(yield func(T, error) bool) {
		defer leave()
		var zero T
		if box.begun.Swap(true) {
			yield(zero, fmt.Errorf("memory: %s: the sequence is for one use: %w", c.name, port.ErrInvalid))
			return
		}
		for c.ctx.Err() == nil {
			if c.b.isClosed() {
				yield(zero, c.alive())
				return
			}
			l, ok := h.next(box)
			if !ok {
				c.sleep(never, box.ready)
				continue
			}
			var err error
			if l.gap {
				c.b.counts.gapsToldAbout.Add(1)
				err = fmt.Errorf("memory: %s: the loop was too slow, its buffer of %d overflowed: %w", c.name, mailboxSize, port.ErrGap)
			}
			if !yield(l.news, err) {
				return
			}
		}
	}
}

// Signal puts payload into the buffer of everyone who listens, before it returns.
func (b *Backend) Signal(ctx context.Context, channel string, payload []byte) error {
	if err := port.CheckSignal(b.caps, channel, payload); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	_, err := do(ctx, b, "signal", func(c call) (none, error) {
		b.space.signals.send(port.Signal{Channel: channel, Payload: payload})
		b.counts.signals.Add(1)
		return none{}, nil
	})
	return err
}

// Listen buffers 1,024 signals.
func (b *Backend) Listen(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error) {
	if err := port.CheckListen(b.caps, patterns); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	patterns = slices.Clone(patterns)
	wants := func(sig *port.Signal) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return port.Match(p, sig.Channel) })
	}
	return do(ctx, b, "listen", func(c call) (iter.Seq2[port.Signal, error], error) {
		return listen(c, &b.space.signals, true, wants), nil
	})
}

// hint tells the watchers of leases to look again.
func (s *space) hint(lease string) { s.hints.send(port.Lease{Name: lease}) }

// WatchLeases sets Name alone, and keeps 1,024 hints for a loop that is slow.
func (b *Backend) WatchLeases(ctx context.Context, prefix string) (iter.Seq2[port.Lease, error], error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("memory: watchleases: %w", err)
	}
	wants := func(l *port.Lease) bool { return strings.HasPrefix(l.Name, prefix) }
	return do(ctx, b, "watchleases", func(c call) (iter.Seq2[port.Lease, error], error) {
		return listen(c, &b.space.hints, false, wants), nil
	})
}
