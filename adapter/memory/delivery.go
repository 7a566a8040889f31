package memory

import (
	"time"

	"github.com/musterhq/muster/port"
)

// take hands out at most limit messages, for loan, to consumer. Each call gives both what comes again and what is new a
// chance, so neither can keep the other from coming.
func (g *group) take(c *counts, want *port.Group, limit int, now moment) []port.Delivery {
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
	c.acked.Add(int64(acked))
	if len(g.picked) == 0 {
		return nil
	}
	due := now.after(want.Loan)
	list := g.loanList(want.Loan)
	for _, it := range g.picked {
		g.lends++
		it.lend, it.due, it.state, it.begun, it.consumer = g.lends, due, loaned, false, want.Consumer
		list.push(it)
	}
	return g.deliveries(c, now, due)
}

// pickAgain picks what has become due, until there are limit, and tells how many it found remembered.
func (g *group) pickAgain(limit int, now moment) (acked int) {
	for len(g.picked) < limit {
		it := g.again(now)
		switch {
		case it == nil:
			return acked
		case it.entry.gone:
			g.finish(it)
		case g.known.has(it.entry.id, now.ns):
			g.finish(it)
			acked++
		default:
			g.picked = append(g.picked, it)
		}
	}
	return acked
}

// again takes out the item that became due first, or nil when none has.
func (g *group) again(now moment) *item {
	due := g.waiting.next()
	if l := g.firstOut(); l != nil && l.head.due < due {
		it := l.head
		if it.due > now.ns {
			return nil
		}
		it.unlist()
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

// pickFresh picks entries that were handed out to nobody, in the order of the log.
func (g *group) pickFresh(limit int, now moment) (acked int) {
	for len(g.picked) < limit && g.cursor < g.topic.log.next {
		e := g.topic.log.at(g.cursor)
		g.cursor++
		switch {
		case e.gone:
		case g.known.has(e.id, now.ns):
			acked++
		default:
			g.picked = append(g.picked, g.begin(e))
		}
	}
	return acked
}

// deliveries are the picked items as they are handed out. Their receipts and offsets share one string.
func (g *group) deliveries(c *counts, now moment, due int64) []port.Delivery {
	list := make([]port.Delivery, len(g.picked))
	until := now.t.Add(time.Duration(due - now.ns))
	names := g.names[:0]
	for i, it := range g.picked {
		e := it.entry
		d := &list[i]
		d.Message.Topic, d.Message.ID, d.Message.Key, d.Message.Body = g.topic.conf.Name, e.id, e.key, e.body
		d.Attempt, d.Lost, d.Crashes, d.Reason = int(it.attempt), int(it.lost), int(it.crashes), it.reason
		d.FirstAt, d.Until = time.Unix(0, e.at), until
		if it.lost > 0 {
			c.redelivered.Add(1)
		}
		names = appendHex(names, it.lend)
		names = appendHex(names, uint64(it.slot)<<32|uint64(g.serial))
		if e.seq > 0 {
			names = g.topic.log.appendOffset(names, e.seq)
		} else {
			d.Message.Group = g.name
		}
	}
	g.names = names
	text := string(names)
	for i, it := range g.picked {
		list[i].Receipt = port.Receipt(text[:receiptLen])
		text = text[receiptLen:]
		if it.entry.seq > 0 {
			list[i].Offset = port.Offset(text[:offsetLen])
			text = text[offsetLen:]
		}
		g.picked[i] = nil
	}
	c.fetched.Add(int64(len(list)))
	return list
}
