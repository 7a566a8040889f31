package redis

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Messages that are written at once to one topic share entries of its log: a pack is <packed> <how many> and then <length> <message> for
// each, numbers in 2 bytes. An entry costs the server as much as a dozen messages in it. A pack stays small, as who wants a few messages
// of it, or one, is given all of it.
const (
	packed     = 2
	mostPacked = 32      // messages of a pack
	packBytes  = 1 << 14 // of a pack; a message that is not much smaller has an entry of its own
	packHead   = 3
	packEach   = 2
)

// pack makes entries of messages, in their order.
func pack(blobs []string) []string {
	entries := make([]string, 0, 1+len(blobs)/8)
	for len(blobs) > 0 {
		n, size := 0, packHead
		for n < len(blobs) && n < mostPacked && size+packEach+len(blobs[n]) <= packBytes {
			size += packEach + len(blobs[n])
			n++
		}
		if n < 2 {
			entries, blobs = append(entries, blobs[0]), blobs[1:]
			continue
		}
		b := make([]byte, packHead, size)
		b[0] = packed
		binary.BigEndian.PutUint16(b[1:], uint16(n))
		for _, blob := range blobs[:n] {
			b = binary.BigEndian.AppendUint16(b, uint16(len(blob)))
			b = append(b, blob...)
		}
		entries, blobs = append(entries, rueidis.BinaryString(b)), blobs[n:]
	}
	return entries
}

// packing is messages as plain.lua reads them.
type packing struct {
	blobs   []string
	ids     []string
	bytes   int // of bodies
	longest int // of blobs
}

func (p *packing) add(blobs []string) {
	p.blobs = append(p.blobs, blobs...)
	for _, blob := range blobs {
		id, body := head(blob)
		p.ids = append(p.ids, id)
		p.longest = max(p.longest, len(blob))
		p.bytes += len(blob) - body
	}
}

// args appends what plain.lua reads.
func (p *packing) args(args []string) []string {
	n := number(int64(len(p.blobs)))
	args = append(args, n, number(int64(p.bytes)), number(int64(p.longest)), n)
	return append(append(args, p.ids...), pack(p.blobs)...)
}

// distinct reports whether no text is there twice. Those that were made one after the other are in order.
func distinct(texts []string) bool {
	ordered := true
	for i := 1; i < len(texts) && ordered; i++ {
		ordered = texts[i-1] < texts[i]
	}
	if ordered {
		return true
	}
	texts = slices.Sorted(slices.Values(texts))
	return len(slices.Compact(texts)) == len(texts)
}

// stored is an entry of a log: the same as text and as bytes, which nobody changes.
type stored struct {
	text  string
	bytes []byte
}

func (r *reply) stored() stored {
	m := r.next()
	if r.err != nil {
		return stored{}
	}
	text, err := m.ToString()
	r.note(err)
	bytes, err := m.AsBytes()
	r.note(err)
	return stored{text, bytes}
}

// unpack gives the messages of an entry to each, in order, as long as it wants more, with their IDs as they lie on the server.
func (s stored) unpack(topic string, each func(m port.Message, id string) bool) error {
	text, bytes := s.text, s.bytes
	if len(text) == 0 || text[0] != packed {
		m, id, _, err := decode(topic, text, bytes, nil)
		if err == nil {
			each(m, id)
		}
		return err
	}
	room := make([]byte, 0, s.size()*textID)
	for at := packHead; at < len(text); {
		if at+packEach > len(text) {
			return cutOff(topic)
		}
		from := at + packEach
		at = from + (int(text[at])<<8 | int(text[at+1]))
		if at > len(text) {
			return cutOff(topic)
		}
		m, id, rest, err := decode(topic, text[from:at], bytes[from:at:at], room)
		if err != nil {
			return err
		}
		if room = rest; !each(m, id) {
			return nil
		}
	}
	return nil
}

// size is how many messages an entry has.
func (s stored) size() int {
	if len(s.text) < packHead || s.text[0] != packed {
		return 1
	}
	return int(s.text[1])<<8 | int(s.text[2])
}

func cutOff(topic string) error { return fmt.Errorf("an entry of topic %q is cut off", topic) }
