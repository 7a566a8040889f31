package nats

import (
	"time"

	"github.com/musterhq/muster/port"
)

// place is where an entry is in its log: the chunk's sequence in the stream, and its index in the chunk.
type place struct {
	seq uint64
	idx uint32
}

// behind is the place after every entry of the chunk at seq.
func behind(seq uint64) place { return place{seq: seq, idx: maxIdx} }

const (
	maxIdx       = 1<<16 - 1
	chunkEntries = 512
	chunkBytes   = 256 << 10

	// adjacent is the last chunk of one that is written with it, just behind it.
	adjacent = 1<<64 - 1
)

func (p place) less(o place) bool { return p.seq < o.seq || p.seq == o.seq && p.idx < o.idx }

// Kinds of chunks.
const (
	entriesChunk byte = 'E' // messages
	limitsChunk  byte = 'C' // the topic's record changed: who appends reads it again
	dropChunk    byte = 'D' // the topic was dropped: what stood before is of another log
)

// chunk is one record of a log. Ord and size are the sums of entries and of their bodies' bytes before it.
type chunk struct {
	kind    byte
	known   bool // its IDs count for the window
	ord     uint64
	size    uint64
	last    uint64 // the sequence of the last chunk with entries before it; 0: none
	entries []entry
	ids     []hash // of delayed messages, known from their write on
	batches []hash // IDs of the batches that were written with it

	seq uint64
	at  time.Time
}

// entry is one message of a log. What was delayed has its ID from its write, and does not make it known again.
type entry struct {
	id, key string
	body    []byte
	late    bool
}

func (c *chunk) encode() []byte {
	n := 64
	for i := range c.entries {
		n += len(c.entries[i].id) + len(c.entries[i].key) + len(c.entries[i].body) + 12
	}
	b := make([]byte, 0, n+16*(len(c.ids)+len(c.batches)))
	b = append(b, c.kind, flag(c.known))
	b = appendUint(b, c.ord)
	b = appendUint(b, c.size)
	b = appendUint(b, c.last)
	b = appendUint(b, len(c.entries))
	for i := range c.entries {
		b = c.entries[i].append(b)
	}
	b = appendUint(b, len(c.ids))
	for _, id := range c.ids {
		b = append(b, id[:]...)
	}
	b = appendUint(b, len(c.batches))
	for _, id := range c.batches {
		b = append(b, id[:]...)
	}
	return b
}

func (e *entry) append(b []byte) []byte {
	b = append(b, flag(e.late))
	b = appendBytes(b, e.id)
	b = appendBytes(b, e.key)
	return appendBytes(b, e.body)
}

func (r *reader) entry() entry {
	late := r.byte() != 0
	return entry{late: late, id: string(r.bytes()), key: string(r.bytes()), body: r.bytes()}
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func decodeChunk(rec *record) (*chunk, error) {
	r := &reader{b: rec.data}
	c := &chunk{seq: rec.seq, at: rec.at, kind: r.byte(), known: r.byte() != 0, ord: r.uint(), size: r.uint(), last: r.uint()}
	if c.last == adjacent {
		c.last = c.seq - 1
	}
	if n := r.count(); n > 0 {
		c.entries = make([]entry, n)
		for i := range c.entries {
			c.entries[i] = r.entry()
		}
	}
	for range r.count() {
		c.ids = append(c.ids, r.hash())
	}
	for range r.count() {
		c.batches = append(c.batches, r.hash())
	}
	return c, r.err()
}

// bytes is the sum of the bodies.
func (c *chunk) bytes() (n uint64) {
	for i := range c.entries {
		n += uint64(len(c.entries[i].body))
	}
	return n
}

// back is the sequence of the last chunk with entries, this one included.
func (c *chunk) back() uint64 {
	switch {
	case len(c.entries) > 0:
		return c.seq
	case c.last == adjacent:
		return c.seq - 1
	default:
		return c.last
	}
}

// end is the sum of entries up to and with this chunk.
func (c *chunk) end() uint64 { return c.ord + uint64(len(c.entries)) }

func entryOf(m *port.Message) entry { return entry{id: m.ID, key: m.Key, body: m.Body} }

func (e *entry) message(topic string) port.Message {
	return port.Message{Topic: topic, ID: e.id, Key: e.key, Body: e.body}
}
