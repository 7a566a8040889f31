package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/port"
)

// How many settlements, and parts and bytes of their steps, one script takes; it takes one settlement at least.
const (
	mostSettlements = 500
	mostParts       = 2000
	mostWeight      = 4 << 20
)

// Settle settles up to 500 in one script. Those that met a full topic are tried again after it was trimmed. Where the server refuses
// a script for one of its settlements, because its memory is full or a key is of another type, the others are tried without.
func (b *Backend) Settle(ctx context.Context, g port.Group, s ...port.Settlement) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(s), fmt.Errorf("redis: settle: %w", err))
	}
	if err := b.alive(ctx, "settle"); err != nil {
		return all(len(s), err)
	}
	defer b.settling.begin(&g)()
	t := settling{b: b, ctx: ctx, g: &g, s: s, errs: make([]error, len(s))}
	t.settle(t.valid())
	t.wrap()
	return t.errs
}

// settling is one call of Settle.
type settling struct {
	b    *Backend
	ctx  context.Context
	g    *port.Group
	s    []port.Settlement
	errs []error
}

func (t *settling) what() string {
	return fmt.Sprintf("settle for group %s of topic %s", t.g.Name, t.g.Topic)
}

func (t *settling) wrap() {
	for i, err := range t.errs {
		if err != nil {
			t.errs[i] = fmt.Errorf("redis: %s: %w", t.what(), err)
		}
	}
}

// valid are the settlements that can be sent.
func (t *settling) valid() []int {
	indices := make([]int, 0, len(t.s))
	for i := range t.s {
		t.errs[i] = t.s[i].Check(t.b.caps, t.g.Topic)
		if t.errs[i] == nil {
			t.errs[i] = checkWeight(&t.s[i].Then)
		}
		if t.errs[i] == nil {
			indices = append(indices, i)
		}
	}
	return indices
}

func (t *settling) settle(indices []int) {
	for len(indices) > 0 {
		n, parts, bytes := 0, 0, 0
		for n < len(indices) && n < mostSettlements && parts < mostParts && bytes < mostWeight {
			then := &t.s[indices[n]].Then
			parts += 1 + len(then.Messages) + len(then.Changes) + len(then.Removes)
			bytes += weight(then)
			n++
		}
		if !t.acknowledged(indices[:n]) {
			t.send(indices[:n])
			t.apart(indices[:n])
			t.again(indices[:n])
		}
		indices = indices[n:]
	}
}

// again trims the topics that some met full, and sends those once more, as Write does.
func (t *settling) again(indices []int) {
	held := map[string]bool{} // by a group: they stay refused
	for range mostTrims {
		full := map[string][]int{}
		for _, i := range indices {
			if f, ok := errors.AsType[*fullError](t.errs[i]); ok && !held[f.topic] {
				full[f.topic] = append(full[f.topic], i)
			}
		}
		if len(full) == 0 {
			return
		}
		for topic, some := range full {
			kept, err := t.b.trim(t.ctx, topic)
			if held[topic] = kept || err != nil; !held[topic] {
				t.send(some)
			}
		}
	}
}

// apart sends again what the server refused as a whole, in parts: what needs no memory without what does, and each alone where a
// key is of another type. Nothing of it has happened.
func (t *settling) apart(indices []int) {
	var free, single []int
	for _, i := range indices {
		switch {
		case t.errs[i] == nil || len(indices) == 1:
		case errors.Is(t.errs[i], port.ErrUnavailable) && strings.Contains(t.errs[i].Error(), fullMemory):
			if !puts(&t.s[i].Then) {
				free = append(free, i)
			}
		case strings.Contains(t.errs[i].Error(), "WRONGTYPE"):
			single = append(single, i)
		}
	}
	if len(free) > 0 && len(free) < len(indices) {
		t.send(free)
	}
	for _, i := range single {
		t.send([]int{i})
	}
}

