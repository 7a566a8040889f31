package flow

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// Handler does the work of one phase or step. Its error is the verdict, with the words of package bus: nil is done, bus.Reject
// fails the run at once, bus.Later puts the work off without counting, [Back] feeds back, and anything else is a failure, which
// comes again after a growing wait and fails the run when the tries are used up.
type Handler[I, O any] func(ctx context.Context, in I) (O, error)

// Phase is one step of a pipeline, from I to O; it knows what comes before it. Inputs and outputs travel as JSON.
type Phase[I, O any] struct{ n *node }

// node is a phase without its types.
type node struct {
	name string
	prev *node
	call func(ctx context.Context, in []byte) (out []byte, err error)
}

// First is the phase that a pipeline begins with. A phase's name has the characters of a topic's, without dots; it is unique in its
// pipeline.
func First[I, O any](name string, h Handler[I, O]) Phase[I, O] {
	return Phase[I, O]{&node{name: name, call: encoded(h)}}
}

// Then is the phase that works on what prev puts out.
func Then[A, I, O any](prev Phase[A, I], name string, h Handler[I, O]) Phase[I, O] {
	return Phase[I, O]{&node{name: name, prev: prev.n, call: encoded(h)}}
}

// encoded is h from JSON to JSON. An input that does not decode and an output that does not encode will not get better.
func encoded[I, O any](h Handler[I, O]) func(context.Context, []byte) ([]byte, error) {
	if h == nil {
		return nil
	}
	return func(ctx context.Context, raw []byte) ([]byte, error) {
		var in I
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, bus.Reject(fmt.Errorf("the input does not decode: %w", err))
		}
		v, err := h(ctx, in)
		if err != nil {
			return nil, err
		}
		out, err := json.Marshal(v)
		if err != nil {
			return nil, bus.Reject(fmt.Errorf("the output does not encode: %w", err))
		}
		return out, nil
	}
}

// Back is the verdict that the run goes back to a phase, which then works on v: to an earlier one, or to the same one again. What
// the handler returns beside it is dropped. The way from one phase back to another is gone at most max times in a run, at least
// 1; once more fails the run.
func Back[I, O any](to Phase[I, O], v I, most int) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return bus.Reject(fmt.Errorf("back: the input does not encode: %w", err))
	}
	if to.n == nil || most < 1 {
		return bus.Reject(fmt.Errorf("back: a phase and a bound of at least 1 are needed, the bound is %d: %w", most, port.ErrInvalid))
	}
	return &back{to: to.n, in: raw, most: most}
}

// back is a way back that a handler has chosen.
type back struct {
	to   *node
	in   json.RawMessage
	most int
}

func (b *back) Error() string { return fmt.Sprintf("back to phase %q", b.to.name) }
