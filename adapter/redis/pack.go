package redis

import (
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

// pack appends entries that are made of messages, in their order, in memory of room.
func pack(entries []string, room []byte, blobs []string) ([]string, []byte) {
	size := 0
	for _, blob := range blobs {
		size += packHead + packEach + len(blob)
	}
	room = slices.Grow(room, size)
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
		from := len(room)
		room = append(room, packed, byte(n>>8), byte(n))
		for _, blob := range blobs[:n] {
			room = append(append(room, byte(len(blob)>>8), byte(len(blob))), blob...)
		}
		entries, blobs = append(entries, rueidis.BinaryString(room[from:])), blobs[n:]
	}
	return entries, room
}

// packing is messages as plain.lua reads them, and memory for them.
type packing struct {
	blobs   []string
	ids     []string
	bytes   int // of bodies
	longest int // of blobs
	room    []byte
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
	args, p.room = pack(append(args, p.ids...), p.room, p.blobs)
	return args
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
