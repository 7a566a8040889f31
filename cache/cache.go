package cache

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Backend is what a cache needs of a backend.
type Backend interface {
	port.Queue
	port.KV
	port.Leases
	Caps() port.Caps
}

// Config is how one node takes part in a cache. The zero value is ready for use. All nodes of a cache have the same TTL, Negative and
// Keep; the rest is each node's own.
type Config[T any] struct {
	Bound     time.Duration // a near copy is served at most this long after the value was current; at least 20 ms; default 1 s
	TTL       time.Duration // of a value in the store, and of its copies; default 10 min; negative: no end
	Jitter    float64       // the part of TTL by which it is shortened at random, 0 to 1; default 0.1; negative: none
	Negative  time.Duration // how long it is kept that the loader said port.ErrNotFound; default not at all
	Size      int           // near copies of this node; default 10,000
	OneLoader bool          // one node of the fleet loads a key while the others wait for it; default false: each node loads
	LoadWait  time.Duration // with OneLoader: how long a load may take before another node begins one; default 10 s
	// Keep is how long tombstones and the log are kept: what was away or loaded for longer starts anew. At least 1 min; default
	// 1 h.
	Keep     time.Duration
	Node     string            // this node's name, 1 to 32 bytes of A-Z a-z 0-9 . _ -; default a random one
	Priority uint8             // decides between two writes of one millisecond; default 0
	Resolver Resolver[T]       // what comes of a Set that meets a stored value; default LastWriter
	Codec    envelope.Codec[T] // default JSON
	Audit    time.Duration     // one hit in this time is compared with the store while the log is followed; default 1 s; negative: none
}

// Cache is one node's part of a cache. Its methods are safe for concurrent use.
type Cache[T any] struct {
	b        Backend
	conf     Config[T]
	node     *node
	invalid  error // what is wrong with the arguments of New
	near     *near[T]
	follow   *follower
	flights  flights[T]
	refresh  refreshes[T]
	audit    audit[T]
	count    counters
	declared atomic.Bool
}

// New makes this node's part of the cache called name, on the family of that name: keys <name>/..., the topic <name>.log, leases
// <name>.load.* and <name>.member.*. It does no I/O and starts nothing; run [Cache.Follow] beside it, without which nothing is
// answered from memory. What is wrong with an argument is answered by every method, with port.ErrInvalid, and a backend whose
// steps are not atomic within a family with port.ErrUnsupported.
func New[T any](b Backend, name string, c Config[T]) *Cache[T] {
	n, err := newNode(name, c.Node, c.Priority)
	cache := &Cache[T]{b: b, node: n, invalid: err}
	if err == nil {
		cache.conf, cache.invalid = c.filled(name)
	}
	if cache.invalid == nil {
		cache.invalid = checkCaps(b, n)
	}
	w := newWatch()
	if cache.invalid == nil {
		cache.near, cache.invalid = newNear[T](cache.conf.Size, w)
	}
	if cache.invalid != nil {
		return cache
	}
	cache.follow = &follower{
		b: b, topic: logTopic(name, cache.conf.Keep), bound: cache.conf.Bound, node: n, watch: w,
		apply: cache.apply, reset: cache.near.reset,
	}
	cache.audit.seen = make(chan sample[T], 1)
	return cache
}

// filled is c with its defaults, checked.
func (c Config[T]) filled(name string) (Config[T], error) {
	c.Bound = orDefault(c.Bound, time.Second)
	c.TTL = orDefault(c.TTL, 10*time.Minute)
	c.Jitter = orDefault(c.Jitter, 0.1)
	c.Size = orDefault(c.Size, 10_000)
	c.LoadWait = orDefault(c.LoadWait, 10*time.Second)
	c.Keep = orDefault(c.Keep, time.Hour)
	c.Audit = orDefault(c.Audit, time.Second)
	c.Jitter = max(c.Jitter, 0)
	if c.Codec == nil {
		c.Codec = envelope.JSON[T]{}
	}
	if c.Resolver == nil {
		c.Resolver = LastWriter[T]()
	}
	bad := func(format string, args ...any) (Config[T], error) {
		return c, fmt.Errorf("cache %s: %s: %w", strconv.Quote(name), fmt.Sprintf(format, args...), port.ErrInvalid)
	}
	switch {
	case c.Bound < minBound:
		return bad("Bound %v is shorter than the minimum %v", c.Bound, minBound)
	case c.Jitter > 1:
		return bad("Jitter %v is not in 0 to 1", c.Jitter)
	case c.Negative < 0:
		return bad("Negative %v is negative; 0 is not at all", c.Negative)
	case c.Size < 0:
		return bad("Size %d is negative", c.Size)
	case c.LoadWait < 0:
		return bad("LoadWait %v is negative", c.LoadWait)
	case c.Keep < minKeep:
		return bad("Keep %v is shorter than the minimum %v", c.Keep, minKeep)
	}
	return c, nil
}

const (
	minBound = 20 * time.Millisecond
	minKeep  = time.Minute
)

func orDefault[N int | time.Duration | float64](v, d N) N {
	if v == 0 {
		return d
	}
	return v
}

// checkCaps refuses a backend on which a change could be seen without its entry of the log.
func checkCaps(b Backend, n *node) error {
	if b == nil {
		return fmt.Errorf("cache %s: no backend: %w", n.name, port.ErrInvalid)
	}
	if c := b.Caps(); c.Atomic == port.AtomicNone {
		return fmt.Errorf("cache %s: on %s a key may change before its entry of the log is there, so no bound can be kept: %w", n.name, c.Name, port.ErrUnsupported)
	}
	return nil
}

// logTopic is the log and its limits. Nobody needs an entry for long: who has missed one starts empty.
func logTopic(name string, keep time.Duration) port.Topic {
	return port.Topic{Name: LogTopic(name), MaxAge: keep, MaxCount: 100_000, Window: -1}
}

// Follow follows the cache's log until ctx ends, and then returns nil. While it runs and hears, near copies are served; it also
// tells the fleet of this node, refreshes what [Cache.LoadStale] asked for, and compares samples of hits with the store. It
// outlasts a backend that does not answer; [Cache.Status] tells of that. An error that trying again does not mend is returned:
// port.ErrInvalid, port.ErrUnsupported, port.ErrClosed. One Follow at a time.
func (c *Cache[T]) Follow(ctx context.Context) error {
	if c.invalid != nil {
		return c.invalid
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { c.keepMember(ctx) })
	wg.Go(func() { c.refreshAll(ctx) })
	if c.conf.Audit > 0 {
		wg.Go(func() { c.auditAll(ctx) })
	}
	return c.follow.run(ctx)
}

// apply applies an entry of the log to what is held here.
func (c *Cache[T]) apply(op Op, _ time.Time) {
	switch op.Kind {
	case OpSet, OpDelete:
		for _, key := range op.Names {
			c.near.drop(key, op.Version)
		}
	case OpTag:
		for _, tag := range op.Names {
			c.near.dropTag(tag)
		}
	case OpPattern, OpClear:
		c.near.hearMark(op)
	case OpHello, OpTick:
	default: // from a newer version of this package: it may have meant anything
		c.near.reset()
	}
}

// ready declares the log before the first change of it: a topic that is made by a write would have other limits.
func (c *Cache[T]) ready(ctx context.Context) error {
	if c.invalid != nil || c.declared.Load() {
		return c.invalid
	}
	if err := c.b.Declare(ctx, c.follow.topic); err != nil {
		return fmt.Errorf("cache %s: %w", c.node.name, err)
	}
	c.declared.Store(true)
	return nil
}
