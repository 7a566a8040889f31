package memory

import (
	"fmt"
	"slices"
	"testing"

	"github.com/musterhq/muster/port"
)

// written is a log with n messages whose bodies have so many bytes, written as one batch.
func written(n, size int) *log {
	var ms []port.Message
	for i := range n {
		ms = append(ms, port.Message{Topic: "orders", ID: fmt.Sprintf("m%03d", i), Key: fmt.Sprint(i % 3), Body: slices.Repeat([]byte{byte(i)}, size)})
	}
	var k kept
	k.add(ms)
	l := newLog(1)
	for i := range k.entries {
		l.append(&k.entries[i], k.blocks[k.entries[i].block], 1)
	}
	return &l
}

// held is how many blocks a log holds.
func held(l *log) (n int) {
	for _, c := range l.chunks {
		n += len(c.blocks) - len(slices.DeleteFunc(slices.Clone(c.blocks), func(b *block) bool { return b != nil }))
	}
	return n
}

// Rule: what is kept is what was written, whatever shares its block, and a block is let go with the last of its entries.
func TestABlockIsKeptAsLongAsOneOfItsEntries(t *testing.T) {
	for _, size := range []int{0, 1, 256, 2000, blockBytes, blockBytes + 1} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			const n = 2*chunkSize + 70
			l := written(n, size)
			for i := range n {
				e, b := l.show(l.first)
				var m port.Message
				e.show(b, &m)
				if m.ID != fmt.Sprintf("m%03d", i) || m.Key != fmt.Sprint(i%3) || !slices.Equal(m.Body, slices.Repeat([]byte{byte(i)}, size)) {
					t.Fatalf("entry %d is %s about %s with %d bytes", i, m.ID, m.Key, len(m.Body))
				}
				before, next := held(l), b
				l.shift()
				if l.first < l.next {
					_, next = l.show(l.first)
				}
				if gone := before - held(l); gone > 0 != (next != b || l.first == l.next || (l.first-1)%chunkSize == 0) {
					t.Fatalf("%d blocks were let go with entry %d", gone, i)
				}
			}
			if left := held(l); left != 0 || l.bytes != 0 || l.count != 0 {
				t.Errorf("%d blocks, %d bytes and %d entries are left", left, l.bytes, l.count)
			}
		})
	}
}

// Rule: a body that was removed takes no memory where it shares none.
func TestARemovedBodyIsLetGo(t *testing.T) {
	l := written(3, blockBytes)
	l.remove(2)
	e, b := l.show(2)
	if len(b.bodies) != 0 || e.id(b) != "m001" || l.bytes != 2*blockBytes {
		t.Errorf("%q has %d bytes in a log of %d", e.id(b), len(b.bodies), l.bytes)
	}
	if _, after := l.show(3); len(after.bodies) != blockBytes {
		t.Errorf("the next one has %d bytes", len(after.bodies))
	}
}
