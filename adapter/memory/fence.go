package memory

import (
	"slices"

	"github.com/musterhq/muster/port"
)

// fenceKey is where the largest token of a name is kept. Each one is kept for its family and for the whole namespace: the
// handle that asks decides how far it looks.
type fenceKey struct {
	name, family string
	everywhere   bool
}

// fencing are the fences of one step or change, as far as they were checked.
type fencing struct {
	s     *space
	wide  bool // look at the namespace, not at the family
	seen  map[fenceKey]uint64
	where []fenceKey
}

func (c call) fencing() fencing {
	return fencing{s: c.b.space, wide: c.b.caps.Atomic == port.AtomicAll}
}

// pass checks f for the families, and remembers its token for commit.
func (g *fencing) pass(f port.Fence, families ...string) error {
	if f.IsZero() {
		return nil
	}
	g.where = append(g.where[:0], fenceKey{name: f.Name, everywhere: true})
	for _, family := range families {
		g.where = append(g.where, fenceKey{name: f.Name, family: family})
	}
	for _, k := range g.where {
		if seen := max(g.s.fences[k], g.seen[k]); seen > f.Token && k.everywhere == g.wide {
			return &port.FenceError{Name: f.Name, Token: f.Token, Seen: seen}
		}
	}
	if g.seen == nil {
		g.seen = map[fenceKey]uint64{}
	}
	for _, k := range g.where {
		g.seen[k] = max(g.seen[k], f.Token)
	}
	return nil
}

// commit makes the tokens seen.
func (g *fencing) commit() {
	for k, token := range g.seen {
		g.s.fences[k] = max(g.s.fences[k], token)
	}
}

// pass checks the fences of b, whose acknowledgement, if any, is in topic.
func (g *fencing) passBatch(b *port.Batch, topic string) error {
	if !b.Fence.IsZero() {
		if err := g.pass(b.Fence, families(b, topic)...); err != nil {
			return err
		}
	}
	for i := range b.Changes {
		if err := g.pass(b.Changes[i].Fence, port.Family(b.Changes[i].Key)); err != nil {
			return err
		}
	}
	return nil
}

// families are those that b is in; that of its fence's name when it is in none.
func families(b *port.Batch, topic string) []string {
	var list []string
	add := func(name string) {
		if family := port.Family(name); !slices.Contains(list, family) {
			list = append(list, family)
		}
	}
	if topic != "" {
		add(topic)
	}
	for i := range b.Messages {
		add(b.Messages[i].Topic)
	}
	for _, r := range b.Removes {
		add(r.Topic)
	}
	for i := range b.Changes {
		add(b.Changes[i].Key)
	}
	if len(list) == 0 {
		add(b.Fence.Name)
	}
	return list
}