// puts reports whether a step puts something in, as settle.lua sees it.
func puts(b *port.Batch) bool {
	return len(b.Messages) > 0 || slices.ContainsFunc(b.Changes, func(c port.Change) bool { return !c.Delete })
}

// send runs the script for these settlements, in order. One that cannot be sent, because its receipt or a removal names what
// was never made here, is answered without.
func (t *settling) send(indices []int) {
	p := newPlan(t.b.space, port.Family(t.g.Topic))
	p.topic(t.g.Topic)
	p.group(t.g.Topic, t.g.Name)
	sent := make([]int, 0, len(indices))
	names, tokens, verdicts, ids := make([]string, 0, len(indices)), make([]string, 0, len(indices)), make([]string, 0, len(indices)), make([]string, 0, len(indices))
	for _, i := range indices {
		s := &t.s[i]
		c, ok := claimed(t.g, s.Receipt)
		if !ok {
			t.errs[i] = fmt.Errorf("the receipt is of no loan of this group: %w", port.ErrStale)
			t.b.counts.stale.Add(1)
			continue
		}
		verdict, args := "A", len(p.args)
		switch {
		case s.Verdict == port.Return:
			verdict = "R"
			p.add(number(port.Millis(s.After)), c.ms, s.Reason)
		case s.Verdict == port.Release:
			verdict = "L"
			p.add(number(port.Millis(s.After)), c.ms)
		case !s.Then.IsZero():
			verdict = "T"
			if t.errs[i] = p.step(&s.Then, encodeAll(s.Then.Messages)); t.errs[i] != nil {
				p.args = p.args[:args]
				continue
			}
		}
		sent = append(sent, i)
		names, tokens, verdicts, ids = append(names, c.name), append(tokens, c.token), append(verdicts, verdict), append(ids, c.id)
	}
	if len(sent) > 0 {
		args := make([]string, 0, 3+4*len(sent)+len(p.args))
		args = append(args, t.g.Consumer, number(port.Millis(t.g.Remember)), strconv.Itoa(len(sent)))
		for _, list := range [][]string{names, tokens, verdicts, ids, p.args} {
			args = append(args, list...)
		}
		t.answer(sent, ids, p.keys, args)
	}
}

// answer runs the script and reads what came of each.
func (t *settling) answer(sent []int, ids, keys, args []string) {
	m, err := t.b.run(t.ctx, "", t.b.scripts.settle, keys, args)
	if err == nil && word(&m) == "lost" {
		err = fmt.Errorf("there is no such group: %w", port.ErrLost)
	}
	r := reply{list: m}
	for k, i := range sent {
		if t.errs[i] = err; err != nil {
			continue
		}
		one := r.next()
		if r.err != nil {
			t.errs[i] = fmt.Errorf("%w: %w", port.ErrUncertain, r.err)
			continue
		}
		switch word(&one) {
		case "stale":
			t.b.counts.stale.Add(1)
			t.errs[i] = fmt.Errorf("the message was settled, or its loan passed on: %w", port.ErrStale)
		case "again":
			t.b.counts.duplicates.Add(1)
			t.b.counts.acked.Add(1)
			t.errs[i] = &port.DuplicateError{IDs: []string{full(ids[k])}, Whole: true}
		default:
			t.settled(i, t.b.judged(&t.s[i].Then, one))
		}
	}
}

// settled notes what came of a settlement that the group's state let through. Left out messages of Then repeat what is there.
func (t *settling) settled(i int, err error) {
	if _, left := errors.AsType[*port.DuplicateError](err); left {
		err = nil
	}
	if t.errs[i] = err; err != nil {
		return
	}
	switch t.s[i].Verdict {
	case port.Return:
		t.b.counts.returned.Add(1)
	case port.Release:
		t.b.counts.released.Add(1)
	default:
		t.b.counts.acked.Add(1)
		for k := range t.s[i].Then.Messages {
			t.b.janitor.know(t.s[i].Then.Messages[k].Topic)
		}
	}
}
