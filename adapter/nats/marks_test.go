package nats

import (
	"fmt"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
)

// ledger is a group in a backend without a server, whose record is written by hand.
type ledger struct {
	b *Backend
	s *groupState
}

func newLedger() *ledger {
	b := &Backend{conn: &client.Conn{}, space: spaceOf("team"), memories: map[uint64]*memory{}}
	b.clock.learn(time.Now(), time.Now(), time.Now())
	return &ledger{b: b, s: (&groupState{serial: 7}).clone()}
}

// step acknowledges n IDs and writes the record. It returns what the step wrote.
func (l *ledger) step(n int) *tx {
	r := &run{b: l.b, need: newNeeds()}
	t := newTx(r)
	for range n {
		l.s.remember(hashOf(fmt.Sprint(l.s.recent.end())), l.b.after(time.Hour))
	}
	t.shed(l.s)
	for _, fn := range t.after {
		fn()
	}
	l.s = l.s.clone()
	return t
}

// marksOf are the marks in a record of their log, and the number of the one that follows.
func marksOf(t *testing.T, o out) (list []mark, end uint64) {
	t.Helper()
	r := &reader{b: o.data}
	end, list = r.uint(), r.marks()
	if err := r.err(); err != nil {
		t.Fatal(err)
	}
	return list, end
}

func TestMarksLeaveTheRecordOnlyWhenTheirLogHasThem(t *testing.T) {
	l := newLedger()
	for range leastMarks / 8 {
		if w := l.step(8); len(w.ahead)+len(w.chunks) > 0 {
			t.Fatalf("with %d marks in the record the log is written to", len(l.s.recent.list))
		}
	}
	first := l.step(8)
	if len(first.ahead) != 1 || len(first.chunks) > 0 {
		t.Fatalf("%d records ahead and %d with the step; want 1 ahead", len(first.ahead), len(first.chunks))
	}
	list, end := marksOf(t, first.ahead[0].out)
	if len(list) != leastMarks || end != leastMarks || list[leastMarks-1].id != hashOf(fmt.Sprint(leastMarks-1)) {
		t.Errorf("the log has %d marks up to %d; want the %d that were written before, and none of the step", len(list), end, leastMarks)
	}
	l.step(8) // nobody has heard whether the log was written
	if got := len(l.s.recent.list); got != leastMarks+16 {
		t.Errorf("%d marks are left, want all %d: the log may not have them", got, leastMarks+16)
	}
	first.ahead[0].done(100)
	l.step(8)
	if got, from := len(l.s.recent.list), l.s.recent.first; got != 24 || from != leastMarks {
		t.Errorf("%d marks from number %d on are left, want 24 from %d on", got, from, leastMarks)
	}
}

func TestWhatTheLogHadIsNotBelievedAfterTheConnectionBroke(t *testing.T) {
	for name, cut := range map[string]func(l *ledger, done func()){
		"before the answer": func(l *ledger, done func()) { l.b.conn.Reconnects++; l.b.memoryOf(7); done() },
		"after the answer":  func(l *ledger, done func()) { done(); l.b.conn.Reconnects++ },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			l.step(nearMarks)
			w := l.step(1)
			if len(w.ahead) != 1 {
				t.Fatalf("%d records ahead, want 1", len(w.ahead))
			}
			cut(l, func() { w.ahead[0].done(100) })
			l.step(1)
			if got := len(l.s.recent.list); got != nearMarks+2 {
				t.Errorf("%d marks are left, want all %d: the server may have lost its log", got, nearMarks+2)
			}
		})
	}
}

func TestMarksThatNobodyGetsIntoTheirLogGoTogetherWithTheRecord(t *testing.T) {
	l := newLedger()
	var w *tx
	for len(l.s.recent.list) > 0 || l.s.recent.first == 0 {
		if w = l.step(100); l.s.recent.end() > mostMarks+100 {
			t.Fatalf("%d marks are in the record", len(l.s.recent.list))
		}
	}
	if len(w.chunks) != 1 {
		t.Fatalf("the step that gave up all marks has %d records of their log, want 1", len(w.chunks))
	}
	if list, end := marksOf(t, w.chunks[0]); uint64(len(list)) != end || end != l.s.recent.first || end < mostMarks {
		t.Errorf("the log has %d marks up to %d, the record goes on at %d", len(list), end, l.s.recent.first)
	}
}

func TestMarksThatAreOverGoWithoutTheirLog(t *testing.T) {
	l := newLedger()
	for range 5 {
		l.s.remember(hashOf(fmt.Sprint(l.s.recent.end())), l.b.sinceEarly()-1)
	}
	w := l.step(1)
	if got, from := len(l.s.recent.list), l.s.recent.first; got != 1 || from != 5 || len(w.ahead)+len(w.chunks) > 0 {
		t.Errorf("%d marks from number %d on are left, and the log was written to %d times; want 1 from 5 on, and none", got, from, len(w.ahead)+len(w.chunks))
	}
}

func TestAMemoryThatMissesMarksSaysSo(t *testing.T) {
	m := &memory{ids: map[hash]int64{}, sweep: 1 << 16}
	at := func(n int) mark { return mark{id: hashOf(fmt.Sprint(n)), end: never} }
	if !m.follow(&marks{list: []mark{at(0), at(1)}}) || m.until(at(1).id) != never {
		t.Error("the first marks of a group are not known")
	}
	gap := &marks{first: 3, list: []mark{at(3)}}
	if m.follow(gap) {
		t.Error("mark 2 is in the log alone, and all is said to be known")
	}
	m.wrote(0, []mark{at(3)}, 4, 9, 0)
	if m.upto != 2 || m.read() != 0 {
		t.Errorf("after a write beyond a gap all marks before %d are said to be known, the log up to %d; want 2 and 0", m.upto, m.read())
	}
	m.take([]mark{at(2)}, 3, 8)
	m.reached(3, 0)
	if !m.follow(gap) || m.until(at(2).id) != never || m.until(at(3).id) != never || m.read() != 8 {
		t.Error("what the log and the record have is not known")
	}
}
