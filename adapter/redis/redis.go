package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Backend is one process's handle on a namespace of a server.
type Backend struct {
	client     rueidis.Client
	own        bool          // the client was made here
	where      string        // the server, for error messages
	clear      bool          // leave to Clear
	replicas   int           // that must have a new lease
	quarantine time.Duration // without new leases after the master changed
	patience   time.Duration // with replicas
	space      space
	process    string // tells this handle from every other
	scripts    scripts
	caps       port.Caps
	newer      bool // the server takes SET with NX and GET together
	counts     counts
	hub        *hub
	janitor    *janitor
	gather     *gather
	pipeline   pipeline
	acquiring  lines[*acquiring]
	releasing  lines[*releasing]
	ahead      ahead
	parked     parked
	settling   settlements

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that end with ctx

	mu     sync.Mutex
	leases map[string]leaseName // of families

	facts    sync.RWMutex          // guards what is believed of the server
	known    int                   // counts how often what follows was given up
	declared map[string]port.Topic // what Declare has set from here
	families map[string]bool       // that are registered
}

var _ port.Backend = (*Backend)(nil)

// Open connects to the server, asks it what it is, which makes Caps, and tries whether it lets this user do what is needed. It
// answers [port.ErrUnavailable] when the server cannot be reached or refuses, and [port.ErrUnsupported] when it is older than
// 6.2.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		client: c.Client, where: ownClient, clear: c.AllowClear, replicas: c.Replicas, quarantine: c.Quarantine, patience: c.timeout(), space: space{c.namespace() + ":"}, process: rand.Text(),
		declared: map[string]port.Topic{}, families: map[string]bool{}, leases: map[string]leaseName{}, ahead: ahead{of: map[[2]string]*spot{}}, parked: parked{of: map[[2]string]*stand{}},
		settling: settlements{of: map[[2]string]chan struct{}{}},
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	opened := context.AfterFunc(ctx, b.cancel) // what is being dialed is given up with ctx, until all is open
	var err error
	if b.scripts, err = load(); err != nil {
		return nil, err
	}
	b.hub = newHub(b)
	b.janitor = newJanitor(b)
	b.gather = newGather(b)
	b.pipeline = pipeline{b: b, of: map[string]*way{}}
	b.acquiring.open(b, "acquire", b.acquire)
	b.releasing.open(b, "release", b.giveBack)
	if b.client == nil {
		if err := b.connect(ctx, c); err != nil {
			b.cancel()
			return nil, err
		}
	}
	err = b.ask(ctx)
	if !opened() {
		err = fmt.Errorf("redis: open %s: %w", b.where, context.Cause(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if !b.own {
		b.hub.start() // it notices a server that was restarted; with a client made here, the next connection does
	}
	return b, nil
}

const ownClient = "own client"

// connect makes a client of this backend's own. One address may be that of a cluster's member, which tells so.
func (b *Backend) connect(ctx context.Context, c Config) error {
	o, err := c.options(b)
	if err != nil {
		return err
	}
	b.where, b.own = masked(c.URL), true
	if err := b.made(ctx, o); err != nil || !o.ForceSingleClient {
		return err
	}
	text, err := b.client.Do(ctx, b.client.B().Info().Section("cluster").Build()).ToString()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("redis: open %s: %w: %w", b.where, port.ErrUnavailable, context.Cause(ctx))
		} else {
			err = b.fail(ctx, "open", err, false)
		}
		return errors.Join(err, b.Close())
	}
	if pairs(text)["cluster_enabled"] != "1" {
		return nil
	}
	b.client.Close()
	o.ForceSingleClient = false
	return b.made(ctx, o)
}

// made makes one client.
func (b *Backend) made(ctx context.Context, o rueidis.ClientOption) (err error) {
	if b.client, err = rueidis.NewClient(o); err != nil {
		if b.client != nil {
			b.client.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("redis: open %s: %w: %w", b.where, port.ErrUnavailable, context.Cause(ctx))
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
func (b *Backend) register(ctx context.Context, what, family string) error {
	b.facts.RLock()
	done, known := b.families[family], b.known
	b.facts.RUnlock()
	if done {
		return nil
	}
	if err := b.alive(ctx, what); err != nil {
		return err
	}
	err := b.client.Do(ctx, b.client.B().Sadd().Key(b.space.families()).Member(family).Build()).Error()
	if err != nil {
		return b.fail(ctx, what, err, false)
	}
	b.facts.Lock()
	defer b.facts.Unlock()
	if b.known == known {
		b.families[family] = true
	}
	return nil
}

// forget gives up what this process believes the server to know: it may have been restarted, and lost it.
func (b *Backend) forget() {
	b.facts.Lock()
	defer b.facts.Unlock()
	b.known++
	clear(b.families)
	clear(b.declared)
}
