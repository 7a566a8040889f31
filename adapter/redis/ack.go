package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/port"
)

// acknowledged settles by the script that is made for acknowledgements with no more to them than messages to one topic. False: it has done
// nothing, and they are to be settled as all others, because there is more to do, or a message does not lie where it was lent first, or
// something is stale, remembered, new, full or due.
func (t *settling) acknowledged(indices []int) bool {
	a, ok := t.acks(indices)
	if !ok {
		return false
	}
	keys, script := t.b.space.addGroup(make([]string, 0, groupKeys+topicKeys), t.g.Topic, t.g.Name), t.b.scripts.ack
	if len(a.blobs) > 0 {
		keys, script = t.b.space.addTopic(keys, a.topic), t.b.scripts.emit
	}
	m, err := t.b.run(t.ctx, "", script, keys, a.args(t.g))
	if err == nil {
		var done int64
		if done, err = m.AsInt64(); err == nil && done == 0 {
			return false
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", port.ErrUncertain, err)
		}
	}
	if err != nil && refusedWhole(err) {
		return false
	}
	if err == nil {
		t.b.counts.written.Add(int64(len(a.blobs)))
	}
	for _, i := range indices {
		t.settled(i, err)
	}
	return true
}

// acks are acknowledgements as ack.lua takes them.
type acks struct {
	loans []lent
	ids   []string // of what is acknowledged
	topic string   // of all that they put in
	packing
}

// acks collects the settlements; false where one is more than the script takes.
func (t *settling) acks(indices []int) (a acks, ok bool) {
	a.ids = make([]string, 0, len(indices))
	for _, i := range indices {
		s := &t.s[i]
		if s.Verdict != port.Ack {
			return a, false
		}
		if !s.Then.IsZero() {
			topic := plainTopic(&s.Then)
			if topic == "" || a.topic != "" && topic != a.topic {
				return a, false
			}
			a.topic = topic
			a.add(encodeAll(s.Then.Messages))
		}
		c, ok := claimed(t.g, s.Receipt)
		n, err := strconv.ParseUint(c.name, 10, 64)
		if !ok || err != nil {
			return a, false
		}
		at := slices.IndexFunc(a.loans, func(l lent) bool { return l.token == c.token })
		if at < 0 {
			at = len(a.loans)
			a.loans = append(a.loans, lent{token: c.token, ns: make([]uint64, 0, len(indices))})
		}
		a.loans[at].ns = append(a.loans[at].ns, n)
		a.ids = append(a.ids, c.id)
	}
	return a, len(a.blobs) <= mostAppended && distinct(a.packing.ids) && (t.g.Remember <= 0 || distinct(a.ids))
}

func (a *acks) args(g *port.Group) []string {
	args := make([]string, 0, 8+2*len(a.loans)+len(a.ids)+2*len(a.blobs))
	args = append(args, g.Consumer, number(port.Millis(g.Remember)), strconv.Itoa(len(a.loans)))
	for _, l := range a.loans {
		args = append(args, l.token, ranges(l.ns))
	}
	if g.Remember > 0 {
		args = append(append(args, strconv.Itoa(len(a.ids))), a.ids...)
	} else {
		args = append(args, "0")
	}
	if len(a.blobs) == 0 {
		return args
	}
	return a.packing.args(args)
}

// lent is what is settled of one loan: the ordinals of its messages.
type lent struct {
	token string
	ns    []uint64
}

// ranges writes ordinals as numbers and ranges, in order.
func ranges(ns []uint64) string {
	slices.Sort(ns)
	var b strings.Builder
	for i := 0; i < len(ns); {
		last := i
		for last+1 < len(ns) && ns[last+1] == ns[last]+1 {
			last++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(ns[i], 10))
		if last > i {
			b.WriteByte('-')
			b.WriteString(strconv.FormatUint(ns[last], 10))
		}
		i = last + 1
	}
	return b.String()
}
