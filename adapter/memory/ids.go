package memory

import "hash/maphash"

// ids are names that are known for a while: a queue in the order in which they came, and a table of places in it. A topic
// with a window looks up every message here, so the table is made for it: it is hashed once for look-up and insertion, and
// what has run out is taken out without being hashed or compared again.
type ids struct {
	queue  fifo[known]
	popped uint64 // how many have left the queue
	table  []place
	used   int
	seed   maphash.Seed
}

type known struct {
	id    string
	hash  uint64
	until int64
}

// place is a slot of an open table with linear probing. Pos counts what was ever queued, from 1; 0 is an empty slot.
type place struct {
	hash uint64
	pos  uint64
}

const leastTable = 64

// has reports whether id is known at now.
func (k *ids) has(id string, now int64) bool {
	if k.used == 0 {
		return false
	}
	slot := k.find(id, maphash.String(k.seed, id))
	return k.table[slot].pos != 0 && now < k.at(k.table[slot].pos).until
}

// add makes id known until then, unless it is known at now: then it changes nothing and returns false. What ran out is
// forgotten; what stands behind an id that is known for longer is forgotten with that one, and not told by has before.
func (k *ids) add(id string, now, until int64) bool {
	k.forget(now)
	if 4*(k.used+1) > 3*len(k.table) {
		k.grow()
	}
	hash := maphash.String(k.seed, id)
	slot := k.find(id, hash)
	if pos := k.table[slot].pos; pos == 0 {
		k.used++
	} else if now < k.at(pos).until {
		return false
	}
	k.queue.push(known{id: id, hash: hash, until: until})
	k.table[slot] = place{hash: hash, pos: k.popped + uint64(k.queue.len())}
	return true
}

func (k *ids) at(pos uint64) *known { return k.queue.at(int(pos - k.popped - 1)) }

// find is the slot of id, or the empty one where it belongs.
func (k *ids) find(id string, hash uint64) int {
	mask := len(k.table) - 1
	slot := int(hash) & mask
	for ; k.table[slot].pos != 0; slot = (slot + 1) & mask {
		if p := k.table[slot]; p.hash == hash && k.at(p.pos).id == id {
			break
		}
	}
	return slot
}

// forget takes out what ran out, from the oldest on.
func (k *ids) forget(now int64) {
	for k.queue.len() > 0 && k.queue.at(0).until <= now {
		mask := len(k.table) - 1
		slot := int(k.queue.pop().hash) & mask
		k.popped++
		for k.table[slot].pos != 0 && k.table[slot].pos != k.popped {
			slot = (slot + 1) & mask
		}
		if k.table[slot].pos != 0 { // else the id was added again since
			k.empty(slot)
		}
	}
	if k.used == 0 && len(k.table) > leastTable {
		k.table = nil
	}
}

// empty empties the slot, and moves up what was put behind it for want of room.
func (k *ids) empty(slot int) {
	mask := len(k.table) - 1
	k.used--
	for next := slot; ; {
		next = (next + 1) & mask
		p := k.table[next]
		if p.pos == 0 {
			break
		}
		if home := int(p.hash) & mask; (next-home)&mask >= (next-slot)&mask {
			k.table[slot] = p
			slot = next
		}
	}
	k.table[slot] = place{}
}

func (k *ids) grow() {
	old := k.table
	if old == nil {
		k.seed = maphash.MakeSeed()
	}
	k.table = make([]place, max(leastTable, 2*len(old)))
	mask := len(k.table) - 1
	for _, p := range old {
		if p.pos == 0 {
			continue
		}
		slot := int(p.hash) & mask
		for k.table[slot].pos != 0 {
			slot = (slot + 1) & mask
		}
		k.table[slot] = p
	}
}
