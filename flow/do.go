package flow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Limits of what a handling may leave.
const (
	maxDoName = 128     // bytes of a sub-step's name
	maxNotes  = 4 << 10 // bytes of the notes of one visit
)

// Do runs fn and records its result under name, as JSON, so that a later attempt at the same visit of the same phase, after a failure or
// a crash, gets the result without running fn again. A visit that a way back has made begins anew. An error of fn is returned
// and records nothing.
//
// The name has 1 to 128 bytes; the same name twice in one handling is port.ErrInvalid. A crash between fn and its record makes fn
// run again: the ctx of fn carries an idempotency key (envelope.IdempotencyKey) that is the same on every try. When two
// attempts overlap because one of them lost its message, the first result recorded is the one that both get. Do does not
// begin fn for a run that was cancelled ([ErrCancelled]) or that went on elsewhere (port.ErrLost). Outside of a handler of this
// package it is port.ErrInvalid. It may be called by several goroutines of one handler. While the backend does not answer, the error
// is a bus.Later: a handler that returns it is put off, which is no failure.
func Do[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) (T, error) {
	var v T
	s, err := scopeOf(ctx)
	if err != nil {
		return v, fmt.Errorf("do %q: %w", name, err)
	}
	fail := func(err error) (T, error) {
		if away(err) {
			err = bus.Later(time.Second, err)
		}
		return v, fmt.Errorf("%s: do %q: %w", s.name, name, err)
	}
	raw, err := s.begin(ctx, name)
	if err != nil {
		return fail(err)
	}
	if raw == nil {
		key := s.prefix + name
		made, err := fn(envelope.WithIdempotencyKey(ctx, key))
		if err != nil {
			return v, err
		}
		if raw, err = s.record(ctx, key, made); err != nil {
			return fail(err)
		}
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return fail(fmt.Errorf("what is recorded is no %T: %w: %w", v, port.ErrInvalid, err))
	}
	return v, nil
}

// Note puts a value beside the visit of the phase that is handled, as JSON: the model that answered, tokens used, the digest of an artifact.
// Noting a key again replaces it. The notes of an attempt leave with what came of it and replace those of the attempt before, so
// what a [Do] has found out is noted outside of it, from its result. Together the notes of a visit have at most 4 KiB; what is more,
// or does not encode, is port.ErrInvalid, and so is a Note outside of a handler of this package.
func Note(ctx context.Context, key string, value any) error {
	s, err := scopeOf(ctx)
	if err != nil {
		return fmt.Errorf("note %q: %w", key, err)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: note %q: %w: %w", s.name, key, port.ErrInvalid, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.noted + len(key) + len(raw)
	if old, ok := s.notes[key]; ok {
		size -= len(key) + len(old)
	}
	if size > maxNotes {
		return fmt.Errorf("%s: note %q: the notes would have %d bytes, at most %d are allowed: %w", s.name, key, size, maxNotes, port.ErrInvalid)
	}
	if s.notes == nil {
		s.notes = make(map[string]json.RawMessage)
	}
	s.notes[key], s.noted = raw, size
	return nil
}

// scope is one handling, as Do and Note see it.
type scope struct {
	kv     port.KV
	prefix string                 // of the keys of sub-steps
	name   string                 // of the handling, for errors
	ttl    time.Duration          // of what is recorded; 0: no end
	guard  string                 // the key that tells whether the handling still counts
	still  func(port.Value) error // nil while it does

	mu    sync.Mutex
	used  map[string]bool
	notes map[string]json.RawMessage
	noted int
}

type scopeKey struct{}

func within(ctx context.Context, s *scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

func scopeOf(ctx context.Context) (*scope, error) {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return nil, fmt.Errorf("no handler of package flow is running: %w", port.ErrInvalid)
	}
	return s, nil
}

// taken are the notes so far.
func (s *scope) taken() map[string]json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	notes := s.notes
	s.notes = nil
	return notes
}

// begin takes the name, and reads what is recorded under it; nil when nothing is.
func (s *scope) begin(ctx context.Context, name string) (json.RawMessage, error) {
	if name == "" || len(name) > maxDoName {
		return nil, fmt.Errorf("the name has %d bytes, 1 to %d are allowed: %w", len(name), maxDoName, port.ErrInvalid)
	}
	s.mu.Lock()
	twice := s.used[name]
	if s.used == nil {
		s.used = make(map[string]bool)
	}
	s.used[name] = true
	s.mu.Unlock()
	if twice {
		return nil, fmt.Errorf("this name comes a second time in one handling: %w", port.ErrInvalid)
	}
	var vs []port.Value
	err := again(ctx, func(ctx context.Context) (err error) {
		vs, err = s.kv.Get(ctx, s.prefix+name, s.guard)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.still(vs[1]); err != nil {
		return nil, err
	}
	if !vs[0].Found {
		return nil, nil
	}
	return result(vs[0])
}

// made is what a key of a sub-step holds.
type made struct {
	Nonce  string          `json:"nonce"` // tells who made it, after an unknown outcome
	Result json.RawMessage `json:"result"`
}

func result(v port.Value) (json.RawMessage, error) {
	var was made
	if err := json.Unmarshal(v.Bytes, &was); err != nil || was.Nonce == "" {
		return nil, fmt.Errorf("key %q holds no result of a sub-step: %w", v.Key, errors.Join(port.ErrInvalid, err))
	}
	return was.Result, nil
}

// record records a result, unless there is one, and returns the one that counts. That fn ran is not lost with its ctx.
func (s *scope) record(ctx context.Context, key string, v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("the result does not encode: %w: %w", port.ErrInvalid, err)
	}
	value, err := json.Marshal(made{Nonce: rand.Text(), Result: raw})
	if err != nil {
		return nil, fmt.Errorf("the result does not encode: %w: %w", port.ErrInvalid, err)
	}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer end()
	var applied port.Applied
	err = again(ctx, func(ctx context.Context) error {
		as, err := s.kv.Apply(ctx, port.Change{Key: key, Value: value, If: port.Absent, TTL: s.ttl})
		if err == nil {
			applied = as[0]
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case applied.Err != nil:
		return nil, applied.Err
	case applied.Done:
		return raw, nil
	}
	return result(applied.Was)
}
