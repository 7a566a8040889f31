package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Status is the record of a run; port.ErrNotFound where there is none.
func (p Pipeline[I, O]) Status(ctx context.Context, b Backend, id string) (Status, error) {
	now, _, err := p.in(b).load(ctx, id)
	return now, err
}

// List yields the records of the runs that are in one of the states, or of all, by id. Those that NewID made the ids of come in the
// order in which they were started. An error is the last item.
func (p Pipeline[I, O]) List(ctx context.Context, b Backend, states ...State) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		s := p.in(b)
		fail := func(err error) { yield(Status{}, fmt.Errorf("runs of pipeline %q: %w", s.d.name, err)) }
		if err := s.check("any"); err != nil {
			fail(err)
			return
		}
		keys, err := s.keys(ctx, s.d.runKey("*"))
		if err != nil {
			fail(err)
			return
		}
		for page := range slices.Chunk(keys, 100) {
			vs, err := b.Get(ctx, page...)
			if err != nil {
				fail(err)
				return
			}
			for _, v := range vs {
				if !v.Found {
					continue // removed meanwhile
				}
				now, err := status(v)
				if err != nil {
					fail(err)
					return
				}
				if (len(states) == 0 || slices.Contains(states, now.State)) && !yield(now, nil) {
					return
				}
			}
		}
	}
}

