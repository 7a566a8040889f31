package nats

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// buffered is how many signals a slow loop may fall behind.
const buffered = 4096

// listener is one sequence of signals or hints.
type listener struct {
	root string // before the channel's name in a subject
	live bool   // of the feed: it hears what has a larger sequence than from
	from uint64
	want func(name string) bool

	mu    sync.Mutex
	items []port.Signal // the zero signal is a gap
	lost  bool          // something was lost since the last item
	drops int           // that the client told of
	over  bool
	news  chan struct{}
}

// hear takes a message in. It is called by the connection for one message after the other.
func (l *listener) hear(m *client.Msg) {
	name := strings.TrimPrefix(m.Subject, l.root)
	drops, err := m.Sub.Dropped()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && drops > l.drops {
		l.drops, l.lost = drops, true
	}
	l.add(port.Signal{Channel: name, Payload: m.Data})
}

// start makes a listener to the feed live: it hears what has a larger sequence.
func (l *listener) start(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live, l.from = true, seq
}

// hand takes a record of the feed in.
func (l *listener) hand(seq uint64, s port.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live && seq > l.from {
		l.add(s)
	}
}

// add puts a signal to the others, where it is wanted. The caller holds mu.
func (l *listener) add(s port.Signal) {
	if !l.want(s.Channel) {
		return
	}
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
func (l *listener) take() (items []port.Signal, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	items, l.items = l.items, nil
	if l.lost {
		items, l.lost = append(items, port.Signal{}), false
	}
	return items, l.over
}

// listen subscribes below root, where the names begin with head, and makes the sequence.
func (b *Backend) listen(ctx context.Context, what, root, head string, want func(string) bool) (iter.Seq2[port.Signal, error], error) {
	if err := b.alive(ctx, what); err != nil {
		return nil, err
	}
	l := &listener{root: root, want: want, news: make(chan struct{}, 1)}
	begin := func() error { return b.attend(ctx, l) }
	if b.cluster == "" {
		begin = func() error { return b.hearken(ctx, l, root+head) }
	}
	if err := begin(); err != nil {
		b.unlisten(l)
		return nil, b.fail(ctx, what, err, false)
	}
	stop := context.AfterFunc(ctx, func() { b.unlisten(l) })
	return func(yield func(port.Signal, error) bool) {
		defer func() {
			stop()
			b.unlisten(l)
		}()
		for ctx.Err() == nil {
			items, over := l.take()
			for _, s := range items {
				if ctx.Err() != nil || !b.yield(what, s, yield) {
					return
				}
			}
			if len(items) > 0 {
				continue
			}
			if over || b.ctx.Err() != nil {
				yield(port.Signal{}, fmt.Errorf("nats: %s: %w", what, port.ErrClosed))
				return
			}
			select {
			case <-l.news:
			case <-ctx.Done():
			}
		}
	}, nil
}

// hearken subscribes where one server has all who send and all who listen.
func (b *Backend) hearken(ctx context.Context, l *listener, subject string) error {
	sub, err := b.conn.Subscribe(subject, l.hear)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	b.mu.Lock()
	b.listeners[l] = sub
	b.mu.Unlock()
	if err := sub.SetPendingLimits(1<<16, 64<<20); err != nil {
		return err
	}
	return b.flush(ctx)
}

func (b *Backend) yield(what string, s port.Signal, yield func(port.Signal, error) bool) bool {
	if s.Channel != "" {
		return yield(s, nil)
	}
	b.counts.gaps.Add(1)
	return yield(port.Signal{}, fmt.Errorf("nats: %s: %w", what, port.ErrGap))
}

func (b *Backend) unlisten(l *listener) {
	b.mu.Lock()
	sub := b.listeners[l]
	delete(b.listeners, l)
	b.mu.Unlock()
	if sub != nil {
		// It fails when the connection is closed, and then there is nothing to be ended.
		_ = sub.Unsubscribe()
	}
}

// gaps tells everyone who listens that something may have been lost.
func (b *Backend) gaps() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		l.gap()
	}
}

// Signal returns when the server has it.
func (b *Backend) Signal(ctx context.Context, channel string, payload []byte) error {
	if err := port.CheckSignal(b.caps, channel, payload); err != nil {
		return fmt.Errorf("nats: signal: %w", err)
	}
	if err := b.alive(ctx, "signal"); err != nil {
		return err
	}
	if s := b.conn.Status(); s != client.CONNECTED {
		return b.fail(ctx, "signal", fmt.Errorf("the connection is %s: %w", strings.ToLower(s.String()), errNotSent), false)
	}
	if b.cluster != "" {
		err := b.publish(ctx, "signal", channel, payload)
		if err == nil {
			b.counts.signals.Add(1)
		}
		return err
	}
	if err := b.conn.Publish(b.space.signal(channel), payload); err != nil {
		return b.fail(ctx, "signal", fmt.Errorf("%w: %w", errNotSent, err), false)
	}
	if err := b.flush(ctx); err != nil {
		return b.fail(ctx, "signal", err, true)
	}
	b.counts.signals.Add(1)
	return nil
}

// Listen has, on a server that stands alone, one subscription for all its patterns, to what they have in common before their first metacharacter.
func (b *Backend) Listen(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error) {
	if err := port.CheckListen(b.caps, patterns); err != nil {
		return nil, fmt.Errorf("nats: listen: %w", err)
	}
	patterns = slices.Clone(patterns)
	want := func(name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return port.Match(p, name) })
	}
	root := b.space.signal("")
	if b.cluster != "" {
		root = b.space.keptSignal("")
	}
	return b.listen(ctx, "listen", root, headOf(patterns), want)
}

// headOf is the subject that has everything the patterns can match: their common parts before a dot, and all below.
func headOf(patterns []string) string {
	if len(patterns) == 1 && !port.IsPattern(patterns[0]) && port.CheckName("channel", patterns[0]) == nil {
		return patterns[0]
	}
	head := literal(patterns[0])
	for _, p := range patterns[1:] {
		for !strings.HasPrefix(literal(p), head) {
			head = strings.TrimSuffix(head, ".")
			head = head[:strings.LastIndexByte(head, '.')+1]
		}
	}
	if head != "" && port.CheckName("channel", strings.TrimSuffix(head, ".")) != nil {
		return ">" // it matches no channel's name
	}
	return head + ">"
}

// literal is what stands before the last dot before the first metacharacter, with the dot.
func literal(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		pattern = pattern[:i]
	}
	return pattern[:strings.LastIndexByte(pattern, '.')+1]
}

// WatchLeases hears the hints that those who change a lease send.
func (b *Backend) WatchLeases(ctx context.Context, prefix string) (iter.Seq2[port.Lease, error], error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("nats: watch leases: %w", err)
	}
	root := b.space.leaseHint("")
	if b.cluster != "" {
		root = b.space.keptLeaseHint("")
	}
	seq, err := b.listen(ctx, "watch leases", root, literal(prefix+"*")+">", func(name string) bool { return strings.HasPrefix(name, prefix) })
	if err != nil {
		return nil, err
	}
	return func(yield func(port.Lease, error) bool) {
		for s, err := range seq {
			if !yield(port.Lease{Name: s.Channel}, err) {
				return
			}
		}
	}, nil
}
