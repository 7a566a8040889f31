package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

// SyncConfig is how one node takes part in a Sync. The zero value is ready for use.
type SyncConfig struct {
	Bound    time.Duration // as Config.Bound; at least 20 ms; default 1 s
	Keep     time.Duration // how long the log is kept: who was away for longer starts anew; at least 1 min; default 1 h
	Node     string        // this node's name, 1 to 32 bytes of A-Z a-z 0-9 . _ -; default a random one
	Priority uint8         // part of the version of each op; default 0
}

// Local is a cache that the caller brings. Its methods are called by Follow, one at a time, in the order of the log.
type Local interface {
	// Apply carries out an op: OpSet with one name and a value, OpDelete with names, OpPattern with one glob (see port.Match),
	// OpTag with names, or OpClear. The ops of this node are among them.
	Apply(op Op)
	// Reset drops everything: entries of the log were missed, or may have been.
	Reset()
}

// Sync keeps local caches of the fleet's nodes in agreement: what one notifies, all apply, in one order. It keeps no values in the store; the
// log is all that there is. So of two sets of one key the one that is later in the log counts, on every node.
type Sync struct {
	b        Backend
	node     *node
	invalid  error
	follow   *follower
	declared atomic.Bool
}

// NewSync makes this node's part of the Sync called name, on the topic <name>.log. It does no I/O and starts nothing. A Sync and a Cache do not
// share a name. What is wrong with an argument is answered by every method, with port.ErrInvalid.
func NewSync(b Backend, name string, local Local, c SyncConfig) *Sync {
	n, err := newNode(name, c.Node, c.Priority)
	s := &Sync{b: b, node: n, invalid: err}
	var filled Config[struct{}]
	if err == nil {
		filled, s.invalid = Config[struct{}]{Bound: c.Bound, Keep: c.Keep}.filled(name)
	}
	switch {
	case s.invalid != nil:
	case b == nil:
		s.invalid = fmt.Errorf("cache %s: no backend: %w", n.name, port.ErrInvalid)
	case local == nil:
		s.invalid = fmt.Errorf("cache %s: no local cache to apply ops to: %w", n.name, port.ErrInvalid)
	default:
		s.follow = &follower{
			b: b, topic: logTopic(name, filled.Keep), bound: filled.Bound, node: n, watch: newWatch(),
			apply: func(op Op, _ time.Time) {
				if op.Kind != OpHello && op.Kind != OpTick {
					local.Apply(op)
				}
			},
			reset: local.Reset,
		}
	}
	return s
}

// Follow applies the ops of the log to the local cache until ctx ends, and then returns nil. It outlasts a backend that does not answer. One
// Follow at a time.
func (s *Sync) Follow(ctx context.Context) error {
	if s.invalid != nil {
		return s.invalid
	}
	return s.follow.run(ctx)
}

// Hears reports whether the local cache has applied all that was notified until Bound ago. To serve a value, use [Sync.Serve]: asking before
// the look-up or after it is not enough.
func (s *Sync) Hears() bool {
	return s.invalid == nil && s.follow.heard.Load().hears(s.follow.watch.now())
}

// Serve looks a value up and reports whether it may be served: whether it was current, as far as it was notified, not before Bound ago.
func (s *Sync) Serve(lookup func()) bool {
	if s.invalid != nil {
		return false
	}
	h := s.follow.heard.Load()
	lookup()
	return h.hears(s.follow.watch.now())
}

// Notify tells every node of ops, this one included: each is applied where it comes in the log, not before. Kind and Names are the caller's, and
// Value of a set; the rest is filled in. At most 400 ops, which are one step. After port.ErrUncertain they may be told of.
func (s *Sync) Notify(ctx context.Context, ops ...Op) error {
	if s.invalid != nil {
		return s.invalid
	}
	var b port.Batch
	for _, op := range ops {
		if err := s.check(op); err != nil {
			return err
		}
		op.Version, op.Seq, op.Prev = s.node.version(0), 0, 0
		m, err := op.message(s.follow.topic.Name)
		if err != nil {
			return err
		}
		b.Messages = append(b.Messages, m)
	}
	if len(ops) == 0 {
		return nil
	}
	if !s.declared.Load() {
		if err := s.b.Declare(ctx, s.follow.topic); err != nil {
			return fmt.Errorf("cache %s: %w", s.node.name, err)
		}
		s.declared.Store(true)
	}
	b.ID = b.Messages[0].ID
	for tries := 1; ; tries++ {
		err := s.b.Write(ctx, b)
		if err == nil {
			return nil
		}
		if !errors.Is(err, port.ErrUncertain) || tries == mostWrites || pause(ctx, waits.Delay(tries, s.node.rnd())) != nil {
			return fmt.Errorf("cache %s: notify: %w", s.node.name, err)
		}
	}
}

func (s *Sync) check(op Op) error {
	bad := func(why string) error {
		return fmt.Errorf("cache %s: op %q: %s: %w", s.node.name, op.Kind, why, port.ErrInvalid)
	}
	switch op.Kind {
	case OpSet:
		if len(op.Names) != 1 {
			return bad("a set has one name")
		}
	case OpDelete, OpTag:
		if len(op.Names) == 0 {
			return bad("it has no names")
		}
	case OpPattern:
		if len(op.Names) != 1 {
			return bad("a pattern has one name, the glob")
		}
		return port.CheckPattern(op.Names[0])
	case OpClear:
		if len(op.Names) != 0 {
			return bad("a clear has no names")
		}
	default:
		return bad("the kind is none that can be notified")
	}
	if op.Kind != OpSet && len(op.Value) > 0 {
		return bad("only a set has a value")
	}
	return nil
}
