package memory

import "github.com/musterhq/muster/port"

// entry is a message that a topic or a group keeps. Its texts and its body are in a block, and it holds no pointer: the collector
// looks at as many things as there are blocks, and not at each of many entries.
type entry struct {
	at     int64  // when it became visible, in Unix nanoseconds
	size   uint32 // of its body
	pins   int32  // how many groups have handed it out and not finished it
	block  uint32 // which one, in its chunk
	text   uint16 // where its ID begins, and its key behind it
	body   uint16 // where its body begins
	idLen  uint16
	keyLen uint16
	gone   bool // removed; it stays until nothing refers to it
}

// single is a message that is in no log: it is addressed to one group, or not due yet.
type single struct {
	entry
	block *block
}

const chunkSize = 256

// chunk is entries that follow each other, with their blocks. The entries of a block stand together.
type chunk struct {
	entries [chunkSize]entry
	blocks  []*block // nil where no entry is left
}

// log is the entries of a topic, numbered from 1. The kept ones are first to next-1, in chunks whose places in memory never
// change, so that an entry may be pointed to.
type log struct {
	prefix  string // of its offsets: the era
	first   uint64
	next    uint64
	trimmed uint64 // the last one that retention took
	chunks  []*chunk
	base    uint64 // number of the first entry of the first chunk
	spare   *chunk // without entries and blocks

	count int64 // entries that are not gone
	bytes int64 // of their bodies
	tombs int64 // entries that are kept and gone
}

const (
	offsetLen  = hexLen + 1 + hexLen // era, sequence number
	receiptLen = 8 + 4 + 4           // loan, slot, group
)

func newLog(era uint64) log {
	prefix := append(appendHex(nil, era), '-')
	return log{prefix: string(prefix), first: 1, next: 1, base: 1}
}

func (l *log) at(seq uint64) *entry {
	i := seq - l.base
	return &l.chunks[i/chunkSize].entries[i%chunkSize]
}

// show is the entry at seq, with its block.
func (l *log) show(seq uint64) (*entry, *block) {
	i := seq - l.base
	c := l.chunks[i/chunkSize]
	e := &c.entries[i%chunkSize]
	return e, c.blocks[e.block]
}

// append puts e, which is in b, at the end.
func (l *log) append(e *entry, b *block, at int64) {
	i := l.next - l.base
	if i/chunkSize == uint64(len(l.chunks)) {
		c := l.spare
		l.spare = nil
		if c == nil {
			c = new(chunk)
		}
		l.chunks = append(l.chunks, c)
	}
	c := l.chunks[i/chunkSize]
	if n := len(c.blocks); n == 0 || c.blocks[n-1] != b {
		c.blocks = append(c.blocks, b)
	}
	to := &c.entries[i%chunkSize]
	*to = *e
	to.block, to.at = uint32(len(c.blocks)-1), at
	l.next++
	l.count++
	l.bytes += int64(e.size)
}

// find is the number of the entry at o, 0 when it is not there.
func (l *log) find(o port.Offset) uint64 {
	seq, ok := l.seqOf(o)
	if !ok || seq < l.first || seq >= l.next || l.at(seq).gone {
		return 0
	}
	return seq
}

// remove makes the entry at seq gone. Its ID stays, for a loan of it that is out, and the rest as long as it shares a block.
func (l *log) remove(seq uint64) {
	e, b := l.show(seq)
	l.count--
	l.bytes -= int64(e.size)
	l.tombs++
	e.gone = true
	if e.size > 0 && int(e.size) == len(b.bodies) {
		l.chunks[(seq-l.base)/chunkSize].blocks[e.block] = &block{text: b.text}
		e.size = 0
	}
}

// shift gives up the first entry, which nothing may refer to, and its block with the last entry of that.
func (l *log) shift() {
	c, i := l.chunks[0], l.first-l.base
	e := &c.entries[i]
	if e.gone {
		l.tombs--
	} else {
		l.count--
		l.bytes -= int64(e.size)
		l.trimmed = l.first
	}
	l.first++
	switch {
	case i+1 == chunkSize:
		clear(c.blocks)
		c.blocks = c.blocks[:0]
		l.spare = c
		l.chunks[0] = nil
		l.chunks = l.chunks[1:]
		l.base += chunkSize
	case l.first == l.next || c.entries[i+1].block != e.block:
		c.blocks[e.block] = nil
	}
}

// live is the first entry from seq on that is not gone, or next.
func (l *log) live(seq uint64) uint64 {
	for seq < l.next && l.at(seq).gone {
		seq++
	}
	return seq
}

// ends are the offsets of the first and the last entry, "" when there is none.
func (l *log) ends() (first, last port.Offset) {
	if l.count == 0 {
		return "", ""
	}
	end := l.next - 1
	for l.at(end).gone {
		end--
	}
	return l.offset(l.live(l.first)), l.offset(end)
}

// tombsFrom counts the entries from seq on that are gone.
func (l *log) tombsFrom(seq uint64) int64 {
	if l.tombs == 0 {
		return 0
	}
	n := int64(0)
	for ; seq < l.next; seq++ {
		if l.at(seq).gone {
			n++
		}
	}
	return n
}

func (l *log) offset(seq uint64) port.Offset {
	return port.Offset(l.appendOffset(nil, seq))
}

func (l *log) appendOffset(b []byte, seq uint64) []byte {
	return appendHex(append(b, l.prefix...), seq)
}

// seqOf is the number in an offset of this log.
func (l *log) seqOf(o port.Offset) (seq uint64, ok bool) {
	if len(o) != offsetLen || string(o[:len(l.prefix)]) != l.prefix {
		return 0, false
	}
	return readHex(string(o[len(l.prefix):]))
}

// overtaken reports whether what follows o can not be given: o is of another log, or retention took an entry after it.
func (l *log) overtaken(o port.Offset) (seq uint64, gap bool) {
	seq, ok := l.seqOf(o)
	return seq, !ok || seq >= l.next || seq < l.trimmed
}
