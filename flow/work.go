package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Worker says how one process takes part in the work on a pipeline.
type Worker struct {
	Only  []string  // the phases to work on; default every phase
	Group bus.Group // workers, loan, tries and so on, for each phase; Name and From are the pipeline's and must be empty
}

// Work carries runs on, until ctx ends and what was begun is settled; then it returns nil. Everything that bus.Topic.Subscribe says of
// the end of ctx, errors, and outages holds for each phase; the first that ends with an error ends the others.
//
// A run whose worker died goes on at any other worker of the phase, when Group.Loan has run out. A run that was started with another
// definition is left: its record says so, and its message is offered to all workers again and again, first after a second, later
// once a minute, until one with the definition of the run takes it or the run is cancelled; that is no failure. A message for
// a run that is over, or for a visit that is done, is acknowledged and does nothing.
//
// Work also sees to the dead letters of its phases: a run whose message was buried becomes failed.
func (p Pipeline[I, O]) Work(ctx context.Context, b Backend, w Worker) error {
	s := p.in(b)
	if err := s.check("any"); err != nil {
		return err
	}
	if w.Group.Name != "" || w.Group.From != port.Earliest {
		return fmt.Errorf("work on pipeline %q: the group's Name and From are the pipeline's own, leave them empty: %w", s.d.name, port.ErrInvalid)
	}
	for _, name := range w.Only {
		if s.d.phase(name) == nil {
			return fmt.Errorf("work on pipeline %q: it has no phase %q: %w", s.d.name, name, port.ErrInvalid)
		}
	}
	w.Group.Name = group
	if w.Group.Log == nil {
		w.Group.Log = slog.Default()
	}
	if err := s.declare(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return nil
		}
		return err
	}
	var parts []func(context.Context) error
	for _, n := range s.d.phases {
		if len(w.Only) > 0 && !slices.Contains(w.Only, n.name) {
			continue
		}
		h := hand{store: s, n: n, log: w.Group.Log}
		parts = append(parts,
			func(ctx context.Context) error { return s.d.topic(n).Subscribe(ctx, b, w.Group, h.handle) },
			func(ctx context.Context) error { return s.mourn(ctx, n, w.Group) })
	}
	return muster.Run(ctx, parts...)
}

// hand handles the inputs of one phase.
type hand struct {
	store
	n   *node
	log *slog.Logger
}

// handle is the handling of one input: it is begun, the phase's handler runs, and what came of it is the step of the acknowledgement.
func (h hand) handle(ctx context.Context, m bus.Message[json.RawMessage]) error {
	id, visit, err := address(m.Headers)
	if err != nil {
		return bus.Reject(err)
	}
	if at, ok := envelope.PlaceFrom(ctx); ok {
		at.Phase = h.n.name
		ctx = envelope.WithPlace(ctx, at)
	}
	now, was, err := h.begin(ctx, m, id, visit)
	if err != nil || now == nil {
		return err
	}
	sub := &scope{
		kv: h.b, prefix: fmt.Sprintf("%s%s/%d/", h.d.doPrefix(id), h.n.name, visit), name: fmt.Sprintf("run %q, phase %q", id, h.n.name),
		guard: h.d.runKey(id), still: stillAt(id, visit),
	}
	out, err := h.n.call(within(ctx, sub), m.Payload)
	now.current().Notes = sub.taken()
	feed, isBack := errors.AsType[*back](err)
	switch {
	case err == nil:
		return h.done(m, was, now, out)
	case isBack:
		return h.feed(m, was, now, feed)
	case cancelled(err, id):
		return nil
	default:
		return h.erred(ctx, m, was, now, err)
	}
}

// tries is how often a change of a record is tried that others change at the same time.
const tries = 10

// begin records that this worker begins an attempt. It returns the record and its bytes; a nil record and no error when there
// is nothing to do; and else the verdict. A message that is put off runs on without a new entry.
func (h hand) begin(ctx context.Context, m bus.Message[json.RawMessage], id string, visit int) (*Status, []byte, error) {
	for range tries {
		now, was, err := h.load(ctx, id)
		switch {
		case errors.Is(err, port.ErrNotFound):
			return nil, nil, bus.Reject(fmt.Errorf("the run has no record, it was removed or lost: %w", err))
		case errors.Is(err, port.ErrInvalid):
			return nil, nil, bus.Reject(err)
		case err != nil:
			return nil, nil, bus.Later(time.Second, err)
		case visit < now.Visit, now.State == Succeeded, now.State == Cancelled:
			return nil, nil, nil
		case visit > now.Visit:
			return nil, nil, since(m, 100*time.Millisecond, fmt.Errorf("run %q is behind its message", id))
		case now.Definition != h.d.hash:
			return nil, nil, h.leave(ctx, m, was, &now)
		case now.Phase != h.n.name:
			return nil, nil, bus.Reject(fmt.Errorf("visit %d of run %q is one of phase %q", visit, id, now.Phase))
		case now.State == Waiting && now.current().PutOff:
			now.current().Worker = m.Worker
			return &now, was, nil
		}
		was, err = h.beginOver(ctx, m, was, &now)
		switch {
		case err == nil:
			return &now, was, nil
		case errors.Is(err, port.ErrConflict):
		default:
			return nil, nil, bus.Later(time.Second, err)
		}
	}
	return nil, nil, bus.Later(time.Second, fmt.Errorf("the record of run %q changes all the time", id))
}

func (h hand) beginOver(ctx context.Context, m bus.Message[json.RawMessage], was []byte, now *Status) ([]byte, error) {
	v := now.current()
	v.Attempts++
	v.Worker, v.Started, v.PutOff = m.Worker, time.Now().UTC(), false
	if m.LastError != "" {
		v.Error = clip(m.LastError)
	}
	if now.Started.IsZero() {
		now.Started = v.Started
	}
	now.State, now.Reason, now.Failure, now.Ended = Running, "", nil, time.Time{}
	return h.change(ctx, m.Meta, was, now, v.record(Begun, v.Started))
}

