package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// Backend is one process's handle on a namespace.
type Backend struct {
	conn    *client.Conn
	own     bool // the connection was made here
	host    *host
	where   string // the server, for error messages
	conf    Config
	space   space
	process string // tells this handle from every other
	batches atomic.Uint64
	cluster string // that the server is one of; "": it stands alone
	copies  int    // replicas of the stream
	barrier barrier
	feed    feed
	bounded atomic.Bool // the namespace has a size that it must not pass
	full    atomic.Bool // and it has
	desk    *desk
	bells   *bells
	turns   *turns
	clock   clock
	caps    port.Caps
	counts  counts

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that end with ctx

	mu        sync.Mutex
	declared  map[string]port.Topic // what Declare has set from here
	tails     map[string]*tail
	lanes     map[string]*lane
	seen      map[string]sighting
	memories  map[uint64]*memory // of groups, by number
	listeners map[*listener]*client.Subscription
	subs      []*client.Subscription
	handing   map[chan struct{}]bool // what fetches that were given up hand back; closed when it is done
	written   map[string]bool        // topics that were appended to since they were last trimmed
}

var _ port.Backend = (*Backend)(nil)

// Open connects, and makes the namespace where there is none. It answers [port.ErrUnavailable] when the server cannot be
// reached or refuses, and [port.ErrUnsupported] when it is older than 2.12, has no JetStream, is one of a cluster with fewer servers
// than Config.Replicas, or keeps the namespace otherwise than this adapter needs it.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b := newBackend(ctx, c)
	if err := b.connect(); err != nil {
		b.cancel()
		return nil, err
	}
	return b.start(ctx)
}

func newBackend(ctx context.Context, c Config) *Backend {
	b := &Backend{
		conn: c.Conn, where: "own connection", conf: c, space: spaceOf(c.namespace()), process: rand.Text(),
		declared: map[string]port.Topic{}, tails: map[string]*tail{}, lanes: map[string]*lane{}, seen: map[string]sighting{}, memories: map[uint64]*memory{},
		listeners: map[*listener]*client.Subscription{}, written: map[string]bool{},
		handing: map[chan struct{}]bool{},
	}
	b.bells = &bells{b: b, by: map[string]chan struct{}{}}
	b.turns = &turns{b: b, by: map[string]turn{}}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return b
}

// connect makes a connection of this backend's own.
func (b *Backend) connect() error {
	if b.conn != nil {
		return nil
	}
	o, err := b.conf.options(b)
	if err != nil {
		return err
	}
	b.where, b.own = masked(b.conf.URL), true
	if b.conn, err = client.Connect(b.conf.address(), o...); err != nil {
		return fmt.Errorf("nats: open %s: %w: %w", b.where, port.ErrUnavailable, err)
	}
	return nil
}

// start opens the namespace on the connection.
func (b *Backend) start(ctx context.Context) (*Backend, error) {
	var err error
	if b.desk, err = newDesk(b); err != nil {
		return nil, errors.Join(fmt.Errorf("nats: open %s: %w: %w", b.where, port.ErrUnavailable, err), b.Close())
	}
	b.begin(b.follow)
	if err := b.subscribe(b.space.turns(), b.turns.hear); err != nil {
		return nil, errors.Join(b.fail(ctx, "open", err, false), b.Close())
	}
	if err := b.openSpace(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.begin(b.tend)
	return b, nil
}

// Caps tells what this backend promises; docs/nats.md says what it depends on.
func (b *Backend) Caps() port.Caps { return b.caps }

// Close lets what fetches that were given up have lent be handed back, for as long as the timeout of an answer, then ends every
// waiting call with ErrClosed, waits for what this backend does beside them, and closes the connection and the
// server that were started here. A connection that the caller brought stays open.
func (b *Backend) Close() error {
	b.handedBack()
	b.mu.Lock()
	b.cancel()
	for l := range b.listeners {
		l.end()
	}
	subs := b.subs
	for _, sub := range b.listeners {
		subs = append(subs, sub)
	}
	b.subs, b.listeners = nil, map[*listener]*client.Subscription{}
	b.mu.Unlock()
	b.work.Wait()
	if b.own && b.conn != nil {
		b.conn.Close()
	} else {
		if b.desk != nil {
			subs = append(subs, b.desk.sub)
		}
		for _, sub := range subs {
			// It fails when the caller has closed the connection, and then there is nothing to be ended.
			_ = sub.Unsubscribe()
		}
	}
	return b.host.close()
}

// begin runs fn beside the caller until it is done; Close waits for it. It is not begun after Close.
func (b *Backend) begin(fn func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return false
	}
	b.work.Go(fn)
	return true
}

// subscribe has fn called until the backend is closed.
func (b *Backend) subscribe(subject string, fn func(*client.Msg)) error {
	sub, err := b.conn.Subscribe(subject, fn)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, sub)
	return nil
}

// follow hears what becomes of the connection.
func (b *Backend) follow() {
	changes := b.conn.StatusChanged(client.CONNECTED, client.RECONNECTING, client.DISCONNECTED, client.CLOSED)
	defer b.conn.RemoveStatusListener(changes)
	for {
		select {
		case s, ok := <-changes:
			if !ok {
				return
			}
			b.gaps() // what was signalled while there was no connection is lost
			if s == client.CONNECTED {
				b.bells.ringAll()
			} else {
				b.desk.cut()
			}
		case <-b.ctx.Done():
			return
		}
	}
}

// tend keeps the clock, the limits of what was written here and of what nobody writes to, and forgets what was not used for long.
func (b *Backend) tend() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		if b.clock.old() || b.bounded.Load() {
			if _, err := b.tellTime(b.ctx); err != nil {
				continue // there is no connection; the next second will tell
			}
		}
		b.trimWritten()
		if n%30 == 0 {
			b.trimAll()
			b.forget(time.Now().Add(-10 * time.Minute))
		}
	}
}

// trimWritten keeps the topics that were appended to from here within their limits. What fails is tried again with the next
// message, or by trimAll.
func (b *Backend) trimWritten() {
	b.mu.Lock()
	topics := b.written
	b.written = map[string]bool{}
	b.mu.Unlock()
	for topic := range topics {
		if b.trim(b.ctx, topic, 0, 0) != nil {
			return
		}
	}
}

// trimAll keeps all topics within their limits. One process does it for all, every half a minute.
func (b *Backend) trimAll() {
	o := &op{what: "trim", writes: true}
	mine := false
	o.decide = func(t *tx) error {
		subject := b.space.root + "s.j.trim"
		c, err := t.get(subject)
		if err != nil {
			return err
		}
		if mine = !b.living(c).found; mine {
			t.put(subject, b.lasting(25*time.Second, nil))
		}
		return nil
	}
	if b.alone(b.ctx, o) != nil || !mine {
		return
	}
	names, err := b.topicNames(b.ctx, "*")
	if err != nil {
		return
	}
	for _, topic := range names {
		if b.trim(b.ctx, topic, 0, 0) != nil || b.sweep(b.ctx, topic) != nil {
			return
		}
	}
}

// forget gives up what was not used since then.
func (b *Backend) forget(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, tl := range b.tails {
		if tl.used.Before(since) {
			delete(b.tails, name)
		}
	}
	for name, l := range b.lanes {
		if l.used.Before(since) && l.idle() {
			delete(b.lanes, name)
		}
	}
	for serial, m := range b.memories {
		if m.used.Before(since) {
			delete(b.memories, serial)
		}
	}
	for name, s := range b.seen {
		if s.since.Before(since.Add(-24 * time.Hour)) {
			delete(b.seen, name)
		}
	}
}
