package memory

import (
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// group is where one group stands in a topic: what it was never handed begins at cursor, what it was handed or sent and has
// not finished is an item.
type group struct {
	topic  *topic
	name   string
	serial uint32
	cursor uint64

	slots   []*[slotChunk]item
	free    []*item
	lends   uint64
	loans   []*loanList
	waiting agenda[*item]
	known   ids // that were acknowledged and are remembered

	logFirst bool    // the next Fetch of one message starts with the log
	picked   []*item // by the Fetch that is under way
	names    []byte  // of its receipts and offsets

	waiters  []*waiter
	promised int     // for how many messages waiters were woken that have not run yet
	timed    *waiter // has a timer for all of them
	timedAt  int64
}

const slotChunk = 64

// item is a message that the group has begun and not finished.
type item struct {
	entry    *entry // in the log, pinned, or of its own
	slot     uint32
	state    state
	begun    bool // the start of its handling was recorded in this loan
	attempt  int32
	lost     int32
	crashes  int32
	lend     uint64 // number of its last loan; no two loans of a group have the same
	due      int64  // when its loan runs out
	consumer string
	reason   string

	list       *loanList // that it stands in while it is loaned or decided
	prev, next *item
}

type state uint8

const (
	unused  state = iota
	waiting       // until it is due: returned, released or addressed
	loaned
	decided // settled by a step that is not finished; its loan runs on, and who finds it run out finishes the step
)

func newGroup(t *topic, name string, serial uint32, cursor uint64) *group {
	return &group{topic: t, name: name, serial: serial, cursor: cursor, timedAt: never}
}

// begin makes e, which the group has not finished, an item.
func (g *group) begin(e *entry) *item {
	if len(g.free) == 0 {
		slots := new([slotChunk]item)
		first := len(g.slots) * slotChunk
		g.slots = append(g.slots, slots)
		for i := slotChunk - 1; i >= 0; i-- {
			slots[i].slot = uint32(first + i)
			g.free = append(g.free, &slots[i])
		}
	}
	last := len(g.free) - 1
	it := g.free[last]
	g.free = g.free[:last]
	it.entry = e
	e.pins++
	return it
}

// finish ends it: the group is done with the message.
func (g *group) finish(it *item) {
	it.unlist()
	it.entry.pins--
	*it = item{slot: it.slot}
	g.free = append(g.free, it)
}

// address gives the group a message of its own, due in wait from now.
func (g *group) address(m *port.Message, now moment) {
	wait := now.until(m.At)
	e := entryOf(m, later(now.t.UnixNano(), wait))
	g.wait(g.begin(&e), later(now.ns, wait))
}

// wait has it handed out again, not before due. What was removed from the log comes to nobody any more.
func (g *group) wait(it *item, due int64) {
	it.unlist()
	it.state, it.lend, it.begun, it.consumer = waiting, 0, false, ""
	if it.entry.gone {
		g.finish(it)
		return
	}
	g.waiting.add(due, it)
}

// nextDue is when time alone brings the group something, or never.
func (g *group) nextDue() int64 {
	return min(g.topic.delayed.next(), g.nextAgain())
}

// nextAgain is when the first item may be handed out, or never.
func (g *group) nextAgain() int64 {
	due := g.waiting.next()
	if l := g.firstOut(); l != nil {
		due = min(due, l.head.due)
	}
	return due
}

// firstOut is the list with the loan that runs out first, or nil when there is none.
func (g *group) firstOut() *loanList {
	var first *loanList
	for _, l := range g.loans {
		if l.head != nil && (first == nil || l.head.due < first.head.due) {
			first = l
		}
	}
	return first
}

// fresh is how many entries were handed out to nobody yet, removed ones included.
func (g *group) fresh() int { return int(g.topic.log.next - g.cursor) }

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

// find is the item that r stands for, loaned to consumer or decided since, or nil: settled or passed on.
func (g *group) find(r port.Receipt, consumer string) *item {
	if len(r) != receiptLen {
		return nil
	}
	lend, ok1 := readHex(string(r[:hexLen]))
	place, ok2 := readHex(string(r[hexLen:]))
	slot := place >> 32
	if !ok1 || !ok2 || uint32(place) != g.serial || slot >= uint64(len(g.slots)*slotChunk) {
		return nil
	}
	it := &g.slots[slot/slotChunk][slot%slotChunk]
	if it.state < loaned || it.lend != lend || it.consumer != consumer {
		return nil
	}
	return it
}

// items calls visit for each item of the group.
func (g *group) items(visit func(*item)) {
	for _, slots := range g.slots {
		for i := range slots {
			if slots[i].state != unused {
				visit(&slots[i])
			}
		}
	}
}

// info is where the group stands.
func (g *group) info(now moment) port.GroupInfo {
	l := &g.topic.log
	info := port.GroupInfo{Name: g.name, Lag: int64(g.fresh()) - l.tombsFrom(g.cursor)}
	oldest := never
	if seq := l.live(g.cursor); seq < l.next {
		oldest = l.at(seq).at
	}
	g.items(func(it *item) {
		lent := it.state >= loaned && it.due > now.ns
		if it.entry.gone && !lent {
			return
		}
		oldest = min(oldest, it.entry.at)
		if lent {
			info.Loaned++
			info.Consumers = append(info.Consumers, it.consumer)
		} else {
			info.Lag++
		}
	})
	for _, d := range g.waiting.list {
		if d.at > now.ns && !d.thing.entry.gone {
			info.Delayed++
			info.Lag--
		}
	}
	slices.Sort(info.Consumers)
	info.Consumers = slices.Compact(info.Consumers)
	if oldest != never {
		info.Oldest = time.Unix(0, oldest)
	}
	return info
}
