package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// NewID is a new UUIDv7 (RFC 9562) in its usual text of 36 characters. Ids of one process sort in the order in which they were
// made, also within a millisecond and when the clock is set back; those of several processes sort by the millisecond.
//
// An id is unique, not secret: the next ids of a process can be guessed from the last.
func NewID() string { return ids.next().String() }

// NewIDs is n of [NewID], made together, in their order: it reads the clock once for them all. Up to 32 of them share their memory.
func NewIDs(n int) []string {
	const together = 32
	var made [together]uuid
	var text [together * textLen]byte
	list := make([]string, 0, max(n, 0))
	now := uint64(time.Now().UnixMilli())
	for len(list) < n {
		some := made[:min(n-len(list), together)]
		ids.fill(some, now)
		for i := range some {
			u, at := &some[i], text[i*textLen:][:textLen]
			if i > 0 && u.begins(&some[i-1]) {
				copy(at[:lowText], text[(i-1)*textLen:])
			} else {
				u.beginning(at)
			}
			u.end(at)
		}
		shared := string(text[:len(some)*textLen])
		for i := range some {
			list = append(list, shared[i*textLen:][:textLen])
		}
	}
	return list
}

// DeriveID is a name for parts: the same parts give the same id in every process and version, other parts, also the same text
// divided otherwise, another. It is a UUIDv8 (RFC 9562) out of the SHA-256 of the parts.
func DeriveID(parts ...string) string {
	var room [256]byte
	return named(appendParts(room[:0], parts)).String()
}

// DeriveIDAt is DeriveID for the member at index of a series, such as the third message that the handling of one message
// emits. It never equals a DeriveID.
func DeriveIDAt(index int, parts ...string) string {
	var room [256]byte
	return named(binary.BigEndian.AppendUint64(appendParts(room[:0], parts), uint64(index))).String()
}

// appendParts writes how many parts there are and each with its length, so that nothing else reads the same.
func appendParts(dst []byte, parts []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, part := range parts {
		dst = binary.AppendUvarint(dst, uint64(len(part)))
		dst = append(dst, part...)
	}
	return dst
}

func named(name []byte) uuid {
	sum := sha256.Sum256(name)
	return stamped(uuid(sum[:16]), 8)
}

type uuid [16]byte

// stamped is u with its version, and the variant of RFC 9562.
func stamped(u uuid, version byte) uuid {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	return u
}

// textLen is how long the text of an id is, and lowText where that of its second half begins.
const (
	textLen = 36
	lowText = 19
)

func (u uuid) String() string {
	var text [textLen]byte
	u.beginning(text[:])
	u.end(text[:])
	return string(text[:])
}

// begins reports whether u begins as v does: most that are made together do.
func (u *uuid) begins(v *uuid) bool {
	return binary.BigEndian.Uint64(u[0:8]) == binary.BigEndian.Uint64(v[0:8])
}

// beginning writes the text of the first half of u.
func (u *uuid) beginning(text []byte) {
	one, two := hexDigits(binary.BigEndian.Uint32(u[0:4])), hexDigits(binary.BigEndian.Uint32(u[4:8]))
	_ = text[lowText-1]
	binary.BigEndian.PutUint64(text[0:], one)
	binary.BigEndian.PutUint32(text[9:], uint32(two>>32))
	binary.BigEndian.PutUint32(text[14:], uint32(two))
	text[8], text[13], text[18] = '-', '-', '-'
}

// end writes the text of the second half of u.
func (u *uuid) end(text []byte) {
	three, four := hexDigits(binary.BigEndian.Uint32(u[8:12])), hexDigits(binary.BigEndian.Uint32(u[12:16]))
	_ = text[textLen-1]
	binary.BigEndian.PutUint32(text[lowText:], uint32(three>>32))
	binary.BigEndian.PutUint32(text[24:], uint32(three))
	binary.BigEndian.PutUint64(text[28:], four)
	text[23] = '-'
}

// hexDigits are the eight hexadecimal digits of v, the first in the highest byte, made by arithmetic on the bytes of one word.
func hexDigits(v uint32) uint64 {
	const each = 0x0101010101010101
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & (0x0f * each)
	letters := (x + 6*each) >> 4 & each // 1 where a digit is over 9
	return x + '0'*each + letters*('a'-'0'-10)
}

// ids is the one generator, for an order that holds for the process can have one source only.
var ids generator

// generator makes UUIDv7 by method 2 of RFC 9562, section 6.2: the 74 bits below the time are random once a millisecond and
// grow by a random step from one id to the next. The start comes from crypto/rand, the steps from math/rand/v2: they spread ids, and
// keep no secret.
type generator struct {
	mu    sync.Mutex
	ms    uint64 // 48 bits
	high  uint64 // 12 bits: rand_a
	low   uint64 // 62 bits: rand_b
	spare int    // bytes of pool that are not used yet, at its end
	pool  [512]byte
}

const (
	highBits = 12
	lowBits  = 62
)

func (g *generator) next() uuid {
	var u [1]uuid
	g.fill(u[:], uint64(time.Now().UnixMilli()))
	return u[0]
}

// fill makes the next ids. Now is the time in milliseconds.
func (g *generator) fill(list []uuid, now uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range list {
		if now > g.ms {
			g.ms = now
			g.seed()
		} else {
			g.step()
		}
		u := &list[i]
		binary.BigEndian.PutUint64(u[0:8], g.ms<<16|7<<highBits|g.high) // with the version
		binary.BigEndian.PutUint64(u[8:16], 1<<(lowBits+1)|g.low)       // with the variant
	}
}

// seed makes a new start, in the lower half, so that there is room to grow.
func (g *generator) seed() {
	g.high = uint64(binary.BigEndian.Uint16(g.random(2))) >> (16 - highBits + 1)
	g.low = binary.BigEndian.Uint64(g.random(8)) >> (64 - lowBits)
}

// step grows by 1 to 1<<32, and borrows from the next millisecond when there is no room left.
func (g *generator) step() {
	g.low += uint64(mathrand.Uint32()) + 1
	if g.low>>lowBits == 0 {
		return
	}
	g.low &= 1<<lowBits - 1
	g.high++
	if g.high>>highBits == 0 {
		return
	}
	g.ms++
	g.seed()
}

// random is n random bytes, of which many are fetched at once.
func (g *generator) random(n int) []byte {
	if g.spare < n {
		rand.Read(g.pool[:]) // never fails: crypto/rand ends the process instead
		g.spare = len(g.pool)
	}
	b := g.pool[len(g.pool)-g.spare:][:n]
	g.spare -= n
	return b
}
