package cache

import (
	"encoding/binary"
	"time"

	"github.com/musterhq/muster/port"
)

// maxPatterns is how many invalidations by pattern are kept. With one more, everything is invalid.
const maxPatterns = 1024

// marks are the cache's invalidations of more than single keys, in the order in which they were made: each has a number. A record
// carries the number that its writer had seen before it knew the value, and is invalid if a later one fits it. Numbers come
// from compare-and-set on one key, so no clock decides here.
//
// The store has two keys: the digest, which is read with every record, and the whole, which is read when the digest is
// ahead of what this node knows. Both are written in one step with the entry of the log.
type marks struct {
	Top   uint64    // the last invalidation
	Clear uint64    // the last one that left nothing
	List  []pattern // those after Clear, oldest first
}

type pattern struct {
	Seq  uint64
	Glob string
	At   int64 // Unix milliseconds by its writer's clock
}

// hits reports whether an invalidation after number after fits the key of a record that was written at number seq.
func (m *marks) hits(key string, seq, after uint64) bool {
	if seq < m.Clear || seq > m.Top { // from before the last clear; or of marks that the store has lost
		return true
	}
	for i := len(m.List) - 1; i >= 0 && m.List[i].Seq > after; i-- {
		if port.Match(m.List[i].Glob, key) {
			return true
		}
	}
	return false
}

// add is m with one more invalidation: of what matches glob, or of everything. It forgets patterns older than keep (0: never), which
// no record can be older than.
func (m *marks) add(glob string, everything bool, keep time.Duration) *marks {
	now := time.Now()
	next := &marks{Top: max(m.Top+1, uint64(now.UnixMicro())), Clear: m.Clear}
	for _, p := range m.List {
		if p.Glob == glob || keep > 0 && now.Sub(time.UnixMilli(p.At)) > keep {
			continue
		}
		next.List = append(next.List, p)
	}
	next.List = append(next.List, pattern{Seq: next.Top, Glob: glob, At: now.UnixMilli()})
	if everything || len(next.List) > maxPatterns {
		next.List, next.Clear = nil, next.Top
	}
	return next
}

// with is m after the invalidation that came next.
func (m *marks) with(op Op) *marks {
	next := &marks{Top: op.Seq, Clear: m.Clear}
	if op.Kind == OpClear || len(op.Names) != 1 {
		next.Clear = op.Seq
		return next
	}
	next.List = make([]pattern, 0, len(m.List)+1)
	for _, p := range m.List {
		if p.Glob != op.Names[0] {
			next.List = append(next.List, p)
		}
	}
	next.List = append(next.List, pattern{Seq: op.Seq, Glob: op.Names[0]})
	if len(next.List) > maxPatterns { // older ones than the store keeps
		next.List = next.List[1:]
		next.Clear = next.List[0].Seq - 1
	}
	return next
}

// digest is what is read with every record.
func (m *marks) digest() []byte {
	return binary.AppendUvarint([]byte{recordFormat}, m.Top)
}

func parseDigest(v port.Value) (top uint64, err error) {
	if !v.Found {
		return 0, nil
	}
	if len(v.Bytes) == 0 || v.Bytes[0] != recordFormat {
		return 0, badRecord(v.Key, errRecord)
	}
	p := parser{rest: v.Bytes[1:]}
	top = p.number()
	if p.bad {
		return 0, badRecord(v.Key, errRecord)
	}
	return top, nil
}

func parseMarks(v port.Value) (*marks, error) {
	m := new(marks)
	if !v.Found {
		return m, nil
	}
	if len(v.Bytes) == 0 || v.Bytes[0] != recordFormat {
		return nil, badRecord(v.Key, errRecord)
	}
	p := parser{rest: v.Bytes[1:]}
	m.Top, m.Clear = p.number(), p.number()
	for n := p.number(); n > 0 && !p.bad; n-- {
		m.List = append(m.List, pattern{Seq: p.number(), Glob: p.text(), At: int64(p.number())})
	}
	if p.bad {
		return nil, badRecord(v.Key, errRecord)
	}
	return m, nil
}

// whole is what the digest is of.
func (m *marks) whole() []byte {
	b := []byte{recordFormat}
	b = binary.AppendUvarint(b, m.Top)
	b = binary.AppendUvarint(b, m.Clear)
	b = binary.AppendUvarint(b, uint64(len(m.List)))
	for _, p := range m.List {
		b = binary.AppendUvarint(b, p.Seq)
		b = appendText(b, p.Glob)
		b = binary.AppendUvarint(b, uint64(p.At))
	}
	return b
}
