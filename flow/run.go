package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Run is one run of a pipeline that puts out O; Start and Find make it.
type Run[O any] struct {
	ID string
	s  store
}

// Wait returns the result when the run has succeeded, and a [RunError] when it has failed or was cancelled. It waits for the news of the
// pipeline and asks for nothing meanwhile but the record, every ten seconds. When ctx ends before, the error tells how the run is.
func (r Run[O]) Wait(ctx context.Context) (O, error) {
	var out O
	f := follower{store: r.s, id: r.ID}
	var last Status
	stop := func(err error) (O, error) {
		if ctx.Err() != nil && last.State != "" {
			err = fmt.Errorf("it is %s in phase %q %s: %w", last.State, last.Phase, last.Reason, err)
		}
		return out, fmt.Errorf("wait for run %q: %w", r.ID, err)
	}
	for {
		now, err := f.look(ctx)
		if err != nil {
			return stop(err)
		}
		last = now
		if err := now.failure(); err != nil {
			return out, err
		}
		if now.State == Succeeded {
			if err := json.Unmarshal(now.Result, &out); err != nil {
				return out, fmt.Errorf("the result of run %q is no %T: %w: %w", r.ID, out, port.ErrInvalid, err)
			}
			return out, nil
		}
		if err := f.wait(ctx, now.Entries); err != nil {
			return stop(err)
		}
	}
}

// Watch yields the history of the run from its beginning and goes on with what happens, until the run is over. An error, also the end of
// ctx, is the last item.
func (r Run[O]) Watch(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f := follower{store: r.s, id: r.ID}
		for told := 0; ; {
			now, err := f.look(ctx)
			for err == nil && told < now.Entries {
				var page []Record
				page, err = f.history(ctx, r.ID, told+1, min(told+historyPage, now.Entries))
				for _, rec := range page {
					if !yield(rec, nil) {
						return
					}
					told++
				}
			}
			if err == nil && now.State.Over() {
				return
			}
			if err == nil {
				err = f.wait(ctx, told)
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("watch run %q: %w", r.ID, err))
				return
			}
		}
	}
}

// follower waits for the news of one run.
type follower struct {
	store
	id    string
	ready bool        // after is a place in the log
	after port.Offset // what was read of the news
	want  int         // entries of the history that the news told of
}

// patience is after how long without news the record is read again.
const patience = 10 * time.Second

// look reads the record. The place in the news was taken before it, so that nothing falls between; a record that is behind the news
// is asked for again, a few times.
func (f *follower) look(ctx context.Context) (now Status, err error) {
	if err := f.check(f.id); err != nil {
		return now, err
	}
	if !f.ready {
		if err := again(ctx, f.goToEnd); err != nil {
			return now, err
		}
	}
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		err = again(ctx, func(ctx context.Context) (err error) {
			now, _, err = f.load(ctx, f.id)
			return err
		})
		if err != nil || now.Entries >= f.want || wait > time.Second {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// goToEnd takes the end of the news as the place to go on from.
func (f *follower) goToEnd(ctx context.Context) error {
	f.after, f.ready = port.Earliest, true
	for info, err := range f.b.Inspect(ctx, f.d.events().Name) {
		if err != nil {
			f.ready = false
			return err
		}
		f.after = info.Last
	}
	return nil
}

// wait returns when the run has more entries than seen, or it may have.
func (f *follower) wait(ctx context.Context, seen int) error {
	var news []port.Stored
	err := again(ctx, func(ctx context.Context) (err error) {
		news, err = f.b.Read(ctx, port.Range{Topic: f.d.events().Name, After: f.after, Max: 100, Wait: patience})
		return err
	})
	switch {
	case errors.Is(err, port.ErrGap):
		f.ready = false // what was missed is in the history
		return nil
	case err != nil:
		return err
	}
	if len(news) == 0 {
		return nil
	}
	for _, e := range news {
		f.after = e.Offset
		if e.Message.Key != f.id {
			continue
		}
		if n := entryOf(e.Message.Body); n > seen {
			f.want = n
		}
	}
	return nil
}

// entryOf is the number of the entry that a message of the news carries; 0 when it cannot be read.
func entryOf(body []byte) int {
	var r Record
	if _, payload, err := envelope.Parse(body); err == nil && json.Unmarshal(payload, &r) == nil {
		return r.N
	}
	return 0
}
