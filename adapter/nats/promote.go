package nats

import (
	"context"
	"slices"
)

// mostPromoted is how many delayed messages enter the log in one write.
const mostPromoted = 200

// promote puts what has become due into the log, in the order of its times. Whoever would miss it does this: no process has to
// be alive for it, and of several that try one succeeds.
func (b *Backend) promote(ctx context.Context, topic string) error {
	for more := true; more; {
		o := &op{what: "promote", writes: false, weight: mostPromoted + 8}
		o.decide = func(t *tx) (err error) {
			more, err = t.promote(topic)
			return err
		}
		if err := b.lane("log "+topic, "").do(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) promote(topic string) (more bool, err error) {
	now := t.b.sinceEarly()
	if !t.renew(t.b.space.delayed(topic)) {
		return false, errMissing
	}
	q, err := t.later(topic)
	if err != nil {
		return false, err
	}
	opened, err := t.openPages(topic, topicOwner, &q.agenda, now, mostPromoted)
	if err != nil {
		return false, err
	}
	slices.SortStableFunc(q.near, byDue)
	n := 0
	for n < len(q.near) && n < mostPromoted && q.near[n].due <= now {
		n++
	}
	subjects := make([]string, n)
	for i := range subjects {
		subjects[i] = t.b.space.body(topic, topicOwner, q.near[i].body)
	}
	a, err := t.log(topic)
	if err != nil {
		return false, err
	}
	if !t.want(subjects...) {
		return false, errMissing
	}
	if err := t.ensure(a); err != nil {
		return false, err
	}
	var entries []entry
	for _, s := range subjects {
		c, err := t.get(s)
		if err != nil {
			return false, err
		}
		if !c.found {
			continue
		}
		r := &reader{b: c.data}
		e := r.entry()
		if err := r.err(); err != nil {
			return false, err
		}
		e.late = true
		entries = append(entries, e)
	}
	for _, e := range entries {
		t.append(a, e)
	}
	for _, s := range subjects {
		t.empty(s)
	}
	q.near = slices.Delete(q.near, 0, n)
	if n > 0 || opened {
		t.touchLater(topic, q)
	}
	return q.due() <= now, nil
}
