package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// gate is open while a call of a handler runs. The calls of one worker share it.
type gate struct {
	open atomic.Uint64 // the number of the call that may add to its steps; 0 when it has returned
}

// turn is one call of a handler. No two of a consumer have the same number, so who kept a message does not reach the step of another.
type turn struct {
	gate *gate
	n    uint64
}

func (t turn) over() bool { return t.gate.open.Load() != t.n }

// step gathers what leaves together with the acknowledgement of one message.
type step struct {
	turn turn        // the handling of the message
	of   *item       // whose it is, or nil
	at   *port.Group // that handles the message

	used     atomic.Bool    // somebody adds or has added
	gathered bool           // something was, perhaps
	settled  bool           // SettleIn acknowledged the message
	mu       sync.Mutex     // of those who add
	effects  *effects       // memory for what is gathered; nil until something is
	in       *envelope.Meta // of a message that is no item's
}

// effects are what was gathered.
type effects struct {
	batch   port.Batch
	declare []port.Topic
	err     error // the first thing that could not be encoded: it rejects the message
}

// gathers is where to gather. The caller holds the mutex, or is alone.
func (s *step) gathers() *effects {
	if s.effects == nil {
		s.effects = new(effects)
	}
	return s.effects
}

// failed is the first thing that could not be encoded, or nil.
func (s *step) failed() error {
	if s.effects == nil {
		return nil
	}
	return s.effects.err
}

// about is the meta of the message: what is emitted belongs to it.
func (s *step) about() *envelope.Meta {
	if s.of != nil {
		return s.of.about()
	}
	return s.in
}

// Emit appends v to t in the same step as the acknowledgement of m: when the handler returns nil, and not otherwise. The message
// derives its id from m and the place of this call among the emissions, so that a repetition of the handling emits the same
// ids; its correlation, tenant and trace are m's. A payload that cannot be encoded rejects m.
//
// Emit, EmitAll, Apply and Save may be called by several goroutines of one handling, until the handler returns; after that they
// panic, for nothing could be done with what they are given.
func Emit[I, O any](m Message[I], t Topic[O], v O) { EmitAll(m, t, Out[O]{Payload: v}) }

// EmitAll is [Emit] for several messages, or for one with more than a payload.
func EmitAll[I, O any](m Message[I], t Topic[O], out ...Out[O]) {
	m.step.add("EmitAll", m.turn, func(s *step, fx *effects) error {
		if keep, ok := t.keep(); ok && !slices.Contains(fx.declare, keep) {
			fx.declare = append(fx.declare, keep)
		}
		in := s.about()
		of := envelope.With(context.Background(), *in)
		for i := range out {
			meta := t.meta(&out[i])
			if meta.ID == "" {
				meta.ID = envelope.DeriveIDAt(len(fx.batch.Messages), s.at.Topic, in.ID, s.at.Name, t.Name)
			}
			if !t.Bare {
				meta = envelope.Derive(of, meta)
			}
			msg, err := t.message(&meta, &out[i])
			if err != nil {
				return fmt.Errorf("emit: %w", err)
			}
			fx.batch.Messages = append(fx.batch.Messages, msg)
		}
		return nil
	})
}

// Apply makes the changes in the same step as the acknowledgement of m. When a condition does not hold then, nothing of the step
// happens and the handler runs again, uncounted, up to three times; after that it is a failure.
func Apply[I any](m Message[I], c ...port.Change) {
	m.step.add("Apply", m.turn, func(_ *step, fx *effects) error {
		fx.batch.Changes = append(fx.batch.Changes, c...)
		return nil
	})
}

// Fence makes the step of m carry f: when a newer token of that name was seen, nothing of it happens, and that is a failure.
func Fence[I any](m Message[I], f port.Fence) {
	m.step.add("Fence", m.turn, func(_ *step, fx *effects) error {
		fx.batch.Fence = f
		return nil
	})
}

// add runs fn unless the handling is over or has failed to encode before.
func (s *step) add(what string, during turn, fn func(*step, *effects) error) {
	s.used.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if during.over() || s.settled {
		panic("bus: " + what + " after the handler has returned or settled: its step has left already")
	}
	if fx := s.gathers(); fx.err == nil {
		fx.err = fn(s, fx)
	}
}

