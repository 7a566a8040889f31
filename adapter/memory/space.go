package memory

import (
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// space is one namespace: all that the handles of it share. Its mutex guards everything but signals and hints, which have
// their own and are never locked around it.
type space struct {
	mu   sync.Mutex
	born time.Time

	topics  map[string]*topic
	latest  *topic               // the one that was asked for last
	era     uint64               // of the newest topic
	serial  uint32               // of the newest group
	readers map[string][]*waiter // Reads that wait, by topic
	touched []*topic             // have to be looked after before the lock is let go

	batches ids
	fences  map[fenceKey]uint64
	steps   []*step // decided and not finished, in the order of their decisions
	scratch step    // of the step that is carried out under one lock

	keys   keys
	leases leases

	signals hub[port.Signal]
	hints   hub[port.Lease]
}

func newSpace() *space {
	return &space{
		born:    time.Now(),
		topics:  map[string]*topic{},
		readers: map[string][]*waiter{},
		fences:  map[fenceKey]uint64{},
		keys:    keys{values: map[string]*value{}},
		leases:  leases{records: map[string]*record{}, most: leastSweep},
	}
}

// moment is a time on both clocks: t for people, ns (since the space was made, monotonic) for what is due.
type moment struct {
	t  time.Time
	ns int64
}

func (s *space) now() moment {
	t := time.Now()
	return moment{t: t, ns: int64(t.Sub(s.born))}
}

// after is now and d, in whole milliseconds rounded up, or never.
func (m moment) after(d time.Duration) int64 {
	ms := port.Millis(d)
	if ms > (never-m.ns)/int64(time.Millisecond) {
		return never
	}
	return m.ns + ms*int64(time.Millisecond)
}

// until is how long it is until at; 0 when that is past.
func (m moment) until(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return max(0, int64(at.Sub(m.t)))
}

// wall is the wall clock's time, in nanoseconds, when the other clock shows or showed ns.
func (m moment) wall(ns int64) int64 { return m.t.UnixNano() - (m.ns - ns) }

// topic is the topic of that name, or nil.
func (s *space) topic(name string) *topic {
	if s.latest != nil && s.latest.conf.Name == name {
		return s.latest
	}
	t := s.topics[name]
	if t != nil {
		s.latest = t
	}
	return t
}

// group is the group of that name, or nil.
func (s *space) group(topic, name string) *group {
	if t := s.topic(topic); t != nil {
		return t.group(name)
	}
	return nil
}

// create is the topic of that name, made with the defaults if there is none.
func (s *space) create(name string, now moment) *topic {
	if t := s.topic(name); t != nil {
		return t
	}
	s.era = max(s.era+1, uint64(now.t.UnixMicro())) // so that offsets of another store are foreign, too
	t := newTopic(port.Topic{Name: name}.Over(port.Topic{}), s.era)
	s.topics[name] = t
	return t
}

// touch has t looked after by flush: something was added to it, came back to one of its groups, or was finished.
func (s *space) touch(t *topic) {
	if !t.touched {
		t.touched = true
		s.touched = append(s.touched, t)
	}
}

// flush trims what was touched and wakes those who wait for what is there. It is called before the lock is let go.
func (s *space) flush(now moment) {
	for i, t := range s.touched {
		s.touched[i] = nil
		t.touched = false
		t.trim(now)
		for _, g := range t.groups {
			g.notify(now)
		}
		if t.news {
			t.news = false
			s.wakeReaders(t.conf.Name)
		}
	}
	s.touched = s.touched[:0]
}

// wakeReaders has every Read that waits for the topic look again.
func (s *space) wakeReaders(topic string) {
	for _, w := range s.readers[topic] {
		w.signal()
	}
	delete(s.readers, topic)
}

// waiter is one call that waits for something in the space.
type waiter struct {
	wake    chan none
	woken   bool // it was taken off the list that it stood in
	limit   int  // of a Fetch
	promise int  // for how much it was woken
}

func (w *waiter) signal() {
	w.woken = true
	w.wake <- none{} // has room for the one signal that a waiter gets
}

func newWaiter(limit int) *waiter { return &waiter{wake: make(chan none, 1), limit: limit} }
