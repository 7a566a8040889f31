package memory

import (
	"context"
	"fmt"

	"github.com/musterhq/muster/port"
)

// Extend judges each hold alone.
func (b *Backend) Extend(ctx context.Context, g port.Group, holds ...port.Hold) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(holds), fmt.Errorf("memory: extend: %w", err))
	}
	return each(ctx, b, "extend", len(holds), func(c call) []error {
		return c.eachOf(len(holds), func(i int, now moment) error { return c.extend(&g, holds[i], now) })
	})
}

// Settle judges each settlement alone: one that is invalid is answered so, and the others are carried out.
func (b *Backend) Settle(ctx context.Context, g port.Group, list ...port.Settlement) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(list), fmt.Errorf("memory: settle: %w", err))
	}
	return each(ctx, b, "settle", len(list), func(c call) []error {
		if c.seen() {
			return c.eachOf(len(list), func(i int, now moment) error {
				if err := c.checkSettlement(&g, &list[i]); err != nil {
					return err
				}
				var k kept
				k.add(list[i].Then.Messages)
				return c.settle(&g, &list[i], loanOf(list[i].Receipt), k, now)
			})
		}
		errs := make([]error, len(list))
		for i := 0; i < len(list); i += settledTogether {
			end := min(i+settledTogether, len(list))
			c.settleSome(&g, list[i:end], errs[i:end])
		}
		return errs
	})
}

// settledTogether is how many settlements are carried out under one lock, as few as [fetchedTogether].
const settledTogether = 64

// settleSome settles the list, of at most settledTogether. What can be found out about it without the lock is.
func (c call) settleSome(g *port.Group, list []port.Settlement, errs []error) {
	var loans [settledTogether]loanID
	var plain [settledTogether]bool
	var k *kept // of the messages of all steps, where there are any
	for i := range list {
		loans[i] = loanOf(list[i].Receipt)
		if plain[i] = isPlain(&list[i]); plain[i] {
			continue
		}
		if errs[i] = c.checkSettlement(g, &list[i]); errs[i] == nil {
			k = c.keep(k, list[i].Then.Messages)
		}
	}
	next := 0
	if k != nil {
		defer c.b.giveBack(k)
	}
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	remember := remembering(g, now)
	var own *group
	for i := range list {
		switch {
		case errs[i] != nil:
		case plain[i] && len(s.steps) == 0:
			if own == nil {
				own = s.group(g.Topic, g.Name)
			}
			errs[i] = c.acknowledgePlain(own, g, &list[i], loans[i], remember, now)
		default:
			own = nil // others may have the lock meanwhile
			from := next
			next += len(list[i].Then.Messages)
			errs[i] = c.settle(g, &list[i], loans[i], k.some(from, next), now)
		}
	}
	s.flush(now)
}

// acknowledgePlain settles with nothing but an acknowledgement, as most are, while no step of others is under way. G is the group, nil where
// there is none.
func (c call) acknowledgePlain(g *group, want *port.Group, m *port.Settlement, loan loanID, remember int64, now moment) error {
	if g == nil {
		return c.groupLost(want)
	}
	it := g.find(loan, want.Consumer)
	if it == nil || it.state != loaned {
		return c.stale(want, m.Receipt)
	}
	c.b.space.touch(g.topic)
	repeats := ""
	if remember > 0 && !g.known.add(g.id(it), now.ns, remember) || remember == 0 && g.knows(it, now) {
		repeats = g.id(it)
	}
	g.finish(it)
	c.b.counts.acked++
	if repeats != "" {
		return repeated(repeats)
	}
	return nil
}

func repeated(id string) error {
	return fmt.Errorf("memory: settle: %w", &port.DuplicateError{IDs: []string{id}, Whole: true})
}

// remembering is until when the IDs that the group acknowledges now are known; 0: not at all.
func remembering(g *port.Group, now moment) int64 {
	if g.Remember <= 0 {
		return 0
	}
	return now.after(g.Remember)
}

// keep keeps ms in k, too, which is nil until there is something to keep.
func (c call) keep(k *kept, ms []port.Message) *kept {
	if len(ms) == 0 {
		return k
	}
	if k == nil {
		k = c.b.room()
	}
	k.add(ms)
	return k
}

