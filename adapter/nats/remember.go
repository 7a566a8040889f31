package nats

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// mark is an ID that a group remembers, and until when.
type mark struct {
	id  hash
	end int64
}

// nearMarks is how many marks stand in the record of the group, before all of them become a chunk in a log of their own: so an
// acknowledgement is one record as a rule, remembered or not.
const nearMarks = 1024

// memory is what a group remembers beside its record, as far as this process has read it. It is right for a record with that many
// spills.
type memory struct {
	used time.Time // under the backend's lock

	mu     sync.Mutex
	spills uint64
	seq    uint64
	ids    map[hash]int64
	sweep  int // with so many, those that are over are looked for
}

func (b *Backend) memoryOf(serial uint64) *memory {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.memories[serial]
	if m == nil {
		m = &memory{ids: map[hash]int64{}, sweep: 1 << 16}
		b.memories[serial] = m
	}
	m.used = time.Now()
	return m
}

func (m *memory) until(id hash, spills uint64) (end int64, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[id], m.spills >= spills
}

// take adds a chunk of marks.
func (m *memory) take(spills, seq uint64, list []mark, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seq, m.spills = max(m.seq, seq), max(m.spills, spills)
	for _, k := range list {
		m.ids[k.id] = max(m.ids[k.id], k.end)
	}
	if len(m.ids) < m.sweep {
		return
	}
	for id, end := range m.ids {
		if end <= now {
			delete(m.ids, id)
		}
	}
	m.sweep = max(2*len(m.ids), 1<<16)
}

func (m *memory) read() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seq
}

// remembers reports whether the group has acknowledged the ID, in its record or before.
func (t *tx) remembers(s *groupState, id hash) (bool, error) {
	if !s.mindful {
		return false, nil
	}
	if s.marks == nil {
		s.marks = make(map[hash]int64, len(s.recent))
		for _, k := range s.recent {
			s.marks[k.id] = max(s.marks[k.id], k.end)
		}
	}
	end, ready := t.b.memoryOf(s.serial).until(id, s.spills)
	if !ready {
		t.run.need.memories[s.serial] = s.spills
		return false, errMissing
	}
	return max(end, s.marks[id]) > t.b.sinceEarly(), nil
}

// remember notes the ID in the record of the group.
func (s *groupState) remember(id hash, end int64) {
	s.mindful = true
	s.recent = append(s.recent, mark{id: id, end: end})
	if s.marks != nil {
		s.marks[id] = max(s.marks[id], end)
	}
}

// spillMarks moves the marks of a record that has many into their log.
func (t *tx) spillMarks(s *groupState) {
	if len(s.recent) < nearMarks {
		return
	}
	now := t.b.sinceEarly()
	var list []mark
	last := now
	for _, k := range s.recent {
		if k.end > now {
			list = append(list, k)
			last = max(last, k.end)
		}
	}
	s.recent, s.marks = nil, nil
	if len(list) == 0 {
		return
	}
	s.spills++
	spills, serial := s.spills, s.serial
	data := appendMarks(appendUint(nil, spills), list)
	t.chunks = append(t.chunks, out{
		subject: t.b.space.remembered(serial), append: true, expect: -1, chunk: &chunk{},
		write: write{data: data, ttl: t.b.span(last)},
	})
	t.after = append(t.after, func() { t.b.memoryOf(serial).take(spills, 0, list, now) })
}

func appendMarks(b []byte, list []mark) []byte {
	b = appendUint(b, len(list))
	for _, k := range list {
		b = append(b, k.id[:]...)
		b = appendUint(b, k.end)
	}
	return b
}

func (r *reader) marks() []mark {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]mark, n)
	for i := range list {
		list[i] = mark{id: r.hash(), end: int64(r.uint())}
	}
	return list
}

// loadMemory reads on in the log of what a group remembers. Chunks of which all marks are over the server has deleted.
func (b *Backend) loadMemory(ctx context.Context, v *view, serial, spills uint64) error {
	m := b.memoryOf(serial)
	for {
		a, err := v.walk(ctx, directGet{Seq: m.read() + 1, Next: b.space.remembered(serial), Batch: readChunks, Bytes: readBytes})
		if err != nil {
			return err
		}
		now := b.sinceEarly()
		for _, rec := range a.list {
			r := &reader{b: rec.data}
			n, marks := r.uint(), r.marks()
			if err := r.err(); err != nil {
				return fmt.Errorf("remembered IDs: %w: %w", port.ErrUnavailable, err)
			}
			m.take(n, rec.seq, marks, now)
		}
		if !a.more || len(a.list) == 0 {
			m.take(spills, 0, nil, now)
			return nil
		}
	}
}
