package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// draft is what a step that is decided keeps of a group beside its record.
type draft struct {
	written uint64         // number of the mark that comes next, as the record was read
	added   map[hash]int64 // marks of this step
	memory  *memory        // once it was asked, and is right for the record
	now     int64          // then
	settled int            // loans that are over
}

// clone is a copy to be changed by a step.
func (g *groupState) clone() *groupState {
	c := *g
	c.loaned, c.near, c.pages = slices.Clone(g.loaned), slices.Clone(g.near), slices.Clone(g.pages)
	c.recent.list = slices.Clip(g.recent.list) // which is appended to and cut
	c.start, c.draft = c.cursor, draft{written: c.recent.end()}
	return &c
}

// finish ends the i-th loan. It stays in its place until the state is tidied, so that others keep theirs.
func (g *groupState) finish(i int) {
	g.loaned[i].over = true
	g.settled++
}

// tidy takes the loans out that are over.
func (g *groupState) tidy() {
	if g.settled > 0 {
		g.loaned = slices.DeleteFunc(g.loaned, func(it item) bool { return it.over })
		g.settled = 0
	}
}

// groupLane is the lane of a group: what is fetched, extended and settled at the same time is one write.
func (b *Backend) groupLane(topic, group string) *lane {
	return b.lane("group "+topic+" "+group, b.space.group(topic, group))
}

// Extend judges each hold alone.
func (b *Backend) Extend(ctx context.Context, g port.Group, holds ...port.Hold) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(holds), fmt.Errorf("nats: extend: %w", err))
	}
	if err := b.alive(ctx, "extend"); err != nil {
		return all(len(holds), err)
	}
	if len(holds) == 0 {
		return nil
	}
	errs := make([]error, len(holds))
	holds = slices.Clone(holds)
	o := &op{what: "extend", writes: true, weight: 2, decide: func(t *tx) error {
		s, err := t.member(&g)
		if err != nil {
			return b.lost(errs, err, "extend", &g)
		}
		due := b.after(g.Loan)
		for i, h := range holds {
			at, err := t.loan(s, &g, h.Receipt)
			if err != nil {
				return err
			}
			if errs[i] = nil; at < 0 {
				errs[i] = staleReceipt("extend", &g, h.Receipt)
				continue
			}
			it := &s.loaned[at]
			it.begun = it.begun || h.Begin
			it.due = due
			t.touchGroup(g.Topic, g.Name, s)
		}
		return nil
	}}
	if err := b.groupLane(g.Topic, g.Name).do(ctx, o); err != nil {
		return all(len(holds), err)
	}
	b.countStale(errs)
	return errs
}

func (b *Backend) countStale(errs []error) {
	for _, err := range errs {
		if _, fence := errors.AsType[*port.FenceError](err); errors.Is(err, port.ErrStale) && !fence {
			b.counts.stale.Add(1)
		}
	}
}

var errNoGroup = errors.New("no such group")

// member is the record of the group that a consumer acts for; errNoGroup when there is none.
func (t *tx) member(g *port.Group) (*groupState, error) {
	s, err := t.group(g.Topic, g.Name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		if !t.renew(t.b.space.group(g.Topic, g.Name)) {
			return nil, errMissing
		}
		return nil, errNoGroup
	}
	return s, nil
}

// loan is the place among the loans of the group of what the receipt stands for, or -1. What is not there is looked for in the
// newest record before it is called stale.
func (t *tx) loan(s *groupState, g *port.Group, r port.Receipt) (int, error) {
	at := s.find(r, g.Consumer)
	if at < 0 && !t.renew(t.b.space.group(g.Topic, g.Name)) {
		return -1, errMissing
	}
	return at, nil
}

// lost answers every part of a call with what became of its group; err stays where something has to be read first.
func (b *Backend) lost(errs []error, err error, what string, g *port.Group) error {
	if !errors.Is(err, errNoGroup) {
		return err
	}
	copy(errs, all(len(errs), groupLost(what, g)))
	return nil
}

func groupLost(what string, g *port.Group) error {
	return fmt.Errorf("nats: %s: group %q of topic %q does not exist: %w", what, g.Name, g.Topic, port.ErrLost)
}

func staleReceipt(what string, g *port.Group, r port.Receipt) error {
	return fmt.Errorf("nats: %s: receipt %.40q in group %q of topic %q was settled or passed on: %w", what, r, g.Name, g.Topic, port.ErrStale)
}

// Settle judges each settlement alone: one that is invalid is answered so, and the others are carried out.
func (b *Backend) Settle(ctx context.Context, g port.Group, list ...port.Settlement) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(list), fmt.Errorf("nats: settle: %w", err))
	}
	if err := b.alive(ctx, "settle"); err != nil {
		return all(len(list), err)
	}
	errs := make([]error, len(list))
	for from := 0; from < len(list); {
		to, weight, bytes := from, 2, 0
		for to < len(list) && (to == from || weight+settledWeight(&list[to].Then) <= roundWeight && bytes <= roundBytes) {
			weight += settledWeight(&list[to].Then)
			bytes += sizeOf(&list[to].Then)
			to++
		}
		copy(errs[from:], b.settlePart(ctx, &g, list[from:to], weight, bytes))
		from = to
	}
	b.settleFull(ctx, &g, list, errs)
	b.countStale(errs)
	for i := range list {
		if errs[i] != nil {
			b.count(errs[i])
		}
	}
	return errs
}

// settledWeight is how many records a settlement may need beside that of its group: the body of an addressed message goes.
func settledWeight(then *port.Batch) int {
	if then.IsZero() {
		return 1
	}
	return weightOf(then) + 1
}

