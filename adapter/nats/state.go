package nats

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// topicState is the record of a topic.
type topicState struct {
	Limits  port.Topic `json:"limits"`
	Era     uint64     `json:"era"`     // of the log: the server's time in microseconds when it was made
	Dropped bool       `json:"dropped"` // there is no such topic; the era is that of the next one
	Groups  []string   `json:"groups"`  // by name
	Seq     uint64     `json:"seq"`     // nothing at or before this place is there any more
	Idx     uint32     `json:"idx"`
	Ord     uint64     `json:"ord"` // sums of entries and bytes up to there
	Size    uint64     `json:"size"`
	GapSeq  uint64     `json:"gap_seq"` // the last entry that retention took, and nobody had removed
	GapIdx  uint32     `json:"gap_idx"`
}

func (t *topicState) exists() bool   { return t.Era > 0 && !t.Dropped }
func (t *topicState) trimmed() place { return place{seq: t.Seq, idx: t.Idx} }

func (t *topicState) gap() place { return place{seq: t.GapSeq, idx: t.GapIdx} }

func (t *topicState) encode() ([]byte, error) { return json.Marshal(t) }

func decodeTopic(b []byte) (*topicState, error) {
	t := &topicState{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	return t, nil
}

// groupState is the record of a group: all that it has begun and not finished, and where it stands in the log.
type groupState struct {
	serial  uint64 // tells this group from every other, one of the same name included
	cursor  place  // the last place that was handed out or passed over
	ord     uint64 // the sum of entries up to there
	next    uint64 // number of the next loan, page or body
	mindful bool   // IDs are remembered
	recent  marks
	loaned  []item // by number
	agenda

	start place // the cursor, as the record was read
	size  int   // of the record as it was read, and of what was lent since
	draft
}

func (g *groupState) number() uint64 {
	g.next++
	return g.next
}

func (g *groupState) encode() []byte {
	b := make([]byte, 0, 128+(len(g.loaned)+len(g.near))*64+len(g.recent.list)*20)
	b = appendUint(b, g.serial)
	b = appendUint(b, g.cursor.seq)
	b = appendUint(b, g.cursor.idx)
	b = appendUint(b, g.ord)
	b = appendUint(b, g.next)
	b = append(b, flag(g.mindful))
	b = appendUint(b, g.recent.first)
	b = appendMarks(b, g.recent.list)
	b = appendItems(b, g.loaned)
	return g.agenda.append(b)
}

func decodeGroup(b []byte) (*groupState, error) {
	r := &reader{b: b}
	g := &groupState{
		serial: r.uint(), cursor: place{seq: r.uint(), idx: uint32(r.uint())}, ord: r.uint(), next: r.uint(),
		mindful: r.byte() != 0, recent: marks{first: r.uint(), list: r.marks()}, loaned: r.items(), agenda: r.agenda(),
	}
	return g, r.err()
}

// find is the place among the loans of the one that r stands for, or -1: settled or passed on.
func (g *groupState) find(r port.Receipt, consumer string) int {
	if len(r) != receiptLen {
		return -1
	}
	serial, ok1 := hexNumber(string(r[:16]))
	lend, ok2 := hexNumber(string(r[16:]))
	if !ok1 || !ok2 || serial != g.serial {
		return -1
	}
	at, found := slices.BinarySearchFunc(g.loaned, lend, func(it item, n uint64) int { return cmp.Compare(it.lend, n) })
	if !found || g.loaned[at].over || g.loaned[at].who != consumer {
		return -1
	}
	return at
}

const receiptLen = 32

func (g *groupState) receipt(lend uint64) port.Receipt {
	var b [receiptLen]byte
	return port.Receipt(appendHex(appendHex(b[:0], g.serial, 16), lend, 16))
}

// due is when time alone brings the group something, or never.
func (g *groupState) due() int64 {
	due := g.agenda.due()
	for i := range g.loaned {
		due = min(due, g.loaned[i].due)
	}
	return due
}

// unfinished is the last place before everything that the group has not finished.
func (g *groupState) unfinished() place {
	first := g.cursor
	before := func(p place) {
		if p.seq == 0 {
			return
		}
		if p.idx == 0 {
			p = behind(p.seq - 1)
		} else {
			p.idx--
		}
		if p.less(first) {
			first = p
		}
	}
	for i := range g.loaned {
		before(g.loaned[i].place)
	}
	if p, ok := g.first(); ok {
		before(p)
	}
	return first
}

// delayedState is what a topic has that is not due yet.
type delayedState struct {
	next uint64
	agenda
}

func (d *delayedState) number() uint64 {
	d.next++
	return d.next
}

func (d *delayedState) encode() []byte { return d.agenda.append(appendUint([]byte(nil), d.next)) }

func decodeDelayed(b []byte) (*delayedState, error) {
	r := &reader{b: b}
	d := &delayedState{next: r.uint(), agenda: r.agenda()}
	return d, r.err()
}

// removedState is the entries that were taken out of a log, by place.
type removedState struct{ list []gone }

type gone struct {
	place
	size uint64
}

func (x *removedState) search(p place) (int, bool) {
	return slices.BinarySearchFunc(x.list, p, func(g gone, p place) int {
		switch {
		case g.less(p):
			return -1
		case p.less(g.place):
			return 1
		default:
			return 0
		}
	})
}

func (x *removedState) has(p place) bool {
	_, found := x.search(p)
	return found
}

func (x *removedState) add(p place, size uint64) {
	if i, found := x.search(p); !found {
		x.list = slices.Insert(x.list, i, gone{place: p, size: size})
	}
}

// after counts what was removed behind p.
func (x *removedState) after(p place) (n, size uint64) {
	for _, g := range x.list {
		if p.less(g.place) {
			n++
			size += g.size
		}
	}
	return n, size
}

func (x *removedState) encode() []byte {
	b := appendUint([]byte(nil), len(x.list))
	last := uint64(0)
	for _, g := range x.list {
		b = appendUint(b, g.seq-last)
		b = appendUint(b, g.idx)
		b = appendUint(b, g.size)
		last = g.seq
	}
	return b
}

func decodeRemoved(b []byte) (*removedState, error) {
	r := &reader{b: b}
	x := &removedState{}
	last := uint64(0)
	for range r.count() {
		last += r.uint()
		x.list = append(x.list, gone{place: place{seq: last, idx: uint32(r.uint())}, size: r.uint()})
	}
	return x, r.err()
}

// millis is a time of the server as the records keep it, rounded up.
func millis(t time.Time) int64 {
	return (t.UnixNano() + int64(time.Millisecond) - 1) / int64(time.Millisecond)
}
