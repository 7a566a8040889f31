package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/port"
)

// acknowledged settles by the script that is made for plain acknowledgements. False: it has done nothing, and they are to be settled as
// all others, because there is more to do, or a message does not lie where it was lent first, or it is stale or remembered.
func (t *settling) acknowledged(indices []int) bool {
	ids := make([]string, 0, len(indices))
	loans := make([]lent, 0, 1)
	for _, i := range indices {
		s := &t.s[i]
		if s.Verdict != port.Ack || !s.Then.IsZero() {
			return false
		}
		c, ok := claimed(t.g, s.Receipt)
		n, err := strconv.ParseUint(c.name, 10, 64)
		if !ok || err != nil {
			return false
		}
		at := slices.IndexFunc(loans, func(l lent) bool { return l.token == c.token })
		if at < 0 {
			at = len(loans)
			loans = append(loans, lent{token: c.token, ns: make([]uint64, 0, len(indices))})
		}
		loans[at].ns = append(loans[at].ns, n)
		ids = append(ids, c.id)
	}
	args := make([]string, 0, 3+2*len(loans)+len(ids))
	args = append(args, t.g.Consumer, number(port.Millis(t.g.Remember)), strconv.Itoa(len(loans)))
	for _, l := range loans {
		args = append(args, l.token, ranges(l.ns))
	}
	if t.g.Remember > 0 {
		args = append(args, ids...)
	}
	keys := t.b.space.addGroup(make([]string, 0, groupKeys), t.g.Topic, t.g.Name)
	m, err := t.b.run(t.ctx, "", t.b.scripts.ack, keys, args)
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
	for _, i := range indices {
		t.settled(i, err)
	}
	return true
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
