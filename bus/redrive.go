package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// Dead is the dead letters of one group of one topic.
type Dead struct {
	Queue        port.Queue
	Topic, Group string
}

// DeadFilter chooses dead letters; the zero value chooses all. What is set must hold together.
type DeadFilter struct {
	IDs       []string // any of these; default any
	Tenant    string   // exactly; default any
	Reason    string   // contained in the reason; default any
	Limit     int      // how many at most, what does not decode not counted; default all
	PerSecond float64  // how fast to redrive or remove; default as fast as it goes
}

func (f DeadFilter) check() error {
	if f.Limit < 0 || f.PerSecond < 0 || math.IsNaN(f.PerSecond) || math.IsInf(f.PerSecond, 0) {
		return fmt.Errorf("dead letters: limit %d and rate %v must not be negative: %w", f.Limit, f.PerSecond, port.ErrInvalid)
	}
	return nil
}

func (f DeadFilter) chooses(d *DeadLetter) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID)) &&
		(f.Tenant == "" || f.Tenant == d.Tenant) &&
		strings.Contains(d.Reason, f.Reason)
}

// page is how many entries are read at a time.
const page = 100

// List yields the dead letters that f chooses and that are there when it begins, oldest first. An error is the last item; one
// that does not decode is yielded as port.ErrInvalid with its offset, and the list goes on.
func (d Dead) List(ctx context.Context, f DeadFilter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		if err := f.check(); err != nil {
			yield(DeadLetter{}, err)
			return
		}
		last, err := d.last(ctx)
		if err != nil || last == "" {
			if err != nil {
				yield(DeadLetter{}, err)
			}
			return
		}
		after, n := port.Earliest, 0
		for after < last && (f.Limit == 0 || n < f.Limit) {
			entries, err := d.Queue.Read(ctx, port.Range{Topic: d.topic().Name, After: after, Max: page})
			if err != nil {
				yield(DeadLetter{}, fmt.Errorf("dead letters of %s: %w", d.name(), err))
				return
			}
			if len(entries) == 0 {
				return
			}
			for i := range entries {
				if after = entries[i].Offset; after > last || f.Limit > 0 && n == f.Limit {
					return
				}
				letter, err := d.decode(&entries[i])
				if err == nil {
					if !f.chooses(&letter) {
						continue
					}
					n++
				}
				if !yield(letter, err) {
					return
				}
			}
		}
	}
}

func (d Dead) decode(e *port.Stored) (DeadLetter, error) {
	letter := DeadLetter{ID: e.Message.ID, Offset: e.Offset, Topic: d.Topic, Group: d.Group, Body: e.Message.Body}
	meta, payload, err := envelope.Parse(e.Message.Body)
	if err == nil {
		err = deadCodec{}.Decode(payload, &letter)
	}
	if err != nil {
		return letter, fmt.Errorf("dead letter at %s of %s: %w: %w", e.Offset, d.name(), port.ErrInvalid, err)
	}
	letter.Offset, letter.Key = e.Offset, e.Message.Key // as it came: in the letter it is text
	if letter.Tenant == "" {
		letter.Tenant = meta.Tenant
	}
	return letter, nil
}

// Show returns the newest dead letter with this message ID, or port.ErrNotFound.
func (d Dead) Show(ctx context.Context, id string) (DeadLetter, error) {
	var found *DeadLetter
	for letter, err := range d.List(ctx, DeadFilter{IDs: []string{id}}) {
		switch {
		case err == nil:
			found = &letter
		case !errors.Is(err, port.ErrInvalid):
			return DeadLetter{}, err
		}
	}
	if found == nil {
		return DeadLetter{}, fmt.Errorf("dead letter %q of %s: %w", id, d.name(), port.ErrNotFound)
	}
	return *found, nil
}

// Count is how many dead letters there are.
func (d Dead) Count(ctx context.Context) (int64, error) {
	info, err := d.inspect(ctx)
	return info.Count, err
}

