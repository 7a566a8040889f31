package nats

import "github.com/musterhq/muster/port"

// offsetLen is era, sequence, index and time, in hexadecimal with a fixed width: so offsets of one topic sort as strings.
const offsetLen = 16 + 1 + 16 + 4 + 1 + 16

// offset of an entry. The time of its chunk tells a log that lost its end and went on.
func offset(era uint64, p place, at int64) port.Offset {
	var b [offsetLen]byte
	text := append(appendHex(b[:0], era, 16), '-')
	text = append(appendHex(appendHex(text, p.seq, 16), uint64(p.idx), 4), '-')
	return port.Offset(appendHex(text, uint64(at), 16))
}

// appendHex appends n in hexadecimal, with so many digits.
func appendHex(b []byte, n uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&15])
	}
	return b
}

// spot is an offset taken apart.
type spot struct {
	era uint64
	place
	at int64
}

func parseOffset(o port.Offset) (spot, bool) {
	if len(o) != offsetLen || o[16] != '-' || o[37] != '-' {
		return spot{}, false
	}
	era, ok1 := hexNumber(string(o[:16]))
	seq, ok2 := hexNumber(string(o[17:33]))
	idx, ok3 := hexNumber(string(o[33:37]))
	at, ok4 := hexNumber(string(o[38:]))
	return spot{era: era, place: place{seq: seq, idx: uint32(idx)}, at: int64(at)}, ok1 && ok2 && ok3 && ok4
}

func hexNumber(s string) (uint64, bool) {
	n := uint64(0)
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, len(s) > 0 && len(s) <= 16
}