// checkSettlement refuses a settlement that cannot be.
func (c call) checkSettlement(g *port.Group, m *port.Settlement) error {
	if err := m.Check(c.b.caps, g.Topic); err != nil {
		return fmt.Errorf("memory: settle: %w", err)
	}
	return nil
}

// isPlain reports whether m is nothing but an acknowledgement, and one that can be.
func isPlain(m *port.Settlement) bool {
	return m.Verdict == port.Ack && m.Receipt != "" && m.After == 0 && m.Reason == "" && m.Then.IsZero()
}

// seen reports whether others may see what happens between the parts of the call.
func (c call) seen() bool { return c.faults != nil || c.b.conf.Stepwise }

// eachOf carries out n parts under the lock, each whole on its own, and answers one error for each. After a fault in between
// the rest is answered with it.
func (c call) eachOf(n int, part func(i int, now moment) error) []error {
	errs := make([]error, n)
	s := c.b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i := range errs {
		if i > 0 && c.seen() {
			s.flush(now)
			if err := c.unlocked(); err != nil {
				copy(errs[i:], all(n-i, err))
				return errs
			}
			now = s.now()
		}
		errs[i] = part(i, now)
	}
	s.flush(now)
	return errs
}

func (c call) extend(want *port.Group, h port.Hold, now moment) error {
	g := c.b.space.group(want.Topic, want.Name)
	if g == nil {
		return c.groupLost(want)
	}
	it := g.find(loanOf(h.Receipt), want.Consumer)
	if it == nil || it.state != loaned {
		return c.stale(want, h.Receipt)
	}
	it.begun = it.begun || h.Begin
	g.unlist(it)
	it.due = now.after(want.Loan)
	g.loanList(want.Loan).push(g, it)
	c.b.space.touch(g.topic)
	return nil
}

func (c call) stale(g *port.Group, r port.Receipt) error {
	c.b.counts.stale++
	return fmt.Errorf("memory: %s: receipt %x in group %q of topic %q was settled or passed on: %w", c.name, r, g.Name, g.Topic, port.ErrStale)
}

func (c call) settle(want *port.Group, m *port.Settlement, loan loanID, k kept, now moment) error {
	s := c.b.space
	if len(s.steps) > 0 {
		if err := c.clearForSettle(want, m, loan); err != nil {
			return err
		}
		now = s.now()
	}
	g := s.group(want.Topic, want.Name)
	if g == nil {
		return c.groupLost(want)
	}
	it := g.find(loan, want.Consumer)
	if it == nil || it.state != loaned {
		return c.stale(want, m.Receipt)
	}
	switch m.Verdict {
	case port.Return:
		c.b.counts.returned++
		it.attempt++
		it.reason = m.Reason
		g.wait(it, now.after(m.After))
	case port.Release:
		c.b.counts.released++
		g.wait(it, now.after(m.After))
	default:
		return c.acknowledge(g, it, want, m, loan, k, now)
	}
	s.touch(g.topic)
	return nil
}

// acknowledge finishes the item, together with what the settlement says happens in the same step.
func (c call) acknowledge(g *group, it *item, want *port.Group, m *port.Settlement, loan loanID, k kept, now moment) error {
	remember := remembering(want, now)
	if m.Then.IsZero() {
		return c.acknowledgePlain(g, want, m, loan, remember, now)
	}
	s := c.b.space
	s.touch(g.topic)
	if g.knows(it, now) {
		id := g.id(it)
		g.finish(it)
		c.b.counts.acked++
		return repeated(id)
	}
	st, err := c.decide(&m.Then, k, g, it, remember, now)
	if err != nil {
		c.count(err)
		return fmt.Errorf("memory: settle: %w", err)
	}
	c.b.counts.acked++
	return c.carry(st, now)
}

// clearForSettle finishes the steps that this one would come across: those that acknowledge the same message, and those
// that have one of its keys or removals.
func (c call) clearForSettle(want *port.Group, m *port.Settlement, loan loanID) error {
	s := c.b.space
	return c.clear(func(st *step) bool {
		if st.item != nil && st.group == s.group(want.Topic, want.Name) && st.item == st.group.find(loan, want.Consumer) {
			return true
		}
		return st.crosses(&m.Then)
	})
}
