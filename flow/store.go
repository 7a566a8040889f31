package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// store is the runs of a pipeline on a backend. Each change of a run is one step: the record under a compare-and-set, the entry of
// the history, the news, and what is queued.
type store struct {
	d *definition
	b Backend
}

// none is the payload of a message that there is none of.
type none struct{}

// group is the group of a pipeline's workers on each phase.
const group = "flow"

// The headers of a phase's input.
const (
	headerRun   = "muster-run"
	headerVisit = "muster-visit"
)

func headers(id string, visit int) map[string]string {
	return map[string]string{headerRun: id, headerVisit: strconv.Itoa(visit)}
}

// address is the run and the visit that an input is for.
func address(h map[string]string) (id string, visit int, err error) {
	visit, err = strconv.Atoi(h[headerVisit])
	if err != nil || visit < 1 || h[headerRun] == "" {
		return "", 0, fmt.Errorf("the message is for no run: it has not the headers %s and %s", headerRun, headerVisit)
	}
	return h[headerRun], visit, nil
}

func (d *definition) topic(n *node) bus.Topic[json.RawMessage] {
	return bus.Topic[json.RawMessage]{Name: d.name + "." + n.name + ".in"}
}

func (d *definition) events() bus.Topic[Record] {
	return bus.Topic[Record]{Name: d.name + ".events", Keep: port.Topic{MaxAge: 24 * time.Hour}}
}

func (d *definition) runKey(id string) string { return d.name + "/run/" + id }
func (d *definition) logKey(id string, n int) string {
	return fmt.Sprintf("%s/log/%s/%d", d.name, id, n)
}
func (d *definition) doPrefix(id string) string { return d.name + "/do/" + id + "/" }

// phase is the phase of that name, nil where there is none.
func (d *definition) phase(name string) *node {
	for _, n := range d.phases {
		if n.name == name {
			return n
		}
	}
	return nil
}

// after is the phase behind n, nil for the last one.
func (d *definition) after(n *node) *node {
	for i, p := range d.phases[:len(d.phases)-1] {
		if p == n {
			return d.phases[i+1]
		}
	}
	return nil
}

// check refuses the zero pipeline and an id that no run can have.
func (s store) check(id string) error {
	if s.d == nil || len(s.d.phases) == 0 {
		return fmt.Errorf("the pipeline is the zero value; make it by NewPipeline: %w", port.ErrInvalid)
	}
	return port.CheckName("run", id)
}

// declare bounds the news.
func (s store) declare(ctx context.Context) error {
	t := s.d.events()
	keep := t.Keep
	keep.Name = t.Name
	if err := s.b.Declare(ctx, keep); err != nil {
		return fmt.Errorf("declare topic %q: %w", t.Name, err)
	}
	return nil
}

// load reads the record of a run, and the bytes to save over.
func (s store) load(ctx context.Context, id string) (Status, []byte, error) {
	if err := s.check(id); err != nil {
		return Status{}, nil, err
	}
	vs, err := s.b.Get(ctx, s.d.runKey(id))
	if err != nil {
		return Status{}, nil, fmt.Errorf("run %q: %w", id, err)
	}
	now, err := status(vs[0])
	return now, vs[0].Bytes, err
}

// status decodes the record of a run.
func status(v port.Value) (Status, error) {
	var now Status
	if !v.Found {
		return now, fmt.Errorf("run at key %q: %w", v.Key, port.ErrNotFound)
	}
	if err := json.Unmarshal(v.Bytes, &now); err != nil || len(now.Visits) == 0 {
		return now, fmt.Errorf("key %q holds no record of a run: %w", v.Key, errors.Join(port.ErrInvalid, err))
	}
	return now, nil
}

// enter makes r the next entry of the history, saves now over the record was (nil: there is none), and tells the news, all in the
// step of m. It completes r and now.
func enter[T any](m bus.Message[T], d *definition, was []byte, now *Status, r Record) error {
	r.N, r.Run, r.State, r.Prev = now.Entries+1, now.ID, now.State, now.Head
	r.Reason = clip(r.Reason)
	raw, hash, err := r.encode()
	if err != nil {
		return bus.Reject(err)
	}
	now.Entries, now.Head = r.N, hash
	bus.Apply(m, port.Change{Key: d.logKey(now.ID, r.N), Value: raw, If: port.Absent})
	bus.EmitAll(m, d.events(), bus.Out[Record]{ID: hash, Payload: r, Key: now.ID})
	return save(m, d, was, now)
}

// save is enter for what the history does not tell.
func save[T any](m bus.Message[T], d *definition, was []byte, now *Status) error {
	value, err := json.Marshal(now)
	if err != nil {
		return bus.Reject(fmt.Errorf("record of run %q: %w", now.ID, err))
	}
	c := port.Change{Key: d.runKey(now.ID), Value: value, If: port.Absent}
	if was != nil {
		c.If, c.Old = port.Equals, was
	}
	bus.Apply(m, c)
	return nil
}

// write makes a step that acknowledges nothing, which belongs to cause. It repeats what may be repeated; the step's ID makes it safe.
func (s store) write(ctx context.Context, cause envelope.Meta, fill func(m bus.Message[none]) error) error {
	handler := func(_ context.Context, m bus.Message[none]) error { return fill(m) }
	m := bus.Message[none]{Envelope: envelope.Envelope[none]{Meta: cause}}
	batch, err := bus.Try(ctx, handler, m)
	if err != nil {
		return err
	}
	return s.send(ctx, batch)
}

// send writes a step.
func (s store) send(ctx context.Context, batch port.Batch) error {
	batch.ID = envelope.NewID()
	return again(ctx, func(ctx context.Context) error {
		err := s.b.Write(ctx, batch)
		if errors.Is(err, port.ErrDuplicate) {
			return nil // the news was told before; the rest was applied
		}
		return err
	})
}

// again repeats a call that may be repeated while the backend does not answer.
func again(ctx context.Context, call func(context.Context) error) error {
	return retry.Do(ctx, retry.Policy{}, func(ctx context.Context) error {
		err := call(ctx)
		if err != nil && !away(err) {
			return retry.Permanent(err)
		}
		return err
	})
}

// away reports whether err says nothing but that the backend did not answer.
func away(err error) bool {
	return errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain)
}

// of is the cause of a change that is made outside of a handling: it belongs to the run.
func (s *Status) of() envelope.Meta { return envelope.Meta{CorrID: s.CorrID, Tenant: s.Tenant} }
