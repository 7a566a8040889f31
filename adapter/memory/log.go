package memory

import "github.com/musterhq/muster/port"

// entry is a message that a topic or a group keeps. Its texts and its body are in a block, so that many entries are few things for
// the collector to look at.
type entry struct {
	block  *block
	seq    uint64 // in its log; 0: addressed to one group
	at     int64  // when it became visible, in Unix nanoseconds
	text   uint32 // where its ID begins, and its key behind it
	body   uint32 // where its body begins
	size   uint32 // of its body
	pins   int32  // how many groups have handed it out and not finished it
	idLen  uint16
	keyLen uint16
	gone   bool // removed; it stays until nothing refers to it
}

const chunkSize = 256

type chunk [chunkSize]entry

// log is the entries of a topic, numbered from 1. The kept ones are first to next-1, in chunks whose places in memory never
// change, so that a pinned entry may be pointed to.
type log struct {
	prefix  string // of its offsets: the era
	first   uint64
	next    uint64
	trimmed uint64 // the last one that retention took
	chunks  []*chunk
	base    uint64 // number of the first entry of the first chunk
	spare   *chunk

	count int64 // entries that are not gone
	bytes int64 // of their bodies
	tombs int64 // entries that are kept and gone
}

const (
	offsetLen  = hexLen + 1 + hexLen // era, sequence number
	receiptLen = hexLen + hexLen     // loan, place
)

func newLog(era uint64) log {
	prefix := append(appendHex(nil, era), '-')
	return log{prefix: string(prefix), first: 1, next: 1, base: 1}
}

func (l *log) at(seq uint64) *entry {
	i := seq - l.base
	return &l.chunks[i/chunkSize][i%chunkSize]
}

// append puts e at the end.
func (l *log) append(e entry) {
	e.seq = l.next
	*l.extend() = e
	l.bytes += int64(e.size)
}

// extend makes room at the end for an entry, whose seq is next - 1.
func (l *log) extend() *entry {
	if (l.next-l.base)/chunkSize == uint64(len(l.chunks)) {
		c := l.spare
		l.spare = nil
		if c == nil {
			c = new(chunk)
		}
		l.chunks = append(l.chunks, c)
	}
	l.next++
	l.count++
	return l.at(l.next - 1)
}

// find is the entry at o that is there, or nil.
func (l *log) find(o port.Offset) *entry {
	seq, ok := l.seqOf(o)
	if !ok || seq < l.first || seq >= l.next {
		return nil
	}
	if e := l.at(seq); !e.gone {
		return e
	}
	return nil
}

// remove makes e gone. Its id stays, for a loan of it that is out.
func (l *log) remove(e *entry) {
	l.count--
	l.bytes -= int64(e.size)
	l.tombs++
	e.gone = true
	e.strip()
}

// shift gives up the first entry, which nothing may point to.
func (l *log) shift() {
	e := l.at(l.first)
	if e.gone {
		l.tombs--
	} else {
		l.count--
		l.bytes -= int64(e.size)
		l.trimmed = l.first
	}
	*e = entry{}
	l.first++
	if l.first-l.base == chunkSize {
		l.spare = l.chunks[0]
		l.chunks[0] = nil
		l.chunks = l.chunks[1:]
		l.base += chunkSize
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