// Redrive gives the chosen dead letters back to the group that failed, and to no other, oldest first, and tells how many. Each is
// removed and appended in one step; one that somebody else redrove or removed meanwhile is passed over. The message is handled
// anew, with all its tries, under the envelope that it had. port.ErrNotFound when the group does not exist: subscribe first.
func (d Dead) Redrive(ctx context.Context, f DeadFilter) (int, error) {
	return d.each(ctx, f, func(letter DeadLetter) (bool, error) {
		b := port.Batch{
			Messages: []port.Message{{
				Topic: d.Topic, Group: d.Group, ID: redriven(letter), Key: letter.Key, Body: letter.Body,
			}},
			Removes: []port.Removal{{Topic: d.topic().Name, Offset: letter.Offset}},
		}
		err := d.step(ctx, letter, b)
		if !errors.Is(err, port.ErrNotFound) {
			return err == nil, err
		}
		there, rerr := d.there(ctx, letter.Offset)
		if rerr != nil {
			return false, rerr
		}
		if there {
			return false, fmt.Errorf("redrive into group %q of topic %q, which does not exist; subscribe with it first: %w", d.Group, d.Topic, err)
		}
		return false, nil
	})
}

// Remove deletes the chosen dead letters for good and tells how many.
func (d Dead) Remove(ctx context.Context, f DeadFilter) (int, error) {
	return d.each(ctx, f, func(letter DeadLetter) (bool, error) {
		err := d.step(ctx, letter, port.Batch{Removes: []port.Removal{{Topic: d.topic().Name, Offset: letter.Offset}}})
		if errors.Is(err, port.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
}

func (d Dead) step(ctx context.Context, letter DeadLetter, b port.Batch) error {
	if err := write(ctx, d.Queue, b); err != nil {
		return fmt.Errorf("dead letter %q of %s: %w", letter.ID, d.name(), err)
	}
	return nil
}

// each runs do for the chosen letters at the rate asked for, and counts those that it did.
func (d Dead) each(ctx context.Context, f DeadFilter, do func(DeadLetter) (bool, error)) (int, error) {
	n := 0
	var undecoded error
	next := time.Now()
	for letter, err := range d.List(ctx, f) {
		if err != nil {
			if !errors.Is(err, port.ErrInvalid) || letter.Offset == "" {
				return n, err
			}
			undecoded = errors.Join(undecoded, err)
			continue
		}
		if f.PerSecond > 0 {
			pause(ctx, time.Until(next))
			if ctx.Err() != nil {
				return n, fmt.Errorf("dead letters of %s, %d done: %w", d.name(), n, context.Cause(ctx))
			}
			if now := time.Now(); next.Before(now) {
				next = now // what was slow is not made up for: the rate is the fastest
			}
			next = next.Add(time.Duration(float64(time.Second) / f.PerSecond))
		}
		done, err := do(letter)
		if err != nil {
			return n, err
		}
		if done {
			n++
		}
	}
	return n, undecoded
}

// redriven is the port's ID of a redriven message: the envelope's with the place of the dead letter, so that no window and no
// memory of the group takes it for a repetition, however often it dies and is redriven.
func redriven(letter DeadLetter) string {
	id := letter.ID
	if meta, _, err := envelope.Parse(letter.Body); err == nil {
		id = meta.ID
	} else if i := strings.LastIndexByte(id, '~'); i >= 0 {
		id = id[:i]
	}
	suffix := "~" + string(letter.Offset)
	return id[:min(len(id), port.MaxKey-len(suffix))] + suffix
}

// there reports whether the dead letter at an offset is still there.
func (d Dead) there(ctx context.Context, at port.Offset) (bool, error) {
	for letter, err := range d.List(ctx, DeadFilter{}) {
		if letter.Offset == at {
			return true, nil
		}
		if err != nil && letter.Offset == "" {
			return false, err
		}
	}
	return false, nil
}

// last is the offset of the newest dead letter; "" when there is none.
func (d Dead) last(ctx context.Context) (port.Offset, error) {
	info, err := d.inspect(ctx)
	if info.Count == 0 {
		return "", err
	}
	return info.Last, err
}

func (d Dead) inspect(ctx context.Context) (port.TopicInfo, error) {
	if err := port.CheckName("topic", d.topic().Name); err != nil {
		return port.TopicInfo{}, err
	}
	for info, err := range d.Queue.Inspect(ctx, d.topic().Name) {
		if err != nil {
			return port.TopicInfo{}, fmt.Errorf("dead letters of %s: %w", d.name(), err)
		}
		return info, nil
	}
	return port.TopicInfo{}, nil
}

func (d Dead) topic() Topic[DeadLetter] { return DeadTopic(d.Topic, d.Group) }

func (d Dead) name() string { return fmt.Sprintf("group %q of topic %q", d.Group, d.Topic) }
