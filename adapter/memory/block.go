package memory

import (
	"strings"

	"github.com/musterhq/muster/port"
)

// block is the texts and bodies of messages that came together, a few of them: one that is kept keeps the block. What is in it is
// never changed, so it may be handed out.
type block struct {
	text   string // each message's ID and, behind it, its key
	bodies []byte
}

// What messages share a block, at most. A larger body has one of its own.
const (
	blockMessages = 64
	blockBytes    = 8 << 10 // of bodies
)

// keep appends what a topic keeps of ms to list: copies, for what is in a batch is its writer's again once it is written. The entries
// have no place in a log and no time yet.
func keep(list []entry, ms []port.Message) []entry {
	for len(ms) > 0 {
		n, text, bodies := 1, len(ms[0].ID)+len(ms[0].Key), len(ms[0].Body)
		for ; n < len(ms) && n < blockMessages && bodies+len(ms[n].Body) <= blockBytes; n++ {
			text += len(ms[n].ID) + len(ms[n].Key)
			bodies += len(ms[n].Body)
		}
		list = keepTogether(list, ms[:n], text, bodies)
		ms = ms[n:]
	}
	return list
}

// keepTogether is keep for messages of one block, whose texts and bodies have so many bytes.
func keepTogether(list []entry, ms []port.Message, size, bytes int) []entry {
	b := &block{}
	if bytes > 0 {
		b.bodies = make([]byte, 0, bytes)
	}
	var text strings.Builder
	if size > len(ms[0].ID) {
		text.Grow(size)
	}
	at := 0
	for i := range ms {
		m := &ms[i]
		list = append(list, entry{
			block: b, text: uint32(at), idLen: uint16(len(m.ID)), keyLen: uint16(len(m.Key)),
			body: uint32(len(b.bodies)), size: uint32(len(m.Body)),
		})
		at += len(m.ID) + len(m.Key)
		if text.Cap() > 0 {
			text.WriteString(m.ID)
			text.WriteString(m.Key)
		}
		b.bodies = append(b.bodies, m.Body...)
	}
	if b.text = ms[0].ID; text.Cap() > 0 { // else there is that one text, which nobody can change
		b.text = text.String()
	}
	return list
}

// room is an empty list for entries on their way into a log.
func (b *Backend) room() *[]entry {
	if list, ok := b.made.Get().(*[]entry); ok {
		return list
	}
	return new([]entry)
}

func (b *Backend) giveBack(list *[]entry) {
	clear(*list)
	*list = (*list)[:0]
	b.made.Put(list)
}

// id is the message's ID.
func (e *entry) id() string { return e.block.text[e.text:][:e.idLen] }

// show sets what is kept of the message in m, which is empty.
func (e *entry) show(m *port.Message) {
	b := e.block
	m.ID = b.text[e.text:][:e.idLen]
	if e.keyLen > 0 {
		m.Key = b.text[e.text+uint32(e.idLen):][:e.keyLen]
	}
	if e.size > 0 {
		m.Body = b.bodies[e.body : e.body+e.size : e.body+e.size]
	}
}

// strip lets go of all but the ID.
func (e *entry) strip() {
	e.block = &block{text: strings.Clone(e.id())}
	e.text, e.keyLen, e.body, e.size = 0, 0, 0, 0
}
