package nats

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// mark is an ID that a group remembers, and until when.
type mark struct {
	id  hash
	end int64
}

// marks are the IDs that a group acknowledged last, in its record. All marks of a group are numbered in the order in which they
// came. Those before the first that is here stand in a log of their own, or are over.
type marks struct {
	first uint64
	list  []mark
}

func (m *marks) end() uint64 { return m.first + uint64(len(m.list)) }

// cut gives up the marks before the one of that number.
func (m *marks) cut(first uint64) {
	n := min(first, m.end()) - min(m.first, first)
	m.list = m.list[n:]
	m.first += n
}

const (
	// leastMarks is how many marks stand in the record of the group before they are copied into their log, where acknowledgements
	// come a few at a time. Where many come at once there are as many as stepsMarks steps bring, up to nearMarks: the record is
	// larger, and the log is written to less often. The next write of the record gives them up: so an acknowledgement is one record,
	// remembered or not, and no mark is missing in between.
	leastMarks = 256
	stepsMarks = 4
	nearMarks  = 768

	// mostMarks is how many there are when the process that copies them, and one that ends before it writes the record again, do
	// not get any further: then they go into the log in the step that writes the record.
	mostMarks = 3072
)

// memory is what this process knows of all that a group remembers.
type memory struct {
	used time.Time // under the backend's lock

	mu      sync.Mutex
	ids     map[hash]int64
	upto    uint64 // all marks of a smaller number are in ids, or are over
	logged  uint64 // and all of a number smaller than this are in the log
	seq     uint64 // up to this sequence the log was read
	connect uint64 // the connection for which that holds: a server that starts may have lost what it had not synced
	sweep   int    // with so many, those that are over are looked for
}

// memoryOf is the memory of the group with that number.
func (b *Backend) memoryOf(serial uint64) *memory {
	b.mu.Lock()
	m := b.memories[serial]
	if m == nil {
		m = &memory{ids: map[hash]int64{}, sweep: 1 << 16}
		b.memories[serial] = m
	}
	m.used = time.Now()
	b.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := b.conn.Stats().Reconnects; m.connect != n {
		m.connect, m.upto, m.logged, m.seq = n, 0, 0, 0
	}
	return m
}

// follow takes in the marks of a record that was read, and reports whether everything before them is known.
func (m *memory) follow(r *marks) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.upto < r.first {
		return false
	}
	if m.upto < r.end() {
		m.add(r.list[m.upto-r.first:])
		m.upto = r.end()
	}
	return true
}

// wrote takes in the marks of a record that was written, behind those that were there. Seq is that of a record of the log that was
// written just before, or 0.
func (m *memory) wrote(connect uint64, list []mark, end, seq uint64, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.connect != connect || m.upto < end-uint64(len(list)) {
		return // more than this has to be read before anybody is told
	}
	m.add(list)
	m.upto = max(m.upto, end)
	m.seq = max(m.seq, seq)
	m.tidy(now)
}

// wroteLog takes in that the marks up to the number end were copied into the log.
func (m *memory) wroteLog(connect, end uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.connect == connect {
		m.logged = max(m.logged, end)
	}
}

// take takes in a record of the log. It has the marks up to the number end.
func (m *memory) take(list []mark, end, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(list)
	m.logged, m.seq = max(m.logged, end), max(m.seq, seq)
}

// reached takes in that the log was read to its end, when the record of the group began with the mark of that number. What is not
// in the log any more is over.
func (m *memory) reached(first uint64, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upto = max(m.upto, first)
	m.tidy(now)
}

func (m *memory) add(list []mark) {
	for _, k := range list {
		m.ids[k.id] = max(m.ids[k.id], k.end)
	}
}

// tidy gives up what is over, when there is much.
func (m *memory) tidy(now int64) {
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

func (m *memory) until(id hash) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[id]
}

// inLog is the number before which every mark is in the log, and the connection for which that holds.
func (m *memory) inLog() (end, connect uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.logged, m.connect
}

func (m *memory) read() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seq
}

