package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// buffered is how many signals a slow loop may fall behind.
const buffered = 4096

// listener is one sequence of signals or hints.
type listener struct {
	b        *Backend
	patterns []string // as the server knows them, each once
	coarse   []string // the same without what is before the channel's name, and at least as wide as logical
	logical  []string // as the caller gave them; nil: all that comes is meant

	mu    sync.Mutex
	items []port.Signal // the zero signal is a gap
	lost  bool          // items is full, or the connection broke, since the last item
	over  bool
	news  chan struct{}
}

// hear takes a message in. Where several patterns match its channel, each brings it once, and the first of the list counts.
func (l *listener) hear(m rueidis.PubSubMessage) {
	s := port.Signal{Channel: l.b.space.signalName(m.Channel), Payload: []byte(m.Message)}
	if l.logical != nil {
		first := slices.IndexFunc(l.coarse, func(p string) bool { return port.Match(p, s.Channel) })
		meant := slices.ContainsFunc(l.logical, func(p string) bool { return port.Match(p, s.Channel) })
		if !meant || l.patterns[first] != m.Pattern {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items)+1 >= buffered {
		l.lost = true
		return
	}
	if l.lost {
		l.items, l.lost = append(l.items, port.Signal{}), false
	}
	l.items = append(l.items, s)
	l.nudge()
}

func (l *listener) gap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	l.nudge()
}

func (l *listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.nudge()
}

// nudge tells the loop that there is something. The caller holds mu.
func (l *listener) nudge() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// take is what has come since the last time; a gap at the end is taken as well.
func (l *listener) take(into []port.Signal) (items []port.Signal, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	items, l.items = l.items, into[:0]
	if l.lost {
		items, l.lost = append(items, port.Signal{}), false
	}
	return items, l.over
}

// listen subscribes and makes the sequence.
func (b *Backend) listen(ctx context.Context, what string, l *listener) (iter.Seq2[port.Signal, error], error) {
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	l.b, l.news = b, make(chan struct{}, 1)
	if err := b.hub.subscribe(ctx, l); err != nil {
		return nil, b.fail(ctx, what, err, false)
	}
	stop := context.AfterFunc(ctx, func() { b.hub.unsubscribe(l) })
	return func(yield func(port.Signal, error) bool) {
		defer func() {
			stop()
			b.hub.unsubscribe(l)
		}()
		var items []port.Signal
		for ctx.Err() == nil {
			var over bool
			items, over = l.take(items)
			for _, s := range items {
				if ctx.Err() != nil {
					return
				}
				if !b.yield(what, s, yield) {
					return
				}
			}
			if len(items) > 0 {
				continue
			}
			if over || b.ctx.Err() != nil {
				yield(port.Signal{}, fmt.Errorf("redis: %s: %w", what, port.ErrClosed))
				return
			}
			select {
			case <-l.news:
			case <-ctx.Done():
			}
		}
	}, nil
}

func (b *Backend) yield(what string, s port.Signal, yield func(port.Signal, error) bool) bool {
	if s.Channel != "" {
		return yield(s, nil)
	}
	b.counts.gaps.Add(1)
	return yield(port.Signal{}, fmt.Errorf("redis: %s: %w", what, port.ErrGap))
}
