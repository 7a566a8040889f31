package once

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// Do runs fn once for key and returns its result to everyone who asks within Ledger.Keep. With key "" it uses the idempotency key
// of the message that is being handled (envelope.IdempotencyKey).
//
// The first caller claims the key and runs fn under a ctx that ends with port.ErrLost before the claim can pass to another, and
// that carries key as its idempotency key. A nil error of fn records its result, whatever it is: nil, zero and false are
// results. An error of fn is returned, records nothing, and frees the key for the next caller.
//
// While another caller runs fn, Do waits until its result is there, or the key is free, or ctx ends; with Ledger.NoWait it
// answers [ErrInProgress]. port.ErrLost beside [Ran] means that fn ran, or was cut off, while the claim passed on: its result is not
// the recorded one. port.ErrUncertain beside Ran means that fn ran and its result is returned, and that it is unknown whether
// it is recorded. The result must encode as JSON, else port.ErrInvalid after fn ran.
func Do[T any](ctx context.Context, l Ledger, key string, fn func(context.Context) (T, error)) (T, Outcome, error) {
	var none T
	l, err := l.filled()
	if err != nil {
		return none, 0, err
	}
	if key == "" {
		if key = envelope.IdempotencyKey(ctx); key == "" {
			return none, 0, fmt.Errorf("once: no key, and no message is being handled that has one: %w", port.ErrInvalid)
		}
	}
	c := newClaim(l, key)
	sent, rec, err := c.take(ctx)
	if err != nil {
		return none, 0, err
	}
	if rec != nil {
		if err := json.Unmarshal(rec.Result, &none); err != nil {
			return none, 0, fmt.Errorf("once: the result recorded for %q is no %T: %w: %w", key, none, port.ErrInvalid, err)
		}
		return none, Recorded, nil
	}
	value, err := run(ctx, c, sent, fn)
	return value, Ran, err
}

// run runs fn while the claim is kept, and records or frees.
func run[T any](ctx context.Context, c claim, sent hold.Instant, fn func(context.Context) (T, error)) (value T, err error) {
	after := context.WithoutCancel(ctx)
	returned := false
	defer func() {
		if !returned { // a panic goes on, and the next caller need not wait for the claim to run out
			err = errors.Join(err, c.free(after))
		}
	}()
	cfg := hold.Config{Lease: c.l.Lease, Lost: port.ErrLost}
	outcome, err := hold.Keep(ctx, cfg, sent, c.renew, func(ctx context.Context, _ *hold.Hold) error {
		var err error
		value, err = fn(envelope.WithIdempotencyKey(ctx, c.key))
		return err
	})
	returned = true
	if err != nil {
		if outcome.Lost != nil {
			err = errors.Join(err, outcome.Lost)
		}
		if !outcome.Overran {
			err = errors.Join(err, c.free(after))
		}
		var none T
		return none, fmt.Errorf("once: %q: %w", c.key, err)
	}
	return value, c.record(after, value)
}

// claim is one caller's attempt at one key.
type claim struct {
	l     Ledger
	key   string
	nonce string
	bytes []byte // the claim as a value
}

// record is what a key holds: a claim, or with Result the result.
type record struct {
	Nonce  string          `json:"nonce"`
	Result json.RawMessage `json:"result,omitempty"`
}

func newClaim(l Ledger, key string) claim {
	c := claim{l: l, key: key, nonce: rand.Text()}
	c.bytes = []byte(`{"nonce":"` + c.nonce + `"}`)
	return c
}

// waits is how a waiting caller looks again: soon at first, and often enough that a lapsed claim is taken over at once.
var waits = retry.Backoff{Tries: -1, First: 5 * time.Millisecond, Max: 500 * time.Millisecond, Factor: 1.5}

