package envelope

import (
	"bytes"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// plainUntil is the first place in s, from i on, of a byte that does not stand for itself inside a string: a quote, a backslash, a
// control character; len(s) where there is none. It looks at eight bytes at a time ("Determine if a word has a byte less than
// n", Bit Twiddling Hacks, S. E. Anderson), and in what is long at four times as many; the lowest mark is exact, and the only one used.
func plainUntil[S []byte | string](s S, i int) int {
	for start := i; i+8 <= len(s); i += 8 {
		if i == start+long {
			i = longPlain(s, i)
			if i+8 > len(s) {
				break
			}
		}
		if marks := special(eight(s[i:i+8])) & highs; marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// long is how many bytes a string has at least for which it pays to look at many at a time.
const long = 48

// longPlain is plainUntil for what may be long: it stops up to 31 bytes before that place.
func longPlain[S []byte | string](s S, i int) int {
	for ; i+32 <= len(s); i += 32 {
		w := s[i : i+32]
		if (special(eight(w[:8]))|special(eight(w[8:16]))|special(eight(w[16:24]))|special(eight(w[24:32])))&highs != 0 {
			break
		}
	}
	return i
}

const ones, highs = 0x0101010101010101, 0x8080808080808080

// eight is the first eight bytes of s, the first of them lowest.
func eight[S []byte | string](s S) uint64 {
	w := s[:8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
		uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// special has the highest bit set in the lowest byte of x that does not stand for itself inside a string, and in none where all do.
// The other bits mean nothing. With one bit turned over, a quote and all control characters are the bytes below '!', and no other is.
func special(x uint64) uint64 {
	return (((x ^ ('"'^' ')*ones) - '!'*ones) | ((x ^ '\\'*ones) - ones)) &^ x
}

// isPlainASCII reports whether every byte of s stands for itself inside a string and is ASCII.
func isPlainASCII(s string) bool {
	if len(s) < 8 {
		for i := range len(s) {
			if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
				return false
			}
		}
		return true
	}
	last := eight(s[len(s)-8:])
	found := last | special(last)
	for ; len(s) > 8; s = s[8:] {
		x := eight(s)
		found |= x | special(x)
	}
	return found&highs == 0
}

// escape is the length of the escape sequence that b starts with; 0 where it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := unit(b); ok {
			return 6
		}
	}
	return 0
}

// unit is the UTF-16 code unit of the \uXXXX that b starts with.
func unit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends the text of raw, a scanned string, to dst. It reports false for an unpaired surrogate, which no UTF-8 holds.
func unescape(dst, raw []byte) ([]byte, bool) {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), true
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		if raw[1] != 'u' {
			dst = append(dst, plainEscape(raw[1]))
			raw = raw[2:]
			continue
		}
		r, _ := unit(raw)
		raw = raw[6:]
		if utf16.IsSurrogate(r) {
			low, _ := unit(raw)
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return dst, false
			}
			raw = raw[6:]
		}
		dst = utf8.AppendRune(dst, r)
	}
}

// plainEscape is what a backslash and c stand for.
func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// appendEscaped appends c, which is special, as an escape sequence.
func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