// record is an entry about the visit.
func (v *Visit) record(e Event, at time.Time) Record {
	return Record{Event: e, Phase: v.Phase, Visit: v.Visit, Attempt: v.Attempts, Worker: v.Worker, At: at}
}

// change makes a step outside of the acknowledgement, and returns the bytes of the record that it leaves. Attempts without number do
// not fill the history.
func (h hand) change(ctx context.Context, cause envelope.Meta, was []byte, now *Status, r Record) ([]byte, error) {
	err := h.write(ctx, cause, func(m bus.Message[none]) error {
		if r.Attempt > maxLogged {
			return save(m, h.d, was, now)
		}
		return enter(m, h.d, was, now, r)
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(now)
}

// leave leaves a run of another definition to others.
func (h hand) leave(ctx context.Context, m bus.Message[json.RawMessage], was []byte, now *Status) error {
	err := fmt.Errorf("run %q was started with definition %.12s of pipeline %q, worker %s has %.12s: start a worker with that definition, or cancel the run",
		now.ID, now.Definition, h.d.name, m.Worker, h.d.hash)
	if now.State != Waiting {
		h.log.WarnContext(ctx, "run is left to a worker with its definition", "run", now.ID, "error", err)
		now.State, now.Reason, now.Failure, now.Ended = Waiting, clip(err.Error()), nil, time.Time{}
		v := *now.current()
		v.Worker = m.Worker
		r := v.record(Left, time.Now().UTC())
		r.Reason = now.Reason
		if _, werr := h.change(ctx, m.Meta, was, now, r); werr != nil {
			return bus.Later(time.Second, errors.Join(err, werr))
		}
	}
	return since(m, time.Second, err)
}

// since puts a message off for as long as it has been there already, at least the shortest wait and at most a minute.
func since(m bus.Message[json.RawMessage], shortest time.Duration, err error) error {
	return bus.Later(min(max(time.Since(m.FirstAt), shortest), time.Minute), err)
}

// done is the step of a phase that is done.
func (h hand) done(m bus.Message[json.RawMessage], was []byte, now *Status, out json.RawMessage) error {
	at := time.Now().UTC()
	v := now.current()
	v.Ended, v.Output = at, digest(out)
	r := v.record(Done, at)
	r.Input, r.Output, r.Notes = v.Input, v.Output, v.Notes
	now.State, now.Reason, v.PutOff = Running, "", false
	next := h.d.after(h.n)
	if next == nil {
		if len(out) > maxResult {
			return bus.Reject(fmt.Errorf("the result has %d bytes, at most %d are kept with the run: put it elsewhere and return its digest", len(out), maxResult))
		}
		now.State, now.Ended, now.Result = Succeeded, at, out
		return enter(m, h.d, was, now, r)
	}
	r.To = next.name
	queue(m, h.d, now, next, out, "", at)
	return enter(m, h.d, was, now, r)
}

// feed is the step of a phase that feeds back.
func (h hand) feed(m bus.Message[json.RawMessage], was []byte, now *Status, b *back) error {
	to, from := slices.Index(h.d.phases, b.to), slices.Index(h.d.phases, h.n)
	if to < 0 || to > from {
		return bus.Reject(fmt.Errorf("phase %q goes back to %q, which is not before it in pipeline %q", h.n.name, b.to.name, h.d.name))
	}
	way := h.n.name + ">" + b.to.name
	if now.Backs[way] >= b.most {
		return bus.Reject(fmt.Errorf("phase %q would go back to %q a time more than the %d allowed", h.n.name, b.to.name, b.most))
	}
	if now.Backs == nil {
		now.Backs = make(map[string]int)
	}
	now.Backs[way]++
	at := time.Now().UTC()
	v := now.current()
	v.Ended, v.PutOff = at, false
	now.State, now.Reason = Running, ""
	r := v.record(WentBack, at)
	r.To, r.Input, r.Output, r.Notes = b.to.name, v.Input, digest(b.in), v.Notes
	queue(m, h.d, now, b.to, b.in, "", at)
	return enter(m, h.d, was, now, r)
}

// erred records a failed attempt and returns its verdict. What was cut off is none, and told by nobody.
func (h hand) erred(ctx context.Context, m bus.Message[json.RawMessage], was []byte, now *Status, verdict error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return verdict
	}
	at := time.Now().UTC()
	v := now.current()
	r := v.record(Erred, at)
	r.Reason, r.Notes = verdict.Error(), v.Notes
	if errors.Is(verdict, bus.ErrLater) {
		if v.PutOff {
			return verdict
		}
		r.Event, v.PutOff = PutOff, true
		now.State, now.Reason = Waiting, clip(verdict.Error())
	} else {
		v.Error, v.PutOff = clip(verdict.Error()), false
		now.State, now.Reason = Running, ""
	}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	if _, err := h.change(ctx, m.Meta, was, now, r); err != nil && !errors.Is(err, port.ErrConflict) {
		h.log.WarnContext(ctx, "a failed attempt is not in the history of its run", "run", now.ID, "error", err)
	}
	return verdict
}

// stillAt reports whether the record is that of a run which is still at a visit.
func stillAt(id string, visit int) func(port.Value) error {
	return func(v port.Value) error {
		now, err := status(v)
		switch {
		case err != nil:
			return err
		case now.State == Cancelled:
			return now.failure()
		case now.Visit != visit || now.State == Succeeded:
			return fmt.Errorf("run %q went on without this handler: %w", id, port.ErrLost)
		}
		return nil
	}
}
