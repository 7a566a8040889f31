package memory

import (
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// parcel is what one Fetch hands out. What its deliveries are is noted under the lock, and written when it was let go: others do not
// wait for the memory of the deliveries, which another goroutine had last. Their receipts and offsets share one text.
type parcel struct {
	list   []port.Delivery
	topic  string
	group  string
	prefix string // of the offsets
	until  time.Time
	labels []label
	blocks []*block
	text   []byte
}

// label is what one delivery is.
type label struct {
	loan  loanID
	seq   uint64 // 0: it is addressed, and has no offset
	entry entry  // its block is numbered by its place in the parcel
	again bool   // the delivery has its counts and its reason already
}

// grow makes room for n deliveries, in into if that is large enough, some of them at a time.
func (p *parcel) grow(n, some int, into []port.Delivery) {
	if p.list = into[:0]; cap(into) < n {
		p.list = make([]port.Delivery, 0, n)
	}
	p.labels = slices.Grow(p.labels[:0], min(n, some))
}

// holds reports whether there is room for n deliveries, some at a time. Memory that was given may have room for more of them than there
// are labels.
func (p *parcel) holds(n, some int) bool { return n <= cap(p.list) && min(n, some) <= cap(p.labels) }

// add notes the next delivery, whose message is e, in b.
func (p *parcel) add(e *entry, b *block, loan loanID, seq uint64) *label {
	n := len(p.labels)
	p.labels = p.labels[:n+1]
	l := &p.labels[n]
	l.loan, l.seq, l.entry, l.again = loan, seq, *e, false
	if last := len(p.blocks); last == 0 || p.blocks[last-1] != b {
		p.blocks = append(p.blocks, b)
	}
	l.entry.block = uint32(len(p.blocks) - 1)
	return l
}

// write writes the deliveries that were noted over what was in their memory. What is as it was is not written: a write costs more than a
// look.
func (p *parcel) write() {
	p.text = slices.Grow(p.text[:0], len(p.labels)*(receiptLen+offsetLen))
	for i := range p.labels {
		l := &p.labels[i]
		p.text = l.loan.appendReceipt(p.text)
		if l.seq > 0 {
			p.text = appendHex(append(p.text, p.prefix...), l.seq)
		}
	}
	rest := string(p.text)
	done := len(p.list)
	p.list = p.list[:done+len(p.labels)]
	at, first := never, time.Time{}
	for i := range p.labels {
		l, d := &p.labels[i], &p.list[done+i]
		d.Receipt, rest = port.Receipt(rest[:receiptLen]), rest[receiptLen:]
		m := &d.Message
		if l.seq > 0 {
			d.Offset, rest = port.Offset(rest[:offsetLen]), rest[offsetLen:]
			set(&m.Group, "")
		} else {
			d.Offset = ""
			set(&m.Group, p.group)
		}
		set(&m.Topic, p.topic)
		l.entry.show(p.blocks[l.entry.block], m)
		if m.At != (time.Time{}) {
			m.At = time.Time{}
		}
		if !l.again {
			d.Attempt, d.Lost, d.Crashes = 0, 0, 0
			set(&d.Reason, "")
		}
		if l.entry.at != at {
			at = l.entry.at
			first = time.Unix(0, at)
		}
		d.FirstAt, d.Until = first, p.until
	}
	clear(p.blocks)
	p.labels, p.blocks = p.labels[:0], p.blocks[:0]
}

func set(to *string, s string) {
	if *to != s {
		*to = s
	}
}

// expects is how many messages there may be for a Fetch: at least as many as there are, and at most a few more.
func (g *group) expects(limit int, now moment) int {
	if g.nextAgain() > now.ns {
		return min(limit, g.fresh())
	}
	return min(limit, g.fresh()+len(g.slots)*slotChunk-len(g.free))
}

// take hands out at most limit messages, for loan, to consumer. Each call gives both what comes again and what is new a
// chance, so neither can keep the other from coming.
func (g *group) take(c *counts, want *port.Group, limit int, now moment, out *parcel) {
	g.picked = g.picked[:0]
	again := limit
	if g.fresh() > 0 && g.nextAgain() <= now.ns {
		if again--; again == 0 {
			if !g.logFirst {
				again = 1
			}
			g.logFirst = !g.logFirst
		}
	}
	acked := g.pickAgain(again, now)
	acked += g.pickFresh(limit, now)
	acked += g.pickAgain(limit, now)
	c.acked += int64(acked)
	if len(g.picked) == 0 {
		return
	}
	g.lend(c, want, now, out)
}

// lend hands out the picked items, and notes them in out, which has room for them and no labels.
func (g *group) lend(c *counts, want *port.Group, now moment, out *parcel) {
	due := now.after(want.Loan)
	list := g.loanList(want.Loan)
	out.topic, out.group, out.prefix = g.topic.conf.Name, g.name, g.topic.log.prefix
	out.until = now.t.Add(time.Duration(due - now.ns))
	for i, slot := range g.picked {
		it := g.item(slot)
		g.lends++
		it.lend, it.due, it.state, it.begun = g.lends, due, loaned, false
		if it.consumer != want.Consumer {
			it.consumer = want.Consumer
		}
		list.push(g, it)
		loan := loanID{lend: it.lend, slot: slot, serial: g.serial}
		var l *label
		if it.own == nil {
			e, b := g.topic.log.show(it.seq)
			l = out.add(e, b, loan, it.seq)
		} else {
			l = out.add(&it.own.entry, it.own.block, loan, 0)
		}
		if it.attempt != 0 || it.lost != 0 || it.reason != "" {
			at := len(out.list) + i
			d := &out.list[:at+1][at]
			d.Attempt, d.Lost, d.Crashes, d.Reason = int(it.attempt), int(it.lost), int(it.crashes), it.reason
			l.again = true
		}
		if it.lost > 0 {
			c.redelivered++
		}
	}
	c.fetched += int64(len(g.picked))
}

// pickAgain picks what has become due, until there are limit, and tells how many it found remembered.
func (g *group) pickAgain(limit int, now moment) (acked int) {
	for len(g.picked) < limit {
		it := g.again(now)
		switch {
		case it == nil:
			return acked
		case g.entry(it).gone:
			g.finish(it)
		case g.knows(it, now):
			g.finish(it)
			acked++
		default:
			g.picked = append(g.picked, it.slot)
		}
	}
	return acked
}

// again takes out the item that became due first, or nil when none has.
func (g *group) again(now moment) *item {
	due := g.waiting.next()
	if l := g.firstOut(); l != nil && l.head(g).due < due {
		it := l.head(g)
		if it.due > now.ns {
			return nil
		}
		g.unlist(it)
		it.lost++
		if it.begun {
			it.crashes++
		}
		return it
	}
	if due > now.ns {
		return nil
	}
	_, it := g.waiting.pop()
	return it
}

// knows reports whether the group remembers the message.
func (g *group) knows(it *item, now moment) bool {
	return g.known.used > 0 && g.known.has(g.id(it), now.ns)
}

// knowsAt is knows for an entry that is no item yet.
func (g *group) knowsAt(seq uint64, now moment) bool {
	if g.known.used == 0 {
		return false
	}
	e, b := g.topic.log.show(seq)
	return g.known.has(e.id(b), now.ns)
}

// pickFresh picks entries that were handed out to nobody, in the order of the log.
func (g *group) pickFresh(limit int, now moment) (acked int) {
	for len(g.picked) < limit && g.cursor < g.topic.log.next {
		seq := g.cursor
		g.cursor++
		switch {
		case g.topic.log.at(seq).gone:
		case g.knowsAt(seq, now):
			acked++
		default:
			g.picked = append(g.picked, g.begin(seq).slot)
		}
	}
	return acked
}
