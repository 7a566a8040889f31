package cache

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

// kind is what a record of the store says of its key.
type kind byte

const (
	holds   kind = 1 // a value
	deleted kind = 2 // a tombstone: whoever loaded the value before may not bring it back
	nothing kind = 3 // the source has no such value
)

// record is what the store has under a key.
type record struct {
	kind    kind
	version Version
	seq     uint64 // of the marks when the writer looked, before it knew the value: see marks
	tags    []tagMark
	payload []byte // of holds, encoded
}

// tagMark is a tag and what its key held when the writer looked. The record is invalid once it holds something else.
type tagMark struct{ tag, mark string }

const recordFormat = 1

var errRecord = errors.New("it is no record of a cache")

// bytes is r as the store has it.
func (r *record) bytes() []byte {
	dst := append(make([]byte, 0, 96+len(r.payload)), recordFormat, byte(r.kind))
	dst = binary.BigEndian.AppendUint64(dst, r.version.Clock)
	dst = append(dst, r.version.Priority)
	dst = appendText(dst, r.version.Node)
	dst = appendText(dst, r.version.Op)
	dst = binary.AppendUvarint(dst, r.seq)
	dst = binary.AppendUvarint(dst, uint64(len(r.tags)))
	for _, t := range r.tags {
		dst = appendText(dst, t.tag)
		dst = appendText(dst, t.mark)
	}
	return append(dst, r.payload...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseRecord reads what bytes made. The payload is a part of b.
func parseRecord(b []byte) (record, error) {
	if len(b) < 11 || b[0] != recordFormat || b[1] < byte(holds) || b[1] > byte(nothing) {
		return record{}, errRecord
	}
	r := record{kind: kind(b[1])}
	r.version.Clock = binary.BigEndian.Uint64(b[2:])
	r.version.Priority = b[10]
	p := parser{rest: b[11:]}
	r.version.Node = p.text()
	r.version.Op = p.text()
	r.seq = p.number()
	n := p.number()
	if n > uint64(len(p.rest)) {
		return record{}, errRecord
	}
	for range n {
		r.tags = append(r.tags, tagMark{p.text(), p.text()})
	}
	if p.bad {
		return record{}, errRecord
	}
	r.payload = p.rest
	return r, nil
}

type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) number() uint64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *parser) text() string {
	n := p.number()
	if n > uint64(len(p.rest)) {
		p.bad, p.rest = true, nil
		return ""
	}
	s := string(p.rest[:n])
	p.rest = p.rest[n:]
	return s
}

// badRecord is the error for a key that holds something else.
func badRecord(key string, err error) error {
	return fmt.Errorf("cache: key %q of the store: %w: delete it, or give the cache another name: %w", key, err, port.ErrInvalid)
}
