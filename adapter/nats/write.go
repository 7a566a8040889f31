package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// Write gathers what callers write at the same time. A topic is never let over its limits: what would pass them is refused.
func (b *Backend) Write(ctx context.Context, batch port.Batch) error {
	if err := batch.Check(b.caps, ""); err != nil {
		return fmt.Errorf("nats: write: %w", err)
	}
	if err := b.alive(ctx, "write"); err != nil {
		return err
	}
	if batch.IsZero() {
		return nil
	}
	if sizeOf(&batch) > 0 || len(batch.Messages) > 0 {
		if err := b.roomLeft("write"); err != nil {
			return err
		}
	}
	var left []string
	var refused error
	var again bool
	o := &op{what: "write", writes: true, weight: weightOf(&batch) + 1, bytes: sizeOf(&batch)}
	o.decide = func(t *tx) error {
		left, refused = nil, nil
		var known func()
		var err error
		if again, known, err = t.recognise(&batch); err != nil || again {
			return err
		}
		apply, out, err := t.step(&batch)
		if errors.Is(err, errMissing) {
			return err
		}
		if err != nil {
			refused, t.refused = err, true
			return nil //nolint:nilerr // the refusal is the caller's answer; what else is in the round goes on
		}
		left = out
		known()
		apply()
		return nil
	}
	for tries := 0; ; tries++ {
		if err := b.lane(laneOf(&batch), "").do(ctx, o); err != nil {
			return err
		}
		full, ok := errors.AsType[*fullError](refused)
		if !ok || tries > 0 {
			break
		}
		if err := b.trim(ctx, full.topic, full.n, full.size); err != nil {
			return err
		}
		o = &op{what: o.what, writes: true, weight: o.weight, bytes: o.bytes, decide: o.decide}
	}
	if again {
		return nil
	}
	if refused != nil {
		b.count(refused)
		return fmt.Errorf("nats: write: %w", refused)
	}
	return b.wrote(&batch, left, "write")
}

// wrote counts the messages of a step, and names those that were left out.
func (b *Backend) wrote(batch *port.Batch, left []string, what string) error {
	b.counts.written.Add(int64(len(batch.Messages) - len(left)))
	b.counts.duplicates.Add(int64(len(left)))
	if len(left) > 0 {
		return fmt.Errorf("nats: %s: %w", what, &port.DuplicateError{IDs: left})
	}
	return nil
}

// count counts a refused step or change.
func (b *Backend) count(err error) {
	if errors.Is(err, port.ErrConflict) {
		b.counts.conflicts.Add(1)
	}
}

// recognise reports whether the batch was applied before, by its ID, and returns what makes it known.
func (t *tx) recognise(batch *port.Batch) (again bool, known func(), err error) {
	if batch.ID == "" {
		return false, func() {}, nil
	}
	if topic := onlyTopic(batch); topic != "" {
		a, err := t.log(topic)
		if err != nil {
			return false, nil, err
		}
		id := hashOf(batch.ID)
		return a.applied(id, t.b.sinceEarly()), func() { a.apply(id); t.changes++ }, nil
	}
	t.foresee(batch)
	subject := t.b.space.batch(batch.ID)
	c, err := t.get(subject)
	if err != nil {
		return false, nil, err
	}
	if c = t.b.living(c); c.found {
		return true, nil, nil
	}
	return false, func() { t.put(subject, t.b.lasting(port.BatchWindow, []byte(batch.ID))) }, nil
}

// lasting is a record that lasts for d.
func (b *Backend) lasting(d time.Duration, data []byte) write {
	return write{data: data, ttl: d + 2*time.Second, end: b.after(d)}
}

// laneOf is the lane of a step: that of its one topic, so that what is written to it at the same time is one chunk, or one for
// all steps that have more to them.
func laneOf(b *port.Batch) string {
	if topic := onlyTopic(b); topic != "" {
		return "log " + topic
	}
	return "steps"
}

// onlyTopic is the topic of a step that only appends to its log, or "". Its ID is kept in the log, too: a repetition is such a
// step of the same topic.
func onlyTopic(b *port.Batch) string {
	if !b.Fence.IsZero() || len(b.Changes) > 0 || len(b.Removes) > 0 || len(b.Messages) == 0 {
		return ""
	}
	first := b.Messages[0].Topic
	other := func(m port.Message) bool { return m.Topic != first || m.Group != "" || !m.At.IsZero() }
	if slices.ContainsFunc(b.Messages, other) {
		return ""
	}
	return first
}

// weightOf is how many records a step may need.
func weightOf(b *port.Batch) int {
	return 2*len(b.Messages) + len(b.Changes) + len(b.Removes) + 4
}

func sizeOf(b *port.Batch) int {
	n := 0
	for i := range b.Messages {
		n += len(b.Messages[i].Body)
	}
	for i := range b.Changes {
		n += len(b.Changes[i].Value)
	}
	return n
}
