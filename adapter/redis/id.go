package redis

import (
	"encoding/hex"

	"github.com/redis/rueidis"
)

// An ID lies on the server as it is, unless it is a UUID in its usual text, of 36 characters: that is a zero byte and its 16 bytes, which
// the server compares, copies and keeps for less. An ID that begins with one of the two marks has literal in front.
const (
	literal = 1
	named   = 2 // behind literal: what follows is not an ID alone
	textID  = 36
	shortID = 17
)

var nibbles = func() (n [256]byte) {
	for i := range n {
		n[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		n[c] = byte(i)
	}
	return n
}()

// appendID appends an ID as it lies on the server.
func appendID(b []byte, id string) []byte {
	if u, ok := uuidOf(id); ok {
		return append(append(b, 0), u[:]...)
	}
	if id != "" && id[0] <= literal {
		b = append(b, literal)
	}
	return append(b, id...)
}

// uuidOf reads the usual text of a UUID, in small letters.
func uuidOf(id string) (u [shortID - 1]byte, ok bool) {
	if len(id) != textID || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return u, false
	}
	at := 0
	for k := range u {
		if id[at] == '-' {
			at++
		}
		high, low := nibbles[id[at]], nibbles[id[at+1]]
		if high|low > 0xf {
			return u, false
		}
		u[k] = high<<4 | low
		at += 2
	}
	return u, true
}

// short is an ID as it lies on the server.
func short(id string) string {
	if len(id) != textID && (id == "" || id[0] > literal) {
		return id
	}
	return rueidis.BinaryString(appendID(make([]byte, 0, 1+len(id)), id))
}

// full is what short was made of.
func full(id string) string {
	text, _ := appendFull(nil, id)
	return text
}

// appendFull is full, and takes memory from room where it needs any.
func appendFull(room []byte, id string) (string, []byte) {
	if id == "" || id[0] > literal {
		return id, room
	}
	if id[0] == literal {
		return id[1:], room
	}
	if len(id) != shortID {
		return id, room // it was never made here
	}
	from := len(room)
	room = append(room, "00000000-0000-0000-0000-000000000000"...)
	text := room[from:]
	var u [shortID - 1]byte
	copy(u[:], id[1:])
	hex.Encode(text, u[:4])
	hex.Encode(text[9:], u[4:6])
	hex.Encode(text[14:], u[6:8])
	hex.Encode(text[19:], u[8:10])
	hex.Encode(text[24:], u[10:])
	return rueidis.BinaryString(text), room
}
