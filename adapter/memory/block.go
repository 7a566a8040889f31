package memory

import (
	"bytes"
	"strings"

	"github.com/musterhq/muster/port"
)

// block is the texts and bodies of messages that came together, a few of them: one that is kept keeps the block. What is in it is
// never changed, so it may be handed out.
type block struct {
	text   string // each message's ID and, behind it, its key
	bodies []byte
}

// How many messages share a block, at most. A larger body has one of its own.
const (
	blockMessages = 24
	blockBytes    = 6 << 10 // of bodies; four such share a span of the allocator, one of 8 KiB has one to itself
)

// kept is what is kept of messages: copies, for what is in a batch is its writer's again once it is written. The entries have no place
// in a log yet and no time; their blocks are numbered by their place here.
type kept struct {
	entries []entry
	blocks  []*block
	topic   string // of all of them, where none is addressed; else ""
	bytes   int64  // of the bodies
}

// add keeps ms, too.
func (k *kept) add(ms []port.Message) {
	if len(k.entries) == 0 && len(ms) > 0 {
		k.topic = ms[0].Topic
	}
	for len(ms) > 0 {
		n, size := 1, len(ms[0].Body)
		for ; n < len(ms) && n < blockMessages && size+len(ms[n].Body) <= blockBytes; n++ {
			size += len(ms[n].Body)
		}
		if n == 1 {
			k.addOne(&ms[0])
		} else {
			k.addBlock(ms[:n])
		}
		k.bytes += int64(size)
		ms = ms[n:]
	}
}

// addOne keeps a message that has a block of its own.
func (k *kept) addOne(m *port.Message) {
	if m.Topic != k.topic || m.Group != "" {
		k.topic = ""
	}
	k.entries = append(k.entries, entry{block: uint32(len(k.blocks)), idLen: uint16(len(m.ID)), keyLen: uint16(len(m.Key)), size: uint32(len(m.Body))})
	k.blocks = append(k.blocks, &block{text: m.ID + m.Key, bodies: bytes.Clone(m.Body)})
}

// addBlock keeps messages that share a block.
func (k *kept) addBlock(ms []port.Message) {
	var bodies [blockMessages][]byte
	var text strings.Builder
	length := 0
	for i := range ms {
		length += len(ms[i].ID) + len(ms[i].Key)
	}
	text.Grow(length)
	body := 0
	for i := range ms {
		m := &ms[i]
		if m.Topic != k.topic || m.Group != "" {
			k.topic = ""
		}
		bodies[i] = m.Body
		k.entries = append(k.entries, entry{
			block: uint32(len(k.blocks)), text: uint16(text.Len()), idLen: uint16(len(m.ID)), keyLen: uint16(len(m.Key)),
			body: uint16(body), size: uint32(len(m.Body)),
		})
		text.WriteString(m.ID)
		text.WriteString(m.Key)
		body += len(m.Body)
	}
	k.blocks = append(k.blocks, &block{text: text.String(), bodies: bytes.Join(bodies[:len(ms)], nil)})
}

// some are the entries from one to another; nothing is kept in nil.
func (k *kept) some(from, to int) kept {
	if k == nil {
		return kept{}
	}
	return kept{entries: k.entries[from:to], blocks: k.blocks}
}

// single is the entry at i by itself.
func (k *kept) single(i int) single {
	e := k.entries[i]
	return single{entry: e, block: k.blocks[e.block]}
}

// id is the ID of the entry at i.
func (k *kept) id(i int) string { return k.entries[i].id(k.blocks[k.entries[i].block]) }

// room is memory for what is on its way into logs.
func (b *Backend) room() *kept {
	if k, ok := b.kept.Get().(*kept); ok {
		return k
	}
	return &kept{}
}

func (b *Backend) giveBack(k *kept) {
	clear(k.blocks)
	*k = kept{entries: k.entries[:0], blocks: k.blocks[:0]}
	b.kept.Put(k)
}

// id is the message's ID, which is in b.
func (e *entry) id(b *block) string { return b.text[e.text:][:e.idLen] }

// show sets what is kept of the message, in b, in m.
func (e *entry) show(b *block, m *port.Message) {
	m.ID = e.id(b)
	set(&m.Key, b.text[int(e.text)+int(e.idLen):][:e.keyLen])
	if e.size > 0 {
		from, to := int(e.body), int(e.body)+int(e.size)
		m.Body = b.bodies[from:to:to]
	} else if m.Body != nil {
		m.Body = nil
	}
}
