// Package memory is the reference backend: every port of package port, exact, inside of one process. It is what programs use
// without a server, and what handlers, clusters and pipelines are tested on.
//
// It keeps everything in memory, guarded by one mutex per namespace that is taken once per call. It starts no goroutine and
// does not poll: a call that waits sleeps on a channel until there is something for it, or on a timer until something is due.
// Time is package time's, so in a testing/synctest bubble hours pass at once.
//
// What may not enter: other imports than port and the standard library, knowledge of what is built on the ports, and
// anything that another backend could not do as well.
package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

// maxBody is the largest body, payload or value.
const maxBody = 64 << 20

// Config is how one process opens a store. The zero value is ready for use.
type Config struct {
	Namespace  string         // what this process sees of the store; default "", a namespace like any other
	Stepwise   bool           // default false; true: Caps.Atomic is AtomicNone and Fault is called between the parts of a step
	Families   bool           // default false; true: Caps.Atomic is AtomicFamily. Stepwise prevails where both are set
	AllowClear bool           // leave to Clear; default false
	Fault      func(Op) Fault // is asked before, between the parts of and after every operation; default none
}

// Backend is one process's handle on a store. The store lives as long as a handle refers to it.
type Backend struct {
	store   *store
	space   *space
	conf    Config
	caps    port.Caps
	handle  int
	points  atomic.Int64 // calls of conf.Fault
	counts  counts
	parcels sync.Pool // of *parcel, without what they handed out
	kept    sync.Pool // of *kept, empty

	end    sync.Once
	closed chan struct{}
}

var _ port.Backend = (*Backend)(nil)

// New makes a store and opens it.
func New(c Config) *Backend {
	return (&store{spaces: map[string]*space{}}).open(c)
}

// Open is a second process on the same store: it shares nothing with b but what the backend keeps. It works after b was
// closed, too.
func (b *Backend) Open(c Config) *Backend { return b.store.open(c) }

// store is what New makes: namespaces, each a world of its own.
type store struct {
	mu     sync.Mutex
	spaces map[string]*space
	opened int
}

func (st *store) open(c Config) *Backend {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.opened++
	s := st.spaces[c.Namespace]
	if s == nil {
		s = newSpace()
		st.spaces[c.Namespace] = s
	}
	return &Backend{store: st, space: s, conf: c, caps: capsOf(c), handle: st.opened, closed: make(chan struct{})}
}

func capsOf(c Config) port.Caps {
	atomicity := port.AtomicAll
	switch {
	case c.Stepwise:
		atomicity = port.AtomicNone
	case c.Families:
		atomicity = port.AtomicFamily
	}
	return port.Caps{
		Name:            "memory",
		Atomic:          atomicity,
		Durable:         port.DurableNone,
		LinearReads:     true,
		MinTTL:          time.Millisecond,
		Fenced:          true,
		Exclusion:       true,
		TokenOrder:      true,
		DelayResolution: time.Millisecond,
		MinLoan:         time.Millisecond,
		MaxBody:         maxBody,
		LiveSignals:     true,
		GapDetection:    true,
	}
}

// Caps tells what this backend promises.
func (b *Backend) Caps() port.Caps { return b.caps }

// Health is healthy until the handle is closed or its Fault says otherwise.
func (b *Backend) Health(ctx context.Context) port.Health {
	start := time.Now()
	_, err := do(ctx, b, "health", func(call) (none, error) { return none{}, nil })
	h := port.Health{State: port.Healthy, RoundTrip: time.Since(start)}
	if err != nil {
		h.State = port.Unavailable
		h.Details = []string{fmt.Sprintf("The backend does not answer: %v.", err)}
	}
	return h
}

// Close ends every waiting call of this handle with ErrClosed. Other handles of the store are not touched.
func (b *Backend) Close() error {
	b.leave()
	return nil
}

// leave ends the handle.
func (b *Backend) leave() {
	b.end.Do(func() {
		close(b.closed)
		b.space.signals.leave(b)
		b.space.hints.leave(b)
	})
}

// isClosed reports whether Close was called or the handle was cut.
func (b *Backend) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}
