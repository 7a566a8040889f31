package envelope

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep arrays and objects may nest, the envelope included; encoding/json has the same limit.
const maxDepth = 10_000

// span is a piece of the input; of a string it is what stands between the quotes.
type span struct {
	from, to int
	escaped  bool // holds a backslash
}

// scanner reads JSON (RFC 8259) strictly and once. Its input is known to be valid UTF-8. Each method starts at s.at, leaves
// s.at behind what it read, and reports false after the first error, which stays in s.err.
type scanner struct {
	b     []byte
	at    int
	where string // what the error names
	err   error
}

func (s *scanner) fail(want string) bool {
	if s.err == nil {
		s.err = invalid(s.where, s.at, want)
	}
	return false
}

// space skips white space and returns the byte behind it; 0, which no token starts with, at the end.
func (s *scanner) space() byte {
	for ; s.at < len(s.b); s.at++ {
		if c := s.b[s.at]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
	}
	return 0
}

// whole reads one value at the given depth, and nothing but white space around it.
func (s *scanner) whole(depth int) (span, bool) {
	if s.space() == 0 && s.at == len(s.b) {
		return span{}, s.fail("empty; want a JSON value, such as null")
	}
	from := s.at
	if !s.value(depth) {
		return span{}, false
	}
	to := s.at
	return span{from: from, to: to}, s.end()
}

// end wants nothing more than white space.
func (s *scanner) end() bool {
	if s.space(); s.at < len(s.b) {
		return s.fail("want the end")
	}
	return true
}

// value reads a value inside depth others.
func (s *scanner) value(depth int) bool {
	if s.at >= len(s.b) {
		return s.fail("want a value")
	}
	switch s.b[s.at] {
	case '"':
		_, ok := s.text()
		return ok
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) object(depth int) bool {
	if !s.open('{', depth) {
		return false
	}
	for first := true; ; first = false {
		if _, ok := s.member(first); !ok {
			return s.err == nil
		}
		if !s.value(depth + 1) {
			return false
		}
	}
}

func (s *scanner) array(depth int) bool {
	if !s.open('[', depth) {
		return false
	}
	if s.space() == ']' {
		s.at++
		return true
	}
	for {
		s.space()
		if !s.value(depth + 1) {
			return false
		}
		switch s.space() {
		case ',':
			s.at++
		case ']':
			s.at++
			return true
		default:
			return s.fail("want , or ]")
		}
	}
}

// open reads the bracket that opens an object or an array inside depth others.
func (s *scanner) open(bracket byte, depth int) bool {
	if s.at >= len(s.b) || s.b[s.at] != bracket {
		return s.fail("want a " + string(bracket))
	}
	if depth >= maxDepth {
		return s.fail("nested too deep")
	}
	s.at++
	return true
}

// member reads the name of an object's next member, up to its value. At the end of the object, which it reads too, and after an
// error it reports false.
func (s *scanner) member(first bool) (span, bool) {
	if i := s.at; !first && i+1 < len(s.b) && s.b[i] == ',' && s.b[i+1] == '"' {
		s.at++
	} else if !s.toMember(first) {
		return span{}, false
	}
	name, ok := s.text()
	if !ok {
		return span{}, false
	}
	if i := s.at; i+1 < len(s.b) && s.b[i] == ':' && s.b[i+1] > ' ' {
		s.at++
		return name, true
	}
	if s.space() != ':' {
		return span{}, s.fail("want :")
	}
	s.at++
	s.space()
	return name, true
}

// toMember reads up to the name of the next member, as member does.
func (s *scanner) toMember(first bool) bool {
	c := s.space()
	if c == '}' {
		s.at++
		return false
	}
	if !first {
		if c != ',' {
			return s.fail("want , or }")
		}
		s.at++
		s.space()
	}
	return true
}

// text reads a string.
func (s *scanner) text() (span, bool) {
	b, i := s.b, s.at
	if i >= len(b) || b[i] != '"' {
		return span{}, s.fail("want a string")
	}
	i++
	found := span{from: i}
	for i+8 <= len(b) && i < found.from+long { // what is escaped, wrong or long is looked at again
		marks := special(binary.LittleEndian.Uint64(b[i:])) & highs
		if marks == 0 {
			i += 8
			continue
		}
		if end := i + bits.TrailingZeros64(marks)/8; b[end] == '"' {
			found.to, s.at = end, end+1
			return found, true
		}
		break
	}
	for {
		i = plainUntil(b, i)
		s.at = i
		if i == len(b) {
			return span{}, s.fail("the string does not end")
		}
		switch b[i] {
		case '"':
			found.to = i
			s.at++
			return found, true
		case '\\':
			n := escape(b[i:])
			if n == 0 {
				return span{}, s.fail("unknown escape")
			}
			found.escaped = true
			i += n
		default:
			return span{}, s.fail("control character in a string")
		}
	}
}

func (s *scanner) literal(word string) bool {
	if !bytes.HasPrefix(s.b[s.at:], []byte(word)) {
		return s.fail("want a value")
	}
	s.at += len(word)
	return true
}

// number reads a number; it is also what reports a byte that no value starts with.
func (s *scanner) number() bool {
	b, i := s.b, s.at
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if n := digits(b[i:]); n > 0 {
		i += n
	} else {
		return s.fail("want a value")
	}
	if i < len(b) && b[i] == '.' {
		n := digits(b[i+1:])
		if n == 0 {
			return s.fail("want a digit behind the point of the number")
		}
		i += 1 + n
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n := digits(b[i:])
		if n == 0 {
			return s.fail("want a digit in the exponent of the number")
		}
		i += n
	}
	s.at = i
	return true
}

// digits is how many digits b starts with.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}
