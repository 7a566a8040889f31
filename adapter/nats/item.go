package nats

import (
	"cmp"
	"slices"
)

// item is a message that a group has begun and not finished, or a delayed message of a topic.
type item struct {
	place          // of its entry; zero where it has a body of its own
	body    uint64 // number of the record that holds the message, where it is not in the log
	id      hash
	attempt uint32
	lost    uint32
	crashes uint32
	begun   bool // the start of its handling was recorded in this loan
	known   bool // of a delayed message: its ID counts for the window
	over    bool // of a loan: it was settled in the step that is decided
	lend    uint64
	due     int64 // server's time in milliseconds: when its loan runs out, or when it may be handed out
	at      int64 // of an addressed message: when it became available, in nanoseconds
	size    uint64
	who     string // has the loan
	reason  string
}

func (it *item) append(b []byte) []byte {
	b = append(b, flag(it.begun)|flag(it.known)<<1|flag(it.body > 0)<<2|flag(it.who != "")<<3|flag(it.reason != "")<<4|flag(it.attempt|it.lost|it.crashes > 0)<<5)
	if it.body > 0 {
		b = appendUint(b, it.body)
		b = appendUint(b, it.at)
		b = appendUint(b, it.size)
	} else {
		b = appendUint(b, it.seq)
		b = appendUint(b, it.idx)
	}
	b = append(b, it.id[:]...)
	if it.attempt|it.lost|it.crashes > 0 {
		b = appendUint(b, it.attempt)
		b = appendUint(b, it.lost)
		b = appendUint(b, it.crashes)
	}
	b = appendUint(b, it.lend)
	b = appendUint(b, it.due)
	if it.who != "" {
		b = appendBytes(b, it.who)
	}
	if it.reason != "" {
		b = appendBytes(b, it.reason)
	}
	return b
}

func (r *reader) item() (it item) {
	bits := r.byte()
	it.begun, it.known = bits&1 > 0, bits&2 > 0
	if bits&4 > 0 {
		it.body, it.at, it.size = r.uint(), int64(r.uint()), r.uint()
	} else {
		it.seq, it.idx = r.uint(), uint32(r.uint())
	}
	it.id = r.hash()
	if bits&32 > 0 {
		it.attempt, it.lost, it.crashes = uint32(r.uint()), uint32(r.uint()), uint32(r.uint())
	}
	it.lend, it.due = r.uint(), int64(r.uint())
	if bits&8 > 0 {
		it.who = string(r.bytes())
	}
	if bits&16 > 0 {
		it.reason = string(r.bytes())
	}
	return it
}

func appendItems(b []byte, list []item) []byte {
	b = appendUint(b, len(list))
	for i := range list {
		b = list[i].append(b)
	}
	return b
}

func (r *reader) items() []item {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]item, n)
	for i := range list {
		list[i] = r.item()
	}
	return list
}

// weight is about how many bytes the item takes in a record.
func (it *item) weight() int { return 56 + len(it.reason) }

// agenda is items by the time when they are due. The nearest stand in the record of their owner, the others in pages, so that
// a record stays small however much waits. No item of a page is due before the page's due.
type agenda struct {
	near  []item
	pages []page
}

// page is a record with items that wait.
type page struct {
	id    uint64
	due   int64 // of its first
	count int
	first place // the lowest place of an entry among its items; zero: none
}

const (
	nearItems = 256
	nearBytes = 128 << 10
	pageItems = 128
)

func (a *agenda) append(b []byte) []byte {
	b = appendItems(b, a.near)
	b = appendUint(b, len(a.pages))
	for _, p := range a.pages {
		b = appendUint(b, p.id)
		b = appendUint(b, p.due)
		b = appendUint(b, p.count)
		b = appendUint(b, p.first.seq)
		b = appendUint(b, p.first.idx)
	}
	return b
}

func (r *reader) agenda() (a agenda) {
	a.near = r.items()
	for range r.count() {
		a.pages = append(a.pages, page{id: r.uint(), due: int64(r.uint()), count: int(r.uint()), first: place{seq: r.uint(), idx: uint32(r.uint())}})
	}
	return a
}

// due is when the first may be due, or never.
func (a *agenda) due() int64 {
	due := never
	for i := range a.near {
		due = min(due, a.near[i].due)
	}
	for _, p := range a.pages {
		due = min(due, p.due)
	}
	return due
}

// count is how many items there are.
func (a *agenda) count() int {
	n := len(a.near)
	for _, p := range a.pages {
		n += p.count
	}
	return n
}

// first is the lowest place of an entry among the items, or ok is false.
func (a *agenda) first() (first place, ok bool) {
	take := func(p place) {
		if p.seq > 0 && (!ok || p.less(first)) {
			first, ok = p, true
		}
	}
	for i := range a.near {
		take(a.near[i].place)
	}
	for _, p := range a.pages {
		take(p.first)
	}
	return first, ok
}

// ripe is the first page that may have something due at now, or false.
func (a *agenda) ripe(now int64) (first page, ok bool) {
	for _, p := range a.pages {
		if p.due <= now && (!ok || p.due < first.due) {
			first, ok = p, true
		}
	}
	return first, ok
}

// open takes the items of a page into the record.
func (a *agenda) open(p page, items []item) {
	a.pages = slices.DeleteFunc(a.pages, func(o page) bool { return o.id == p.id })
	a.near = append(a.near, items...)
}

// spill takes the items that are due last out of a record that has become large, a page at a time.
func (a *agenda) spill(name func() uint64, put func(id uint64, items []item)) {
	size := 0
	for i := range a.near {
		size += a.near[i].weight()
	}
	if len(a.near) <= nearItems && size <= nearBytes {
		return
	}
	slices.SortStableFunc(a.near, byDue)
	for len(a.near) > nearItems/2 || size > nearBytes/2 {
		n, bytes := 0, 0
		for n < pageItems && bytes < nearBytes && n < len(a.near) {
			n++
			bytes += a.near[len(a.near)-n].weight()
		}
		items := slices.Clone(a.near[len(a.near)-n:])
		a.near = a.near[:len(a.near)-n]
		size -= bytes
		p := page{id: name(), due: items[0].due, count: n}
		p.first, _ = (&agenda{near: items}).first()
		a.pages = append(a.pages, p)
		put(p.id, items)
	}
}

func byDue(a, b item) int { return cmp.Compare(a.due, b.due) }

const never = int64(1<<63 - 1)
