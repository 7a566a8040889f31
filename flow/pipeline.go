package flow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Backend is what a flow needs.
type Backend interface {
	port.Queue
	port.KV
}

// Pipeline is a chain of phases from I to O, compiled by [NewPipeline]: a value, bound to no backend.
type Pipeline[I, O any] struct{ d *definition }

// definition is a pipeline without its types.
type definition struct {
	name   string
	phases []*node
	hash   string
}

// maxPhases is how many phases a pipeline may have.
const maxPhases = 64

// NewPipeline compiles the chain that ends in last and begins with first. The name has the characters of a topic's, without dots; it
// is the family of everything that the pipeline keeps. port.ErrInvalid for a name that cannot be, a phase that comes twice or has
// no handler, and a chain that does not begin with first.
func NewPipeline[I, A, B, O any](name string, first Phase[I, A], last Phase[B, O]) (Pipeline[I, O], error) {
	d := &definition{name: name}
	bad := func(format string, args ...any) (Pipeline[I, O], error) {
		return Pipeline[I, O]{}, fmt.Errorf("pipeline %q: %s: %w", name, fmt.Sprintf(format, args...), port.ErrInvalid)
	}
	if err := checkPart("pipeline", name); err != nil {
		return Pipeline[I, O]{}, err
	}
	for n := last.n; n != nil; n = n.prev {
		if d.phases = append(d.phases, n); len(d.phases) > maxPhases {
			return bad("more than %d phases", maxPhases)
		}
	}
	slices.Reverse(d.phases)
	if len(d.phases) == 0 || d.phases[0] != first.n {
		return bad("the chain that ends in the last phase does not begin with the first one")
	}
	names := make([]string, len(d.phases))
	for i, n := range d.phases {
		if err := checkPart("phase", n.name); err != nil {
			return bad("%v", err)
		}
		if slices.Contains(names, n.name) {
			return bad("two phases are named %q", n.name)
		}
		if n.call == nil {
			return bad("phase %q has no handler", n.name)
		}
		if err := port.CheckName("topic", d.topic(n).Name); err != nil {
			return bad("%v", err)
		}
		names[i] = n.name
	}
	d.hash = digest([]byte("muster flow 1\n" + name + "\n" + strings.Join(names, "\n")))
	return Pipeline[I, O]{d}, nil
}

// checkPart answers port.ErrInvalid for a name that does not fit between two dots.
func checkPart(what, name string) error {
	if err := port.CheckName(what, name); err != nil {
		return err
	}
	if strings.Contains(name, ".") {
		return fmt.Errorf("%s %q: the name has dots: %w", what, name, port.ErrInvalid)
	}
	return nil
}

// digest is the SHA-256 of b in hexadecimal.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Name is the pipeline's name.
func (p Pipeline[I, O]) Name() string { return p.in(nil).d.name }

// Phases are the names of the phases, in order.
func (p Pipeline[I, O]) Phases() []string {
	var names []string
	for _, n := range p.in(nil).d.phases {
		names = append(names, n.name)
	}
	return names
}

// Definition is the hash of what a run depends on: the name of the pipeline and the names of its phases, in order. A run keeps the one
// that it was started with, and a worker whose pipeline has another one leaves the run to others (see Work). Handlers are not
// part of it: to change a phase so that runs under way cannot go on with it, give it another name.
func (p Pipeline[I, O]) Definition() string { return p.in(nil).d.hash }

// in is the pipeline's runs on a backend. The zero Pipeline has no phases, and no valid name.
func (p Pipeline[I, O]) in(b Backend) store {
	if p.d == nil {
		return store{d: new(definition), b: b}
	}
	return store{d: p.d, b: b}
}

// Start begins a run. It returns when the run is recorded and its first phase is queued, in one step; a worker need not be there
// yet. The id has the characters of a topic's name; "" makes a new UUIDv7.
//
// Starting the same id again changes nothing and returns the run that is there, whatever became of it; with another input it is
// port.ErrConflict. An outcome that stays unknown is port.ErrUncertain; starting the same id again is then safe. Under a handler's
// context the run belongs to the message that is handled: its correlation, tenant and trace.
func (p Pipeline[I, O]) Start(ctx context.Context, b Backend, id string, in I) (Run[O], error) {
	s := p.in(b)
	if id == "" {
		id = envelope.NewID()
	}
	run := Run[O]{ID: id, s: s}
	if err := s.check(id); err != nil {
		return Run[O]{}, err
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return Run[O]{}, fmt.Errorf("run %q: the input does not encode: %w: %w", id, port.ErrInvalid, err)
	}
	switch err := s.start(ctx, id, raw); {
	case err == nil:
		return run, nil
	case !errors.Is(err, port.ErrConflict):
		return Run[O]{}, fmt.Errorf("start run %q: %w", id, err)
	}
	now, _, err := s.load(ctx, id)
	if err != nil {
		return Run[O]{}, fmt.Errorf("start run %q, which is there: %w", id, err)
	}
	if now.Input != digest(raw) {
		return Run[O]{}, fmt.Errorf("start run %q: it is there with another input; take another id: %w", id, port.ErrConflict)
	}
	return run, nil
}

func (s store) start(ctx context.Context, id string, in json.RawMessage) error {
	if err := s.declare(ctx); err != nil {
		return err
	}
	cause, _ := envelope.From(ctx)
	first, message := s.d.phases[0], envelope.NewID()
	at := time.Now().UTC()
	now := Status{
		ID: id, Pipeline: s.d.name, Definition: s.d.hash, State: Pending, Created: at, Input: digest(in),
		CorrID: cmp.Or(cause.CorrID, cause.ID, message), Tenant: cause.Tenant,
	}
	cause.CorrID = now.CorrID
	return s.write(ctx, cause, func(m bus.Message[none]) error {
		queue(m, s.d, &now, first, in, message, at)
		return enter(m, s.d, nil, &now, Record{Event: Started, Phase: first.name, Visit: 1, At: at, Input: now.Input})
	})
}

// queue adds a visit of a phase to the record, and emits its input.
func queue[T any](m bus.Message[T], d *definition, now *Status, n *node, in json.RawMessage, message string, at time.Time) {
	now.Visit++
	now.Phase = n.name
	now.Visits = append(now.Visits, Visit{Phase: n.name, Visit: now.Visit, Queued: at, Input: digest(in)})
	if extra := len(now.Visits) - maxVisits; extra > 0 {
		now.Visits = slices.Delete(now.Visits, 0, extra)
	}
	bus.EmitAll(m, d.topic(n), bus.Out[json.RawMessage]{ID: message, Payload: in, Key: now.ID, Headers: headers(now.ID, now.Visit)})
}

// Find is the run with an id; port.ErrNotFound where there is none.
func (p Pipeline[I, O]) Find(ctx context.Context, b Backend, id string) (Run[O], error) {
	if _, err := p.Status(ctx, b, id); err != nil {
		return Run[O]{}, err
	}
	return Run[O]{ID: id, s: p.in(b)}, nil
}