// remembers reports whether the group has acknowledged the ID before.
func (t *tx) remembers(s *groupState, id hash) (bool, error) {
	if !s.mindful {
		return false, nil
	}
	if s.memory == nil {
		m := t.b.memoryOf(s.serial)
		if !m.follow(&marks{first: s.recent.first, list: s.recent.list[:s.written-s.recent.first]}) {
			t.run.need.memories[s.serial] = s.recent.first
			return false, errMissing
		}
		s.memory, s.now = m, t.b.sinceEarly()
	}
	return max(s.memory.until(id), s.added[id]) > s.now, nil
}

// remember notes the ID in the record of the group.
func (s *groupState) remember(id hash, end int64) {
	if s.added == nil {
		s.added = make(map[hash]int64, len(s.loaned))
		s.recent.list = slices.Grow(s.recent.list, len(s.loaned))
	}
	s.mindful = true
	s.recent.list = append(s.recent.list, mark{id: id, end: end})
	s.added[id] = max(s.added[id], end)
}

// shed keeps the marks of a record few: it gives up what is over or stands in the log, and copies into the log what was written
// before, when that is much.
func (t *tx) shed(s *groupState) {
	if len(s.recent.list) == 0 {
		return
	}
	r, now, m := &s.recent, t.b.sinceEarly(), t.b.memoryOf(s.serial)
	added := r.list[s.written-r.first:]
	end := r.end()
	over := 0
	for over < len(r.list) && r.list[over].end <= now {
		over++
	}
	inLog, connect := m.inLog()
	r.cut(max(r.first+uint64(over), inLog))
	var seq uint64
	switch {
	case len(r.list) >= mostMarks:
		t.chunks = append(t.chunks, t.logMarks(s, end, now))
		t.after = append(t.after, func() { m.wroteLog(connect, end) })
		r.cut(end)
	case len(added) > 0 && s.written >= r.first+uint64(min(max(leastMarks, stepsMarks*len(added)), nearMarks)):
		upto := s.written
		t.ahead = append(t.ahead, ahead{out: t.logMarks(s, upto, now), done: func(at uint64) {
			m.wroteLog(connect, upto)
			seq = at
		}})
	}
	t.after = append(t.after, func() { m.wrote(connect, added, end, seq, now) })
}

// logMarks is a record of the log with the marks of a group up to the number end.
func (t *tx) logMarks(s *groupState, end uint64, now int64) out {
	var list []mark
	last := now
	for _, k := range s.recent.list[:end-s.recent.first] {
		if k.end > now {
			list = append(list, k)
			last = max(last, k.end)
		}
	}
	return out{
		subject: t.b.space.remembered(s.serial), append: true, expect: -1, chunk: &chunk{},
		write: write{data: appendMarks(appendUint(nil, end), list), ttl: t.b.span(last)},
	}
}

// appendMarks writes each end as the difference to the one before: as a rule they are close.
func appendMarks(b []byte, list []mark) []byte {
	b = appendUint(b, len(list))
	before := int64(0)
	for _, k := range list {
		b = append(b, k.id[:]...)
		b = appendInt(b, k.end-before)
		before = k.end
	}
	return b
}

func (r *reader) marks() []mark {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]mark, n)
	end := int64(0)
	for i := range list {
		id := r.hash()
		end += r.int()
		list[i] = mark{id: id, end: end}
	}
	return list
}

// loadMemory reads on in the log of what a group remembers, whose record began with the mark of that number. Records of which all
// marks are over the server has deleted.
func (b *Backend) loadMemory(ctx context.Context, v *view, serial, first uint64) error {
	m := b.memoryOf(serial)
	for {
		a, err := v.walk(ctx, directGet{Seq: m.read() + 1, Next: b.space.remembered(serial), Batch: readChunks, Bytes: readBytes})
		if err != nil {
			return err
		}
		for _, rec := range a.list {
			r := &reader{b: rec.data}
			end, marks := r.uint(), r.marks()
			if err := r.err(); err != nil {
				return fmt.Errorf("remembered IDs: %w: %w", port.ErrUnavailable, err)
			}
			m.take(marks, end, rec.seq)
		}
		if !a.more || len(a.list) == 0 {
			m.reached(first, b.sinceEarly())
			return nil
		}
	}
}