// begin makes the step, which is closed, ready for the handling of an item.
func (s *step) begin(of *item, at *port.Group, t turn) {
	s.empty()
	s.settled = false
	s.turn.n = t.n
	if s.turn.gate != t.gate || s.of != of || s.at != at { // an item's step has the same ones again and again
		s.turn.gate, s.of, s.at = t.gate, of, at
	}
}

// close ends the gathering, whose gate is closed; it waits for who is adding. Who adds says so before it looks whether the gate is
// open, and this looks after it was closed, so one of them sees the other.
func (s *step) close() {
	if s.used.Load() {
		s.mu.Lock()
		s.used.Store(false)
		s.mu.Unlock()
		s.gathered = true
	}
}

// empty lets go of what was gathered. The step is closed: nobody adds.
func (s *step) empty() {
	if s.gathered {
		s.gathered, *s.gathers() = false, effects{}
	}
}

// SettleIn acknowledges m through q, with all that was emitted, applied and saved so far: for a queue on the caller's own
// transaction, so that the caller's tables and the step commit together. It is the last that is done with m; the handler's nil
// then settles nothing more. When the transaction fails after it, return its error: the message comes again as a failure.
//
// Errors are those of [port.Queue].Settle.
func SettleIn[I any](ctx context.Context, m Message[I], q port.Queue) error {
	s := m.step
	s.used.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.turn.over() || s.settled:
		panic("bus: SettleIn after the handler has returned or settled")
	case s.failed() != nil:
		return s.failed()
	}
	fx := s.gathers()
	for _, t := range fx.declare {
		if err := q.Declare(ctx, t); err != nil {
			return fmt.Errorf("declare topic %q: %w", t.Name, err)
		}
	}
	var by port.Receipt
	if s.of != nil {
		by = s.of.d.Receipt
	}
	err := q.Settle(ctx, *s.at, port.Settlement{Receipt: by, Then: fx.batch})[0]
	if err != nil {
		return fmt.Errorf("settle message %q of topic %q for group %q: %w", s.about().ID, s.at.Topic, s.at.Name, err)
	}
	s.settled = true
	return nil
}

// State is typed state under a prefix, written with the acknowledgement. Keep it in the family of the topic (the same name up to
// the first . or /) where Caps.Atomic is AtomicFamily.
type State[S any] struct {
	Prefix string            // of the keys; default none
	TTL    time.Duration     // of what is saved; default without end
	Codec  envelope.Codec[S] // default envelope.JSON[S]
}

// Version is what a state was when it was read.
type Version struct {
	old   []byte
	found bool
}

// Found reports whether there was a state at all.
func (v Version) Found() bool { return v.found }

// Get reads the state of key, its zero value where there is none, and the version to save it over.
func (s State[S]) Get(ctx context.Context, kv port.KV, key string) (S, Version, error) {
	var state S
	vs, err := kv.Get(ctx, s.Prefix+key)
	if err != nil {
		return state, Version{}, fmt.Errorf("state %q: %w", s.Prefix+key, err)
	}
	if !vs[0].Found {
		return state, Version{}, nil
	}
	if err := s.codec().Decode(vs[0].Bytes, &state); err != nil {
		return state, Version{}, fmt.Errorf("state %q: %w: %w", s.Prefix+key, port.ErrInvalid, err)
	}
	old := vs[0].Bytes
	if old == nil {
		old = []byte{}
	}
	return state, Version{old: old, found: true}, nil
}

func (s State[S]) codec() envelope.Codec[S] {
	if s.Codec == nil {
		return envelope.JSON[S]{}
	}
	return s.Codec
}

// Save writes now over the version was, in the same step as the acknowledgement of m. When the state has changed since it was
// read, the handler runs again: see [Apply].
func Save[I, S any](m Message[I], s State[S], key string, was Version, now S) {
	m.step.add("Save", m.turn, func(_ *step, fx *effects) error {
		value, err := s.codec().Append(nil, now)
		if err != nil {
			return fmt.Errorf("save state %q: %w: %w", s.Prefix+key, port.ErrInvalid, err)
		}
		c := port.Change{Key: s.Prefix + key, Value: value, If: port.Absent, TTL: s.TTL}
		if was.found {
			c.If, c.Old = port.Equals, was.old
		}
		fx.batch.Changes = append(fx.batch.Changes, c)
		return nil
	})
}
