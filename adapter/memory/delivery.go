package memory

import (
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// parcel is what one Fetch hands out. What its deliveries are called is noted under the lock, and written when it was let go: their
// receipts and offsets share one text.
type parcel struct {
	list   []port.Delivery
	prefix string // of the offsets
	labels []label
	text   []byte
}

// label is what a delivery is called.
type label struct {
	loan loanID
	seq  uint64 // 0: it has no offset
}

// grow makes room for n deliveries, in into if that is large enough.
func (p *parcel) grow(n int, into []port.Delivery) {
	if p.list = into[:0]; cap(into) < n {
		p.list = make([]port.Delivery, 0, n)
	}
	p.labels = slices.Grow(p.labels[:0], n)
}

// holds reports whether there is room for n deliveries. Memory that was given may have room for more of them than there are labels.
func (p *parcel) holds(n int) bool { return n <= min(cap(p.list), cap(p.labels)) }

// name writes the receipts and offsets.
func (p *parcel) name() {
	p.text = slices.Grow(p.text[:0], len(p.list)*(receiptLen+offsetLen))
	for i := range p.labels {
		l := &p.labels[i]
		p.text = l.loan.appendReceipt(p.text)
		if l.seq > 0 {
			p.text = appendHex(append(p.text, p.prefix...), l.seq)
		}
	}
	rest := string(p.text)
	for i := range p.labels {
		d := &p.list[i]
		d.Receipt, rest = port.Receipt(rest[:receiptLen]), rest[receiptLen:]
		if d.Offset = ""; p.labels[i].seq > 0 {
			d.Offset, rest = port.Offset(rest[:offsetLen]), rest[offsetLen:]
		}
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
	due := now.after(want.Loan)
	list := g.loanList(want.Loan)
	for _, slot := range g.picked {
		it := g.item(slot)
		g.lends++
		it.lend, it.due, it.state, it.begun = g.lends, due, loaned, false
		if it.consumer != want.Consumer {
			it.consumer = want.Consumer
		}
		list.push(g, it)
	}
	g.deliveries(c, now, due, out)
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

// deliveries puts the picked items, as they are handed out, into out, which is empty and has room for them.
func (g *group) deliveries(c *counts, now moment, due int64, out *parcel) {
	until := now.t.Add(time.Duration(due - now.ns))
	list := out.list[:len(g.picked)]
	out.prefix, out.labels = g.topic.log.prefix, out.labels[:len(g.picked)]
	for i, slot := range g.picked {
		it, d := g.item(slot), &list[i]
		d.Message = port.Message{} // all else is set
		var e *entry
		if it.own == nil {
			var b *block
			e, b = g.topic.log.show(it.seq)
			e.show(b, &d.Message)
		} else {
			e = &it.own.entry
			e.show(it.own.block, &d.Message)
			d.Message.Group = g.name
		}
		d.Message.Topic = g.topic.conf.Name
		d.Attempt, d.Lost, d.Crashes, d.Reason = int(it.attempt), int(it.lost), int(it.crashes), it.reason
		d.FirstAt, d.Until = time.Unix(0, e.at), until
		if it.lost > 0 {
			c.redelivered++
		}
		out.labels[i] = label{loan: loanID{lend: it.lend, slot: it.slot, serial: g.serial}, seq: it.seq}
	}
	out.list = list
	c.fetched += int64(len(list))
}
