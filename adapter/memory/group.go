package memory

import (
	"encoding/binary"
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
	free    []uint32 // slots without an item
	lends   uint64
	loans   []*loanList
	waiting agenda[*item]
	known   ids // that were acknowledged and are remembered

	logFirst bool     // the next Fetch of one message starts with the log
	picked   []uint32 // the items of the Fetch that is under way, by their slots

	waiters  []*waiter
	promised int     // for how many messages waiters were woken that have not run yet
	timed    *waiter // has a timer for all of them
	timedAt  int64
}

const slotChunk = 64

// item is a message that the group has begun and not finished. It refers to others by their slots, and to its entry by its number: what
// changes with each message is no pointer, which costs more to write.
type item struct {
	seq      uint64  // of its entry in the log, which is pinned; 0: it has one of its own
	own      *single // addressed to the group
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

	list       *loanList // the last one that it stood in
	listed     bool      // it does, while it is loaned or decided
	prev, next uint32    // in list: their slots and 1; 0: none
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

// entry is what is kept of the item's message.
func (g *group) entry(it *item) *entry {
	if it.own != nil {
		return &it.own.entry
	}
	return g.topic.log.at(it.seq)
}

// id is the ID of the item's message.
func (g *group) id(it *item) string {
	if it.own != nil {
		return it.own.id(it.own.block)
	}
	e, b := g.topic.log.show(it.seq)
	return e.id(b)
}

func (g *group) item(slot uint32) *item { return &g.slots[slot/slotChunk][slot%slotChunk] }

// begin makes the entry at seq, which the group has not finished, an item.
func (g *group) begin(seq uint64) *item {
	it := g.unused()
	it.seq = seq
	g.topic.log.at(seq).pins++
	return it
}

// unused is an item that is none yet.
func (g *group) unused() *item {
	if len(g.free) == 0 {
		slots := new([slotChunk]item)
		first := len(g.slots) * slotChunk
		g.slots = append(g.slots, slots)
		for i := slotChunk - 1; i >= 0; i-- {
			slots[i].slot = uint32(first + i)
			g.free = append(g.free, slots[i].slot)
		}
	}
	last := len(g.free) - 1
	it := g.item(g.free[last])
	g.free = g.free[:last]
	return it
}

// finish ends it: the group is done with the message.
func (g *group) finish(it *item) {
	g.unlist(it)
	if it.own != nil {
		it.own = nil
	} else {
		g.topic.log.at(it.seq).pins--
	}
	it.seq, it.state, it.lend, it.begun = 0, unused, 0, false // its consumer is most often the next one, too
	if it.attempt != 0 || it.lost != 0 || it.reason != "" {
		it.attempt, it.lost, it.crashes, it.reason = 0, 0, 0, ""
	}
	g.free = append(g.free, it.slot)
}

// address gives the group a message of its own.
func (g *group) address(m single, due time.Time, now moment) {
	wait := now.until(due)
	m.at = later(now.t.UnixNano(), wait)
	it := g.unused()
	it.own = &m
	g.wait(it, later(now.ns, wait))
}

// wait has it handed out again, not before due. What was removed from the log comes to nobody any more.
func (g *group) wait(it *item, due int64) {
	g.unlist(it)
	it.state, it.lend, it.begun, it.consumer = waiting, 0, false, ""
	if g.entry(it).gone {
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
		due = min(due, l.head(g).due)
	}
	return due
}

// firstOut is the list with the loan that runs out first, or nil when there is none.
func (g *group) firstOut() *loanList {
	var first *loanList
	for _, l := range g.loans {
		if l.first != 0 && (first == nil || l.head(g).due < first.head(g).due) {
			first = l
		}
	}
	return first
}

// fresh is how many entries were handed out to nobody yet, removed ones included.
func (g *group) fresh() int { return int(g.topic.log.next - g.cursor) }

// loanID is what a receipt says; zero for what is none.
type loanID struct {
	lend         uint64 // from 1
	slot, serial uint32
}

// loanOf reads a receipt.
func loanOf(r port.Receipt) loanID {
	if len(r) != receiptLen {
		return loanID{}
	}
	var b [receiptLen]byte
	copy(b[:], r)
	return loanID{lend: binary.BigEndian.Uint64(b[:]), slot: binary.BigEndian.Uint32(b[8:]), serial: binary.BigEndian.Uint32(b[12:])}
}

// appendReceipt appends the receipt of the loan.
func (l loanID) appendReceipt(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, l.lend)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, l.slot), l.serial)
}

// find is the item with that loan, of consumer, or decided since, or nil: settled or passed on.
func (g *group) find(loan loanID, consumer string) *item {
	if loan.lend == 0 || loan.serial != g.serial || int(loan.slot) >= len(g.slots)*slotChunk {
		return nil
	}
	it := g.item(loan.slot)
	if it.state < loaned || it.lend != loan.lend || it.consumer != consumer {
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
		e := g.entry(it)
		if e.gone && !lent {
			return
		}
		oldest = min(oldest, e.at)
		if lent {
			info.Loaned++
			info.Consumers = append(info.Consumers, it.consumer)
		} else {
			info.Lag++
		}
	})
	for _, d := range g.waiting.list {
		if d.at > now.ns && !g.entry(d.thing).gone {
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
