package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Backend is one process's handle on a namespace of a server.
type Backend struct {
	client  rueidis.Client
	own     bool   // the client was made here
	where   string // the server, for error messages
	conf    Config
	space   space
	process string // tells this handle from every other
	scripts scripts
	caps    port.Caps
	newer   bool // the server takes SET with NX and GET together
	counts  counts
	hub     *hub
	janitor *janitor

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that end with ctx

	mu       sync.Mutex
	declared map[string]port.Topic // what Declare has set from here
	families map[string]bool       // that are registered
}

var _ port.Backend = (*Backend)(nil)

// Open connects to the server and asks it what it is: the answers make Caps. It answers [port.ErrUnavailable] when the server
// cannot be reached or refuses, and [port.ErrUnsupported] when it is older than 6.2 or part of a cluster.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		client: c.Client, where: "own client", conf: c, space: space{c.namespace() + ":"}, process: rand.Text(),
		declared: map[string]port.Topic{}, families: map[string]bool{},
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if b.scripts, err = load(); err != nil {
		return nil, err
	}
	if b.client == nil {
		if err := b.connect(); err != nil {
			return nil, err
		}
	}
	b.hub = newHub(b)
	b.janitor = newJanitor(b)
	if err := b.ask(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// connect makes a client of this backend's own.
func (b *Backend) connect() error {
	o, err := b.conf.options()
	if err != nil {
		return err
	}
	b.where, b.own = masked(b.conf.URL), true
	if b.client, err = rueidis.NewClient(o); err != nil {
		if b.client != nil {
			b.client.Close()
		}
		if answer, ok := rueidis.IsRedisErr(err); ok {
			return fmt.Errorf("redis: open %s: %w", b.where, refused(answer.Error(), false))
		}
		return fmt.Errorf("redis: open %s: %w: %w", b.where, port.ErrUnavailable, err)
	}
	return nil
}

// Caps tells what this backend promises; docs/redis.md says what it depends on.
func (b *Backend) Caps() port.Caps { return b.caps }

// Close ends every waiting call with ErrClosed, waits for what this backend does beside them, and closes the client that was
// made here. A client that the caller brought stays open.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.hub.close()
	b.work.Wait()
	if b.own {
		b.client.Close()
	}
	return nil
}

// begin runs fn beside the caller until it is done; Close waits for it. It is not begun after Close.
func (b *Backend) begin(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() == nil {
		b.work.Go(fn)
	}
}

// register notes a family where lists begin, once for each backend and again after a connection broke.
func (b *Backend) register(ctx context.Context, what, name string) error {
	family := port.Family(name)
	b.mu.Lock()
	known := b.families[family]
	b.mu.Unlock()
	if known {
		return nil
	}
	if err := b.alive(ctx, what); err != nil {
		return err
	}
	err := b.client.Do(ctx, b.client.B().Sadd().Key(b.space.families()).Member(family).Build()).Error()
	if err != nil {
		return b.fail(ctx, what, err, false)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.families[family] = true
	return nil
}

// forget gives up what this process believes the server to know: it may have been restarted, and lost it.
func (b *Backend) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.families)
	clear(b.declared)
}
