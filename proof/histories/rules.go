package histories

import (
	"fmt"
	"maps"
	"slices"

	"github.com/anishathalye/porcupine"
)

// Rules are what a lock promises: terms do not overlap, save those that share; tokens grow from term to term, and those who share have
// the same one; a register that keeps the largest token takes no smaller one; and what Guard lets through meets no other's term.
type Rules struct {
	Slots int  // how many hold it at once, each a slot with tokens and a register of its own; default 1
	Fair  bool // who was in the queue before another came has its term before that one
}

// Model returns the lock as porcupine takes it. Its inputs are acts.
func (r Rules) Model() porcupine.Model {
	r.Slots = max(r.Slots, 1)
	return porcupine.Model{
		Init:      func() any { return state{} },
		Partition: r.parts,
		Equal:     func(a, b any) bool { return as[state](a).equal(as[state](b)) },
		Step: func(now, input, _ any) (bool, any) {
			s, a := as[state](now), as[Act](input)
			switch a.What {
			case Queues, Leaves:
				return s.queued(a)
			case Begins:
				return r.begin(s, a)
			case Ends:
				i := slices.IndexFunc(s.in, func(h holder) bool { return h.who == a.Who })
				if i < 0 {
					return false, s
				}
				s.in = slices.Delete(slices.Clone(s.in), i, i+1)
				return true, s
			}
			return s.touch(a)
		},
		DescribeOperation: func(input, _ any) string {
			a := as[Act](input)
			return fmt.Sprintf("%s: %s %s %d %q %s sure %t shared %t", a.Who, a.What, a.Fence, a.Token, a.Value, a.Got, a.Sure, a.Shared)
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

// as is what porcupine hands back, the zero value where it has nothing.
func as[T any](v any) T {
	t, ok := v.(T)
	if !ok {
		return *new(T)
	}
	return t
}

// parts are a history's, each of which is linearizable alone: what concerns one slot each, and, where there are several, that they are not
// too many.
func (r Rules) parts(history []porcupine.Operation) [][]porcupine.Operation {
	if r.Slots == 1 {
		return [][]porcupine.Operation{history}
	}
	var many []porcupine.Operation
	slots := map[string][]porcupine.Operation{}
	for _, op := range history {
		a := as[Act](op.Input)
		slots[a.Fence] = append(slots[a.Fence], op)
		if a.What == Begins || a.What == Ends {
			op.Input = Act{What: a.What, Who: a.Who}
			many = append(many, op)
		}
	}
	return append(slices.Collect(maps.Values(slots)), many)
}

// state is who holds the lock, who waits for it, and what its registers have seen. It is never changed, only replaced.
type state struct {
	in    []holder
	queue []string
	regs  []register
}

type holder struct {
	who, fence string
	token      uint64
	shared     bool
}

// register is one that compares tokens, and the last term of its name.
type register struct {
	fence  string
	last   uint64 // the last term's token
	shared bool   // whether that was shared
	top    uint64 // the largest token that it was shown
	value  string
}

func (s state) equal(o state) bool {
	return slices.Equal(s.in, o.in) && slices.Equal(s.queue, o.queue) && slices.Equal(s.regs, o.regs)
}

// queued is the state when who acts went to the end of the queue, or left it.
func (s state) queued(a Act) (bool, any) {
	i := slices.Index(s.queue, a.Who)
	if (a.What == Queues) != (i < 0) {
		return false, s
	}
	if a.What == Queues {
		s.queue = append(slices.Clone(s.queue), a.Who)
	} else {
		s.queue = slices.Delete(slices.Clone(s.queue), i, i+1)
	}
	return true, s
}

// register returns the register of a name, and the state with a copy of it that may be changed.
func (s state) register(fence string) (state, *register) {
	s.regs = slices.Clone(s.regs)
	i, ok := slices.BinarySearchFunc(s.regs, fence, func(r register, f string) int {
		switch {
		case r.fence < f:
			return -1
		case r.fence > f:
			return 1
		}
		return 0
	})
	if !ok {
		s.regs = slices.Insert(s.regs, i, register{fence: fence})
	}
	return s, &s.regs[i]
}

func (r Rules) begin(now state, a Act) (bool, any) {
	for _, h := range now.in {
		switch {
		case a.Shared && h.shared && h.token == a.Token:
		case r.Slots > 1 && a.Fence == "": // of any slot
		default:
			return false, now
		}
	}
	if !a.Shared && len(now.in) >= r.Slots {
		return false, now
	}
	turn := r.Fair && !a.Late
	if turn && (len(now.queue) == 0 || now.queue[0] != a.Who) {
		return false, now
	}
	s, reg := now.register(a.Fence)
	if a.Fence != "" && (a.Token < reg.last || a.Token == reg.last && !(a.Shared && reg.shared)) {
		return false, now
	}
	reg.last, reg.shared = a.Token, a.Shared
	// In one order, so that two states of the same holders are equal.
	h := holder{a.Who, a.Fence, a.Token, a.Shared}
	i := slices.IndexFunc(s.in, func(o holder) bool { return o.who > a.Who })
	if i < 0 {
		i = len(s.in)
	}
	s.in = slices.Insert(slices.Clone(s.in), i, h)
	if turn {
		s.queue = s.queue[1:]
	}
	return true, s
}

// touch is what is done to the register.
func (s state) touch(a Act) (bool, any) {
	if a.Sure && !slices.Contains(s.in, holder{a.Who, a.Fence, a.Token, a.Shared}) {
		return false, s
	}
	next, reg := s.register(a.Fence)
	switch {
	case a.What == Reads:
		return a.Got != OK || a.Value == reg.value, s
	case a.Got == Stale:
		return !a.Sure && a.Token < reg.top, s
	case a.Token < reg.top:
		return a.Got == Unknown, s
	}
	reg.top = a.Token
	if a.What == Writes {
		reg.value = a.Value
	}
	return true, next
}
