package nats

import (
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// errMissing tells that a step looked at what was not read yet. What it looked at is noted; when it was read the step is
// taken again from the start.
var errMissing = errors.New("not read yet")

// cell is the last record of a subject, as it was read.
type cell struct {
	rev   uint64 // its sequence; 0: there is no record
	found bool   // false: there is none, or it says that the cell is empty
	end   int64  // of a key: when it ends, in the server's milliseconds; 0: never
	at    time.Time
	data  []byte
	group *groupState // what data says, where it is that and was looked at; it is not changed any more
}

// write is what becomes of a cell.
type write struct {
	data  []byte
	gone  bool
	ttl   time.Duration // when the server may forget the record; 0: never
	end   int64
	blind bool // whatever is there
}

// tx is a step, or several, that are decided together: what they have read, and what they will write. Everything is decided
// before anything is changed, so that a step that is refused leaves no trace in the steps beside it.
type tx struct {
	list    []out // what was to be written
	b       *Backend
	run     *run
	order   []string // of the cells that are written
	writes  map[string]write
	topics  map[string]*topicState
	groups  map[string]*groupState
	delayed map[string]*delayedState
	removed map[string]*removedState
	logs    map[string]*appends
	late    []func() (string, write, error) // the states that are encoded when all steps are decided
	touched map[any]bool
	chunks  []out   // of other logs than topics'
	ahead   []ahead // what is written just before, whatever becomes of the step
	hints   map[string]bool
	after   []func() // when the step has been made
	changes int
	refused bool // a step was
}

func newTx(r *run) *tx {
	return &tx{
		b: r.b, run: r, writes: map[string]write{}, topics: map[string]*topicState{}, groups: map[string]*groupState{},
		delayed: map[string]*delayedState{}, removed: map[string]*removedState{}, logs: map[string]*appends{},
		touched: map[any]bool{}, hints: map[string]bool{},
	}
}

// want notes cells to be read, so that they are read together. It reports whether all of them are there.
func (t *tx) want(subjects ...string) bool {
	ok := true
	for _, s := range subjects {
		if t.run.cells[s] == nil {
			t.run.need.cells[s] = true
			ok = false
		}
	}
	return ok
}

// get is a cell as the steps before have left it.
func (t *tx) get(subject string) (*cell, error) {
	if !t.want(subject) {
		return nil, errMissing
	}
	c := t.run.cells[subject]
	if w, ok := t.writes[subject]; ok {
		c = &cell{rev: c.rev, found: !w.gone, end: w.end, at: c.at, data: w.data}
	}
	return c, nil
}

// absent is a cell that is believed to be empty until the server says otherwise: then it is read as others are.
func (t *tx) absent(subject string) (*cell, error) {
	if w, ok := t.writes[subject]; ok {
		return &cell{found: !w.gone, data: w.data, end: w.end}, nil
	}
	if t.run.cells[subject] == nil && !t.run.doubt {
		t.run.cells[subject] = &cell{}
	}
	return t.get(subject)
}

// renew has a cell read in this run, where it may be older.
func (t *tx) renew(subject string) (fresh bool) {
	if t.run.fresh[subject] {
		return true
	}
	delete(t.run.cells, subject)
	t.run.need.cells[subject] = true
	return false
}

func (t *tx) put(subject string, w write) {
	if before, again := t.writes[subject]; again {
		w.blind = before.blind // the condition is that of the first: it was the one that looked at what is there
	} else {
		t.order = append(t.order, subject)
	}
	t.writes[subject] = w
	t.changes++
}

// empty deletes a cell; the server forgets it soon after.
func (t *tx) empty(subject string) { t.put(subject, write{gone: true, ttl: tombstone}) }

// touch has a state encoded and written when all steps are decided.
func (t *tx) touch(state any, subject string, encode func() ([]byte, error)) {
	t.changes++
	if t.touched[state] {
		return
	}
	t.touched[state] = true
	t.late = append(t.late, func() (string, write, error) {
		data, err := encode()
		return subject, write{data: data}, err
	})
}

// finish encodes the states.
func (t *tx) finish() error {
	for i := 0; i < len(t.late); i++ {
		subject, w, err := t.late[i]()
		if err != nil {
			return err
		}
		if old, ok := t.writes[subject]; ok && old.gone {
			continue // it was given up since
		}
		t.put(subject, w)
	}
	t.late = nil
	return nil
}

// tombstone is how long the server keeps a record that says that its cell is empty.
const tombstone = time.Second

// topic is the record of a topic; one that is not there has no era.
func (t *tx) topic(name string) (*topicState, error) {
	subject := t.b.space.topic(name)
	if s := t.topics[subject]; s != nil {
		return s, nil
	}
	c, err := t.get(subject)
	if err != nil {
		return nil, err
	}
	s := &topicState{}
	if c.found {
		if s, err = decodeTopic(c.data); err != nil {
			return nil, fmt.Errorf("topic %q: %w", name, err)
		}
	}
	t.topics[subject] = s
	return s, nil
}

func (t *tx) touchTopic(name string, s *topicState) {
	t.touch(s, t.b.space.topic(name), s.encode)
}

// group is the record of a group, or nil when there is none.
func (t *tx) group(topic, name string) (*groupState, error) {
	subject := t.b.space.group(topic, name)
	if s := t.groups[subject]; s != nil {
		return s, nil
	}
	c, err := t.get(subject)
	if err != nil || !c.found {
		return nil, err
	}
	if c.group == nil {
		if c.group, err = decodeGroup(c.data); err != nil {
			return nil, fmt.Errorf("group %q of topic %q: %w", name, topic, err)
		}
	}
	s := c.group.clone()
	s.size = len(c.data)
	t.groups[subject] = s
	return s, nil
}

func (t *tx) touchGroup(topic, name string, s *groupState) {
	if t.changes++; t.touched[s] {
		return // as each settlement of many does
	}
	t.touch(s, t.b.space.group(topic, name), func() ([]byte, error) {
		s.spill(s.number, func(id uint64, items []item) { t.putPage(topic, name, id, items) })
		t.shed(s)
		s.tidy()
		return s.encode(), nil
	})
}

// later is what a topic has that is not due.
func (t *tx) later(topic string) (*delayedState, error) {
	subject := t.b.space.delayed(topic)
	if s := t.delayed[subject]; s != nil {
		return s, nil
	}
	c, err := t.get(subject)
	if err != nil {
		return nil, err
	}
	s := &delayedState{}
	if c.found {
		if s, err = decodeDelayed(c.data); err != nil {
			return nil, fmt.Errorf("delayed messages of topic %q: %w", topic, err)
		}
	}
	t.delayed[subject] = s
	return s, nil
}

func (t *tx) touchLater(topic string, s *delayedState) {
	t.touch(s, t.b.space.delayed(topic), func() ([]byte, error) {
		s.spill(s.number, func(id uint64, items []item) { t.putPage(topic, topicOwner, id, items) })
		return s.encode(), nil
	})
}

// topicOwner owns what a topic has beside its groups.
const topicOwner = "+"

func (t *tx) putPage(topic, owner string, id uint64, items []item) {
	t.put(t.b.space.page(topic, owner, id), write{data: appendItems(nil, items), blind: true}) // its number is new
}

// openPages takes pages in that may have something due at now, until the first n items that are due are in the record.
func (t *tx) openPages(topic, owner string, a *agenda, now int64, n int) (opened bool, err error) {
	for {
		p, ok := a.ripe(now)
		before := 0
		for i := range a.near {
			if a.near[i].due <= p.due {
				before++
			}
		}
		if !ok || before >= n {
			return opened, nil
		}
		subject := t.b.space.page(topic, owner, p.id)
		c, err := t.get(subject)
		if err != nil {
			return opened, err
		}
		r := &reader{b: c.data}
		items := r.items()
		if err := r.err(); err != nil {
			return opened, fmt.Errorf("page %d of %q of topic %q: %w", p.id, owner, topic, err)
		}
		a.open(p, items)
		t.empty(subject)
		opened = true
	}
}

// gone is what was removed from a log.
func (t *tx) gone(topic string) (*removedState, error) {
	subject := t.b.space.removed(topic)
	if s := t.removed[subject]; s != nil {
		return s, nil
	}
	c, err := t.get(subject)
	if err != nil {
		return nil, err
	}
	s := &removedState{}
	if c.found {
		if s, err = decodeRemoved(c.data); err != nil {
			return nil, fmt.Errorf("removed entries of topic %q: %w", topic, err)
		}
	}
	t.removed[subject] = s
	return s, nil
}

func (t *tx) touchGone(topic string, s *removedState) {
	t.touch(s, t.b.space.removed(topic), func() ([]byte, error) { return s.encode(), nil })
}

// log is the end of a log, to append to.
func (t *tx) log(topic string) (*appends, error) {
	if a := t.logs[topic]; a != nil {
		return a, nil
	}
	tail := t.b.tail(topic)
	a := tail.view(topic)
	if a == nil {
		t.run.need.tails[topic] = true
		return nil, errMissing
	}
	t.logs[topic] = a
	return a, nil
}

// newTopic makes the record of a topic that is not there.
func (t *tx) newTopic(name string, s *topicState) {
	early, _ := t.b.clock.now()
	if s.Era == 0 {
		s.Era = uint64(early.UnixMicro())
	}
	s.Dropped = false
	s.Limits = port.Topic{Name: name}.Over(port.Topic{})
	t.touchTopic(name, s)
}