// keys are the keys that match, sorted.
func (s store) keys(ctx context.Context, pattern string) ([]string, error) {
	var all []string
	for key, err := range s.b.Keys(ctx, pattern) {
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	slices.Sort(all)
	return all, nil
}

// historyPage is how many entries are read at a time.
const historyPage = 100

// History is the history of a run and the record that it belongs to, verified: see [Verify].
func (p Pipeline[I, O]) History(ctx context.Context, b Backend, id string) (Status, []Record, error) {
	s := p.in(b)
	now, _, err := s.load(ctx, id)
	if err != nil {
		return now, nil, err
	}
	var all []Record
	for len(all) < now.Entries {
		page, err := s.history(ctx, id, len(all)+1, min(len(all)+historyPage, now.Entries))
		if err != nil {
			return now, all, err
		}
		all = append(all, page...)
	}
	return now, all, Verify(now, all)
}

// history reads entries, from and to included.
func (s store) history(ctx context.Context, id string, from, to int) ([]Record, error) {
	var keys []string
	for n := from; n <= to; n++ {
		keys = append(keys, s.d.logKey(id, n))
	}
	var list []Record
	err := again(ctx, func(ctx context.Context) error {
		vs, err := s.b.Get(ctx, keys...)
		list = make([]Record, len(vs))
		for i, v := range vs {
			if !v.Found {
				return fmt.Errorf("entry %d of the history of run %q: %w", from+i, id, port.ErrNotFound)
			}
			if err := json.Unmarshal(v.Bytes, &list[i]); err != nil {
				return fmt.Errorf("entry %d of the history of run %q: %w: %w", from+i, id, port.ErrInvalid, err)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Cancel gives a run up, for a reason that its record keeps. What a handler is doing goes on, as the end of its context is not
// promised, but what it leaves is refused, and [Do] begins nothing more; messages of the run are acknowledged unhandled. A failed
// run is given up too: its dead letter may then be redriven and does nothing. Cancelling again does nothing and returns nil;
// port.ErrConflict for a run that has succeeded, port.ErrNotFound where there is none.
func (p Pipeline[I, O]) Cancel(ctx context.Context, b Backend, id, reason string) error {
	return p.in(b).alter(ctx, id, "cancel", func(now *Status, was []byte) (port.Batch, error) {
		switch now.State {
		case Cancelled:
			return port.Batch{}, nil
		case Succeeded:
			return port.Batch{}, fmt.Errorf("it has succeeded: %w", port.ErrConflict)
		}
		at := time.Now().UTC()
		now.State, now.Reason, now.Ended, now.Failure = Cancelled, clip(reason), at, nil
		r := now.current().record(Ceased, at)
		r.Reason = now.Reason
		return p.in(b).step(ctx, was, now, r)
	})
}

// Retry gives the dead letter of a failed run back to the phase that failed: the same visit goes on, with all its tries, and with what
// its [Do] has recorded. The run is running, or rather queued, when Retry returns. port.ErrConflict for a run that has not failed,
// port.ErrNotFound where there is none, or no dead letter any more.
func (p Pipeline[I, O]) Retry(ctx context.Context, b Backend, id string) error {
	s := p.in(b)
	return s.alter(ctx, id, "retry", func(now *Status, was []byte) (port.Batch, error) {
		if now.State != Failed || now.Failure == nil {
			return port.Batch{}, fmt.Errorf("it is %s, and only a failed run can be retried: %w", now.State, port.ErrConflict)
		}
		in := s.d.name + "." + now.Failure.Phase + ".in"
		letter, err := bus.Dead{Queue: b, Topic: in, Group: group}.Show(ctx, now.Failure.Letter)
		if err != nil {
			return port.Batch{}, err
		}
		now.State, now.Reason, now.Failure, now.Ended = Running, "", nil, time.Time{}
		step, err := s.step(ctx, was, now, now.current().record(Retried, time.Now().UTC()))
		if err != nil {
			return step, err
		}
		message, err := redriven(letter)
		if err != nil {
			return step, err
		}
		step.Messages = append(step.Messages, port.Message{Topic: in, Group: group, ID: message, Key: letter.Key, Body: letter.Body})
		step.Removes = append(step.Removes, port.Removal{Topic: bus.DeadTopic(in, group).Name, Offset: letter.Offset})
		return step, nil
	})
}

// redriven is the port's ID of a redriven message: the envelope's with the place of the dead letter, new for each, so that nobody
// takes it for known.
func redriven(d bus.DeadLetter) (string, error) {
	meta, _, err := envelope.Parse(d.Body)
	return meta.ID + "~" + string(d.Offset), err
}

// step is the batch that enters r and saves now.
func (s store) step(ctx context.Context, was []byte, now *Status, r Record) (port.Batch, error) {
	m := bus.Message[none]{Envelope: envelope.Envelope[none]{Meta: now.of()}}
	return bus.Try(ctx, func(_ context.Context, m bus.Message[none]) error { return enter(m, s.d, was, now, r) }, m)
}

// alter makes the change of a record that turn decides on. Whatever stands in its way, it is decided anew when the record has changed
// meanwhile. A zero batch is no change.
func (s store) alter(ctx context.Context, id, what string, turn func(now *Status, was []byte) (port.Batch, error)) error {
	var refused error
	var before []byte
	for range tries {
		now, was, err := s.load(ctx, id)
		if err != nil {
			return errors.Join(refused, fmt.Errorf("%s: %w", what, err))
		}
		if refused != nil && bytes.Equal(was, before) {
			return refused
		}
		batch, err := turn(&now, was)
		if err == nil && !batch.IsZero() {
			err = s.send(ctx, batch)
		}
		if err == nil {
			return nil
		}
		refused, before = fmt.Errorf("%s run %q: %w", what, id, err), was
	}
	return refused
}

// Remove deletes a run that has succeeded or was cancelled, with its history and what its handlers have done. Its id may then be used
// again. It may be repeated when it fails halfway. port.ErrConflict for any other run, port.ErrNotFound where there is none.
func (p Pipeline[I, O]) Remove(ctx context.Context, b Backend, id string) error {
	s := p.in(b)
	now, was, err := s.load(ctx, id)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if now.State != Succeeded && now.State != Cancelled {
		return fmt.Errorf("remove run %q: it is %s; cancel it first: %w", id, now.State, port.ErrConflict)
	}
	keys, err := s.keys(ctx, s.d.doPrefix(id)+"*")
	if err != nil {
		return fmt.Errorf("remove run %q: %w", id, err)
	}
	for n := 1; n <= now.Entries; n++ {
		keys = append(keys, s.d.logKey(id, n))
	}
	if err := s.delete(ctx, keys); err != nil {
		return fmt.Errorf("remove run %q: %w", id, err)
	}
	last := port.Batch{Changes: []port.Change{{Key: s.d.runKey(id), Delete: true, If: port.Equals, Old: was}}}
	if err := s.send(ctx, last); err != nil {
		return fmt.Errorf("remove run %q: %w", id, err)
	}
	return nil
}

// Lookup is the record of a run of the pipeline that has a name, for those who do not have the Pipeline; port.ErrNotFound where there
// is none.
func Lookup(ctx context.Context, b Backend, pipeline, id string) (Status, error) {
	if err := errors.Join(checkPart("pipeline", pipeline), port.CheckName("run", id)); err != nil {
		return Status{}, err
	}
	vs, err := b.Get(ctx, (&definition{name: pipeline}).runKey(id))
	if err != nil {
		return Status{}, fmt.Errorf("run %q of pipeline %q: %w", id, pipeline, err)
	}
	return status(vs[0])
}
