//go:build unix

package histories_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// register is what a key holds.
type register struct {
	found bool
	value string
}

// access is a call about one key: a read where change is nil.
type access struct {
	key    string
	change *port.Change
}

// answer is what a call was told: of a read, what is there; of a change, whether its condition held, and if not, what was there.
type answer struct {
	done  bool
	was   register
	blind bool // a step does not tell what was there
}

// registers is a map as it should be.
func registers() porcupine.Model {
	return porcupine.Model{
		Init:      func() any { return register{} },
		Partition: partition(func(input any) string { return input.(access).key }),
		Step: func(state, input, output any) (bool, any) {
			now, in := state.(register), input.(access)
			out, known := output.(answer)
			if in.change == nil {
				return !known || out.was == now, now
			}
			c := in.change
			holds := c.If == port.Always || c.If == port.Absent && !now.found || c.If == port.Equals && now.found && now.value == string(c.Old)
			next := register{found: !c.Delete}
			if !c.Delete {
				next.value = string(c.Value)
			}
			switch {
			case !known && holds:
				return true, next
			case !known:
				return true, now
			case holds:
				return out.done, next
			default:
				return !out.done && (out.blind || out.was == now), now
			}
		},
		DescribeOperation: func(input, output any) string {
			in := input.(access)
			if in.change == nil {
				return fmt.Sprintf("get %s: %v", in.key, output)
			}
			return fmt.Sprintf("%s = %q (delete %t) if %v %q: %v", in.key, in.change.Value, in.change.Delete, in.change.If, in.change.Old, output)
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

// partition splits a history by what its calls are about: each part is linearizable alone.
func partition(of func(input any) string) func([]porcupine.Operation) [][]porcupine.Operation {
	return func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		place := map[string]int{}
		for _, op := range history {
			about := of(op.Input)
			i, ok := place[about]
			if !ok {
				i = len(parts)
				place[about] = i
				parts = append(parts, nil)
			}
			parts[i] = append(parts[i], op)
		}
		return parts
	}
}

// Compare-and-set, on one key and within a step, by clients that lose their connections.
func TestKeysAreLinearizableUnderFaults(t *testing.T) {
	t.Parallel()
	clients, calls, keys := 6, scale(500, 5000), scale(12, 100)
	b := newBench(t, clients)
	r := newRecord()
	b.run(func(ctx context.Context, i int, c *redis.Backend) error {
		last := map[string]register{} // what this client saw last
		for n := 0; n < calls || !r.struck(20) && n < 20*calls; n++ {
			key := fmt.Sprintf("registers/%d", rand.IntN(keys))
			if err := one(ctx, r, c, i, key, fmt.Sprintf("%d-%d", i, n), last); err != nil {
				return err
			}
		}
		return nil
	})
	r.check(t, registers(), 20)
}

// one makes one call at random.
func one(ctx context.Context, r *record, c *redis.Backend, client int, key, value string, last map[string]register) error {
	in := access{key: key}
	kind := rand.IntN(10)
	if kind < 3 {
		return r.call(client, in, func() (any, error) {
			vs, err := c.Get(ctx, key)
			if err != nil {
				return nil, err
			}
			last[key] = register{vs[0].Found, string(vs[0].Bytes)}
			return answer{was: last[key]}, nil
		})
	}
	in.change = &port.Change{Key: key, Value: []byte(value)}
	switch seen := last[key]; {
	case kind == 3:
		in.change.Delete, in.change.Value = true, nil
	case kind == 4:
	case !seen.found:
		in.change.If = port.Absent
	default:
		in.change.If, in.change.Old = port.Equals, []byte(seen.value)
		if kind == 5 {
			in.change.Delete, in.change.Value = true, nil
		}
	}
	if kind > 6 {
		return r.call(client, in, func() (any, error) {
			a, err := r.step(ctx, c, *in.change)
			if a.done {
				last[key] = register{!in.change.Delete, string(in.change.Value)}
			}
			return a, err
		})
	}
	return r.call(client, in, func() (any, error) {
		done, err := c.Apply(ctx, *in.change)
		if err != nil {
			return nil, err
		}
		if in.change.If == port.Always || done[0].Done {
			last[key] = register{!in.change.Delete, string(in.change.Value)}
			return answer{done: true}, nil
		}
		last[key] = register{done[0].Was.Found, string(done[0].Was.Bytes)}
		return answer{was: last[key]}, nil
	})
}

// step makes the change as a step, and repeats it under its ID until its outcome is known.
func (r *record) step(ctx context.Context, c *redis.Backend, change port.Change) (answer, error) {
	b := port.Batch{ID: envelope.NewID(), Changes: []port.Change{change}}
	uncertain := false
	for {
		err := c.Write(ctx, b)
		switch {
		case err == nil || errors.Is(err, port.ErrConflict):
			if uncertain {
				r.mu.Lock()
				r.repeated++
				r.mu.Unlock()
			}
			return answer{done: err == nil, blind: true}, nil
		case ctx.Err() != nil || !errors.Is(err, port.ErrUncertain) && !errors.Is(err, port.ErrUnavailable):
			return answer{}, err
		}
		uncertain = uncertain || errors.Is(err, port.ErrUncertain)
	}
}