// take claims the key or waits for its result. It returns the record when there is one, else the key is claimed, and sent is the
// moment before the request for it.
func (c claim) take(ctx context.Context) (sent hold.Instant, rec *record, err error) {
	for tries := 1; ; tries++ {
		sent = hold.Clock{}.Now()
		done, was, err := c.change(ctx, port.Change{Value: c.bytes, If: port.Absent, TTL: c.l.Lease})
		if err != nil {
			return sent, nil, fmt.Errorf("once: claim %q: %w", c.key, err)
		}
		if done {
			return sent, nil, nil
		}
		rec := new(record)
		if err := json.Unmarshal(was, rec); err != nil || rec.Nonce == "" {
			return sent, nil, fmt.Errorf("once: key %q holds something else than a claim or a result: %w", c.l.Prefix+c.key, port.ErrInvalid)
		}
		switch {
		case rec.Result != nil:
			return sent, rec, nil
		case c.l.NoWait:
			return sent, nil, fmt.Errorf("once: %q: %w", c.key, ErrInProgress)
		}
		if err := pause(ctx, waits.Delay(tries, mathrand.Float64())); err != nil {
			return sent, nil, fmt.Errorf("once: waiting for %q: %w", c.key, err)
		}
	}
}

// renew is hold's: port.ErrLost when the claim is not ours any more.
func (c claim) renew(ctx context.Context) error {
	done, _, err := c.change(ctx, port.Change{Value: c.bytes, If: port.Equals, Old: c.bytes, TTL: c.l.Lease})
	if err == nil && !done {
		err = fmt.Errorf("the claim passed on: %w", port.ErrLost)
	}
	return err
}

// free gives the key back. That somebody else has it by now is as well.
func (c claim) free(ctx context.Context) error {
	ctx, end := context.WithTimeout(ctx, c.l.Lease)
	defer end()
	if _, _, err := c.change(ctx, port.Change{Delete: true, If: port.Equals, Old: c.bytes}); err != nil {
		return fmt.Errorf("the claim could not be given back and runs out by itself within %v: %w", c.l.Lease, err)
	}
	return nil
}

// record writes the result over the claim, or where the claim ran out and nobody took it.
func (c claim) record(ctx context.Context, value any) error {
	ctx, end := context.WithTimeout(ctx, c.l.Lease)
	defer end()
	result, err := json.Marshal(value)
	if err != nil {
		return errors.Join(fmt.Errorf("once: %q ran, and its result cannot be recorded: %w: %w", c.key, port.ErrInvalid, err), c.free(ctx))
	}
	rec, err := json.Marshal(record{Nonce: c.nonce, Result: result})
	if err != nil {
		return fmt.Errorf("once: %q: %w", c.key, err)
	}
	over := port.Change{Value: rec, If: port.Equals, Old: c.bytes, TTL: c.l.Keep}
	done, was, err := c.change(ctx, over)
	if err == nil && !done && was == nil {
		over.If, over.Old = port.Absent, nil
		done, _, err = c.change(ctx, over)
	}
	switch {
	case errors.Is(err, port.ErrInvalid), errors.Is(err, port.ErrUnsupported):
		return fmt.Errorf("once: %q ran, and its result cannot be recorded: %w", c.key, err)
	case err != nil:
		return fmt.Errorf("once: %q ran, and it is unknown whether its result is recorded: %w: %w", c.key, port.ErrUncertain, err)
	case !done:
		return fmt.Errorf("once: %q ran while its claim passed on to another, whose result counts: %w", c.key, port.ErrLost)
	}
	return nil
}

// tries is how often a request whose outcome is unknown is repeated.
var tries = retry.Backoff{Tries: 4, First: 20 * time.Millisecond}

// change makes one change, and recognises its own when it is repeated after an unknown outcome: by the nonce in the value. Was is
// what stands in its way, nil when nothing is there.
func (c claim) change(ctx context.Context, ch port.Change) (done bool, was []byte, err error) {
	ch.Key = c.l.Prefix + c.key
	repeated := false
	err = retry.Do(ctx, retry.Policy{Backoff: tries}, func(ctx context.Context) error {
		applied, err := c.l.KV.Apply(ctx, ch)
		if errors.Is(err, port.ErrUncertain) {
			repeated = true
			return err
		}
		if err != nil {
			return retry.Permanent(err)
		}
		a := applied[0]
		done, was = a.Done, nil
		if a.Err != nil || a.Done {
			return a.Err
		}
		if a.Was.Found {
			was = a.Was.Bytes
			done = string(was) == string(ch.Value) && !ch.Delete
		} else {
			done = repeated && ch.Delete
		}
		return nil
	})
	return done, was, err
}

// pause waits for d; an error when ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
