package redis

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// A message is stored as <version> <length of the ID> <length of the key> <ID> <key> <body>, lengths in 2 bytes.
const (
	version    = 1
	headLength = 5
)

func appendMessage(b []byte, m *port.Message) []byte {
	from := len(b)
	b = append(b, version, 0, 0, byte(len(m.Key)>>8), byte(len(m.Key)))
	b = appendID(b, m.ID)
	binary.BigEndian.PutUint16(b[from+1:], uint16(len(b)-from-headLength))
	return append(append(b, m.Key...), m.Body...)
}

// encode appends messages to blobs, in memory of room, which must not change before they were sent.
func encode(blobs []string, room []byte, ms []port.Message) ([]string, []byte) {
	size := 0
	for i := range ms {
		size += headLength + 1 + len(ms[i].ID) + len(ms[i].Key) + len(ms[i].Body)
	}
	room = slices.Grow(room, size)
	for i := range ms {
		from := len(room)
		room = appendMessage(room, &ms[i])
		blobs = append(blobs, rueidis.BinaryString(room[from:]))
	}
	return blobs, room
}

func encodeAll(ms []port.Message) []string {
	blobs, _ := encode(make([]string, 0, len(ms)), nil, ms)
	return blobs
}

// head is the ID of a message as it lies on the server, and where its body begins. The message is whole.
func head(blob string) (id string, body int) {
	from := headLength + (int(blob[1])<<8 | int(blob[2]))
	return blob[headLength:from], from + (int(blob[3])<<8 | int(blob[4]))
}

// decode makes the message of a blob, given as text and as bytes, which it keeps: nobody changes bytes that came from a backend. Its ID may
// take memory from room, which is answered with its ID as it lies on the server.
func decode(topic, text string, body, room []byte) (m port.Message, id string, rest []byte, err error) {
	if len(text) < headLength || text[0] != version {
		return m, "", room, fmt.Errorf("an entry of topic %q is not of this version's form", topic)
	}
	key := int(text[3])<<8 | int(text[4])
	if len(text) < headLength+(int(text[1])<<8|int(text[2]))+key {
		return m, "", room, cutOff(topic)
	}
	id, from := head(text)
	m = port.Message{Topic: topic, Key: text[from-key : from], Body: body[from:len(body):len(body)]}
	m.ID, room = appendFull(room, id)
	return m, id, room, nil
}

// place is where an entry stands: the era of its log and its stream id, <ms>-<n>.
type place struct{ era, ms, n string }

// entry is the place of a stream id.
func entry(era, id string) (place, error) {
	ms, n, ok := strings.Cut(id, "-")
	if !ok {
		return place{}, fmt.Errorf("stream id %q is not of the form ms-n", id)
	}
	return place{era, ms, n}, nil
}

func (p place) id() string { return p.ms + "-" + p.n }

// The widths of the parts of an offset, filled with zeros so that offsets sort as strings.
const eraWidth, msWidth, nWidth = 16, 14, 16

const offsetWidth = eraWidth + msWidth + nWidth + 2

func (p place) offset() port.Offset {
	return port.Offset(appendOffset(make([]byte, 0, offsetWidth), p.era, p.ms, p.n))
}

func appendOffset[T string | []byte](b []byte, era, ms string, n T) []byte {
	b = padded(b, era, eraWidth)
	b = padded(append(b, '-'), ms, msWidth)
	return padded(append(b, '-'), n, nWidth)
}

func padded[T string | []byte](b []byte, s T, width int) []byte {
	for range width - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}

// at reads an offset; false for one that this adapter never made.
func at(o port.Offset) (place, bool) {
	if len(o) != eraWidth+msWidth+nWidth+2 || o[eraWidth] != '-' || o[eraWidth+1+msWidth] != '-' {
		return place{}, false
	}
	var p place
	for _, f := range []struct {
		into *string
		text port.Offset
	}{{&p.era, o[:eraWidth]}, {&p.ms, o[eraWidth+1:][:msWidth]}, {&p.n, o[eraWidth+msWidth+2:]}} {
		n, err := strconv.ParseInt(string(f.text), 10, 64)
		if err != nil || n < 0 {
			return place{}, false
		}
		*f.into = strconv.FormatInt(n, 10)
	}
	return p, true
}

// millis is the time of so many milliseconds, as text.
func millis(text string) (time.Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("a time is not a number of milliseconds: %w", err)
	}
	return time.UnixMilli(ms), nil
}

// claim is what a receipt says: the name of the message in its group, the ms of its entry ("" for an addressed message), the token of
// the loan and the message's ID as it lies on the server.
type claim struct{ name, ms, token, id string }

// receipt writes the claim behind a sum of itself, the topic and the group: no other group takes it for its own, and one that
// was cut off or changed on its way is none.
func (c claim) receipt(g *port.Group) port.Receipt {
	return port.Receipt(appendReceipt(nil, sumOf(g), c.name, c.ms, c.token, c.id))
}

// sumWidth is the most that a sum takes.
const sumWidth = 13

// appendReceipt appends a receipt. Sum is that of the topic and the group.
func appendReceipt[T string | []byte](b []byte, sum digest, name T, ms, token, id string) []byte {
	sum = mixed(mixed(mixed(mixed(sum, name), ms), token), id)
	b = append(strconv.AppendUint(b, uint64(sum), 32), '.')
	b = append(append(b, name...), '-')
	b = append(append(b, ms...), '.')
	b = append(append(b, token...), '.')
	return append(b, id...)
}

// claimed reads a receipt; false for one that was never made here for this group.
func claimed(g *port.Group, r port.Receipt) (c claim, ok bool) {
	sum, rest, _ := strings.Cut(string(r), ".")
	c.name, rest, _ = strings.Cut(rest, ".")
	c.name, c.ms, _ = strings.Cut(c.name, "-")
	c.token, c.id, _ = strings.Cut(rest, ".")
	var b [sumWidth]byte
	own := mixed(mixed(mixed(mixed(sumOf(g), c.name), c.ms), c.token), c.id)
	return c, string(strconv.AppendUint(b[:0], uint64(own), 32)) == sum
}

// digest is a sum that is made as FNV-1a makes it, of eight bytes at once: it tells mistakes apart, not forgeries.
type digest uint64

func sumOf(g *port.Group) digest {
	return mixed(mixed(digest(14695981039346656037), g.Topic), g.Name)
}

func (h digest) mix(word uint64) digest {
	h = (h ^ digest(word)) * 1099511628211
	return h ^ h>>32
}

func mixed[T string | []byte](h digest, s T) digest {
	h = h.mix(uint64(len(s)))
	for len(s) >= 8 {
		h = h.mix(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
		s = s[8:]
	}
	for i := range len(s) {
		h = h.mix(uint64(s[i]))
	}
	return h
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