// settlePart settles as many as fit into one write.
func (b *Backend) settlePart(ctx context.Context, g *port.Group, list []port.Settlement, weight, bytes int) []error {
	list = slices.Clone(list)
	errs, left := make([]error, len(list)), make([]int, len(list))
	o := &op{what: "settle", writes: true, weight: weight, bytes: bytes}
	o.decide = func(t *tx) error {
		s, err := t.member(g)
		if err != nil {
			return b.lost(errs, err, "settle", g)
		}
		until := b.after(g.Remember)
		for i := range list {
			if left[i], errs[i] = t.settle(s, g, &list[i], until); errs[i] != nil && errors.Is(errs[i], errMissing) {
				return errs[i]
			}
		}
		return nil
	}
	if err := b.groupLane(g.Topic, g.Name).do(ctx, o); err != nil {
		return all(len(list), err) // errs is the round's, which may be under way
	}
	c := &b.counts
	for i := range list {
		if d, ok := errors.AsType[*port.DuplicateError](errs[i]); ok && d.Whole {
			c.acked.Add(1)
		}
		if errs[i] != nil {
			continue
		}
		switch list[i].Verdict {
		case port.Return:
			c.returned.Add(1)
		case port.Release:
			c.released.Add(1)
		default:
			c.acked.Add(1)
			c.written.Add(int64(len(list[i].Then.Messages) - left[i]))
			c.duplicates.Add(int64(left[i]))
		}
	}
	return errs
}

// settleFull makes room in topics that were full, and settles again what met them.
func (b *Backend) settleFull(ctx context.Context, g *port.Group, list []port.Settlement, errs []error) {
	trimmed := map[string]bool{}
	for i := range list {
		full, ok := errors.AsType[*fullError](errs[i])
		if !ok {
			continue
		}
		if !trimmed[full.topic] {
			if err := b.trim(ctx, full.topic, full.n, full.size); err != nil {
				errs[i] = err
				continue
			}
			trimmed[full.topic] = true
		}
		errs[i] = b.settlePart(ctx, g, list[i:i+1], settledWeight(&list[i].Then)+2, sizeOf(&list[i].Then))[0]
	}
}

// settle decides one settlement, and tells how many messages of its step are left out. Until is how long its ID is remembered.
func (t *tx) settle(s *groupState, g *port.Group, m *port.Settlement, until int64) (left int, err error) {
	if err := m.Check(t.b.caps, g.Topic); err != nil {
		return 0, fmt.Errorf("nats: settle: %w", err)
	}
	at, err := t.loan(s, g, m.Receipt)
	if err != nil {
		return 0, err
	}
	if at < 0 {
		return 0, staleReceipt("settle", g, m.Receipt)
	}
	if m.Verdict == port.Ack {
		return t.acknowledge(s, at, g, m, until)
	}
	it := s.loaned[at]
	s.finish(at)
	it.begun, it.lend, it.who = false, 0, ""
	if m.Verdict == port.Return {
		it.attempt++
		it.reason = m.Reason
	}
	if it.due = t.b.sinceEarly(); m.After > 0 {
		it.due = t.b.after(m.After)
	}
	s.near = append(s.near, it)
	t.touchGroup(g.Topic, g.Name, s)
	t.hints[t.b.space.hint(g.Topic)] = true
	return 0, nil
}

// acknowledge finishes a loan, together with what the settlement says happens in the same step.
func (t *tx) acknowledge(s *groupState, at int, g *port.Group, m *port.Settlement, until int64) (left int, err error) {
	known, err := t.remembers(s, s.loaned[at].id)
	if err != nil {
		return 0, err
	}
	if known {
		id, err := t.nameOf(g, s.loaned[at])
		if err != nil {
			return 0, err
		}
		s.finish(at)
		t.touchGroup(g.Topic, g.Name, s)
		return 0, fmt.Errorf("nats: settle: %w", &port.DuplicateError{IDs: []string{id}, Whole: true})
	}
	apply, out, err := t.step(&m.Then)
	if errors.Is(err, errMissing) {
		return 0, err
	}
	if err != nil {
		t.refused = true
		return 0, fmt.Errorf("nats: settle: %w", err)
	}
	t.discard(g, s.loaned[at])
	if g.Remember > 0 {
		s.remember(s.loaned[at].id, until)
	}
	s.finish(at)
	apply()
	t.touchGroup(g.Topic, g.Name, s)
	return len(out), nil
}

// discard gives up what only this group has of a message.
func (t *tx) discard(g *port.Group, it item) {
	if it.body > 0 {
		t.put(t.b.space.body(g.Topic, g.Name, it.body), write{gone: true, ttl: tombstone, blind: true})
	}
}

// nameOf is the ID of a message that the group has on loan; its hash when the message itself is gone.
func (t *tx) nameOf(g *port.Group, it item) (string, error) {
	e, err := t.entry(g, it)
	if err != nil {
		return "", err
	}
	if e == nil {
		return fmt.Sprintf("%x", it.id), nil
	}
	return e.id, nil
}

// entry is the message of an item, or nil when it is not there any more.
func (t *tx) entry(g *port.Group, it item) (*entry, error) {
	if it.body > 0 {
		c, err := t.get(t.b.space.body(g.Topic, g.Name, it.body))
		if err != nil || !c.found {
			return nil, err
		}
		r := &reader{b: c.data}
		e := r.entry()
		return &e, r.err()
	}
	c, err := t.chunk(g.Topic, it.seq)
	if err != nil || c == nil || int(it.idx) >= len(c.entries) {
		return nil, err
	}
	return &c.entries[it.idx], nil
}
