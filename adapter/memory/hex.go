package memory

import "encoding/binary"

// Offsets are numbers of 16 hexadecimal digits, two to a message. Eight digits at a time are made by arithmetic
// on the eight bytes of one word, each of which holds one digit.

const (
	hexLen = 16

	eachByte = 0x0101010101010101
	lowHalf  = 0x0f * eachByte
)

// appendHex appends the digits of v.
func appendHex(b []byte, v uint64) []byte {
	b = binary.BigEndian.AppendUint64(b, hexDigits(uint32(v>>32)))
	return binary.BigEndian.AppendUint64(b, hexDigits(uint32(v)))
}

// readHex reads what appendHex wrote, and nothing else.
func readHex(s string) (v uint64, ok bool) {
	if len(s) != hexLen {
		return 0, false
	}
	high, ok1 := hexValue(s[:8])
	low, ok2 := hexValue(s[8:])
	return uint64(high)<<32 | uint64(low), ok1 && ok2
}

// hexDigits are the eight digits of v, the first in the highest byte.
func hexDigits(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & lowHalf
	letters := (x + 6*eachByte) >> 4 & eachByte // 1 where a digit is over 9
	return x + '0'*eachByte + letters*('a'-'0'-10)
}

// hexValue is what the eight digits of s stand for.
func hexValue(s string) (v uint32, ok bool) {
	digits := uint64(s[7]) | uint64(s[6])<<8 | uint64(s[5])<<16 | uint64(s[4])<<24 |
		uint64(s[3])<<32 | uint64(s[2])<<40 | uint64(s[1])<<48 | uint64(s[0])<<56
	x := (digits&lowHalf + digits>>6&eachByte*9) & lowHalf
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	v = uint32(x | x>>16)
	return v, hexDigits(v) == digits
}
