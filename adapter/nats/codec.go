package nats

import (
	"encoding/binary"
	"errors"
)

var errBroken = errors.New("a record of this namespace cannot be read: it was written by somebody else, or by a newer version")

// reader takes apart what append* put together. After the first mistake everything it gives is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) hash() (h hash) {
	if len(r.b) < len(h) {
		r.bad, r.b = true, nil
		return h
	}
	copy(h[:], r.b)
	r.b = r.b[len(h):]
	return h
}

// count is the length of a list of things of at least one byte each.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) err() error {
	if r.bad {
		return errBroken
	}
	return nil
}

func appendUint[N ~uint64 | ~int64 | ~int | ~uint32](b []byte, v N) []byte {
	return binary.AppendUvarint(b, uint64(v))
}

func appendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func appendBytes[S ~string | ~[]byte](b []byte, v S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}
