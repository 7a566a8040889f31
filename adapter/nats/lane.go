package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/port"
)

// lane takes the steps that concern one thing (a group, the end of a log) one round after the other. What comes while a round is
// under way is decided together in the next: so many callers share one write.
type lane struct {
	b    *Backend
	keep string // the cells that stay known from round to round begin so; "": none

	mu    sync.Mutex
	queue []*op
	busy  bool
	used  time.Time

	// Of the round that is under way alone:
	cells   map[string]*cell
	serial  uint64   // of the group that the rest is about
	from    place    // what follows holds for a group that stands here or behind
	ahead   []*chunk // of the log: all that has entries, without a hole
	scanned uint64   // up to this sequence there is no entry
}

// op is one step that a caller waits for.
type op struct {
	what   string
	decide func(*tx) error // is taken again from the start whenever something was missing or has moved
	weight int             // records that it may write
	bytes  int
	writes bool

	state atomic.Int32 // queued, taken, left
	done  chan struct{}
	err   error
}

const (
	queued int32 = iota
	taken
	left
)

const (
	roundWeight = 900
	roundBytes  = 4 << 20
)

// lane is the lane of that name.
func (b *Backend) lane(name, keep string) *lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[name]
	if l == nil {
		l = &lane{b: b, keep: keep, cells: map[string]*cell{}}
		b.lanes[name] = l
	}
	l.used = time.Now()
	return l
}

// do has the step taken, and waits for it. When ctx ends before that it is not taken, or its outcome is not known.
func (l *lane) do(ctx context.Context, o *op) error {
	o.done = make(chan struct{})
	l.mu.Lock()
	l.queue = append(l.queue, o)
	start := !l.busy
	l.busy = true
	l.mu.Unlock()
	if start && !l.b.begin(l.work) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.busy = false
		return fmt.Errorf("nats: %s: %w", o.what, port.ErrClosed)
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		if o.state.CompareAndSwap(queued, left) || !o.writes {
			return fmt.Errorf("nats: %s: %w", o.what, context.Cause(ctx))
		}
		return fmt.Errorf("nats: %s: %w: %w", o.what, port.ErrUncertain, context.Cause(ctx))
	case <-l.b.ctx.Done():
		return fmt.Errorf("nats: %s: %w", o.what, port.ErrClosed)
	}
}

func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.busy
}

// work takes rounds until nothing is queued.
func (l *lane) work() {
	for {
		ops := l.next()
		if ops == nil {
			return
		}
		r := &run{b: l.b, lane: l, cells: l.cells}
		r.take(l.b.ctx, ops)
		l.cells = map[string]*cell{}
		for s, c := range r.cells {
			if l.keep != "" && strings.HasPrefix(s, l.keep) {
				l.cells[s] = c
			}
		}
		for _, o := range ops {
			close(o.done)
		}
	}
}

// next is what the next round decides together, or nil.
func (l *lane) next() []*op {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ops []*op
	weight, bytes, n := 0, 0, 0
	for _, o := range l.queue {
		if len(ops) > 0 && (weight+o.weight > roundWeight || bytes+o.bytes > roundBytes) {
			break
		}
		n++
		if o.state.CompareAndSwap(queued, taken) {
			ops = append(ops, o)
			weight += o.weight
			bytes += o.bytes
		}
	}
	l.queue = l.queue[n:]
	if len(ops) == 0 {
		l.queue, l.busy = nil, false
	}
	return ops
}

// run is one round.
type run struct {
	b     *Backend
	lane  *lane // whose round it is, or nil
	cells map[string]*cell
	fresh map[string]bool // were read in this round
	doubt bool            // nothing is believed to be empty any more
	need  needs
	at    map[uint64]*chunk // single chunks by sequence; nil: there is none
	read  bool              // the log was read on in this round

	start   time.Time
	pleaded []string // subjects at which it has asked for its turn
}

// needs is what the steps looked at and is not read yet.
type needs struct {
	cells    map[string]bool
	tails    map[string]bool
	chunks   map[uint64]string // topics by sequence
	memories map[uint64]uint64 // of groups, with the number of the first mark in the record
	ahead    *aheadNeed
}

// aheadNeed is a log to be read on.
type aheadNeed struct {
	topic  string
	cursor place // where the group stands
	batch  int   // chunks; 0: many
	whole  bool  // whatever was scanned before
}

func (n *needs) empty() bool {
	return len(n.cells) == 0 && len(n.tails) == 0 && len(n.chunks) == 0 && len(n.memories) == 0 && n.ahead == nil
}

func newNeeds() needs {
	return needs{cells: map[string]bool{}, tails: map[string]bool{}, chunks: map[uint64]string{}, memories: map[uint64]uint64{}}
}

// alone takes one step beside every lane.
func (b *Backend) alone(ctx context.Context, o *op) error {
	if err := b.alive(ctx, o.what); err != nil {
		return err
	}
	r := &run{b: b, cells: map[string]*cell{}}
	r.take(ctx, []*op{o})
	return o.err
}

// unknown is how long a round pauses where nobody knows the stream, as if others had been quicker so often.
const unknown = 20

// most is how long a round tries to get through against others.
const most = 30 * time.Second

// take decides the steps and writes what they decided, again and again until nothing was missing and nothing has moved.
func (r *run) take(ctx context.Context, ops []*op) {
	r.fresh, r.at, r.need = map[string]bool{}, map[uint64]*chunk{}, newNeeds()
	r.start = time.Now()
	tried := r.start
	for moves := 0; ; {
		t := newTx(r)
		wrote := make([]bool, len(ops))
		for i, o := range ops {
			before := t.changes
			o.err = o.decide(t)
			wrote[i] = t.changes > before
		}
		missing := !r.need.empty()
		if missing || t.refused {
			var err error
			if missing {
				err = r.load(ctx)
			} else {
				missing, err = r.verify(ctx, t)
			}
			if passing(err) && time.Since(r.start) < r.b.patient() {
				r.forget(t) // a stream that was just made is not yet known everywhere
				missing, err = true, r.pause(ctx, unknown)
			}
			if err == nil && missing {
				continue
			}
			if err != nil {
				for _, o := range ops {
					o.err = r.b.fail(ctx, o.what, err, false)
				}
				r.cells = map[string]*cell{}
				return
			}
		}
		err := r.b.commit(ctx, t)
		if err == nil {
			r.through()
			return
		}
		r.forget(t)
		switch {
		case errors.Is(err, errYielded):
			tried = time.Now()
			continue
		case moved(err) && time.Since(r.start) < most:
			moves++
			r.plead(t.list, moves, time.Since(tried))
			if err = r.pause(ctx, moves); err == nil {
				tried = time.Now()
				continue
			}
		case passing(err) && time.Since(r.start) < r.b.patient():
			if err = r.pause(ctx, unknown); err == nil {
				continue
			}
		}
		for i, o := range ops {
			if wrote[i] {
				o.err = r.b.fail(ctx, o.what, err, o.writes && !errors.Is(err, errNotSent))
			}
		}
		return
	}
}

// verify tells whether what the steps looked at has moved since: then it is given up. A step that is refused writes nothing for the
// server to refuse, and what it was refused by may have been read at several moments: a loan as it was before it was settled,
// and a key as it is since. What is the same when all of it had been read and is read again was so at one moment.
func (r *run) verify(ctx context.Context, t *tx) (moved bool, err error) {
	v, err := r.b.look(ctx)
	if err != nil {
		return false, err
	}
	found, err := v.cells(ctx, slices.Collect(maps.Keys(r.cells)))
	if err != nil {
		return false, err
	}
	for s, c := range r.cells {
		rev := uint64(0)
		if rec := found[s]; rec != nil {
			rev = rec.seq
		}
		if rev != c.rev && time.Since(r.start) < most {
			r.forget(t)
			return true, nil
		}
	}
	return false, nil
}

// forget gives up what was read: something of it has moved, or may have.
func (r *run) forget(t *tx) {
	r.cells, r.fresh, r.at, r.need = map[string]*cell{}, map[string]bool{}, map[uint64]*chunk{}, newNeeds()
	r.doubt, r.read = true, false
	for _, a := range t.logs {
		a.tail.lag()
	}
}

// pause lets others go first, longer with each time that somebody was quicker.
func (r *run) pause(ctx context.Context, moves int) error {
	if moves < 2 || r.pleaded != nil {
		return nil
	}
	d := rand.N(min(time.Duration(moves)*500*time.Microsecond, 20*time.Millisecond))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotSent, context.Cause(ctx))
	case <-r.b.ctx.Done():
		return port.ErrClosed
	}
}

// load reads what is needed, all at once.
func (r *run) load(ctx context.Context) error {
	n := r.need
	r.need = newNeeds()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	read := func(fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	v, err := r.b.look(ctx)
	if err != nil {
		return err
	}
	if len(n.cells) > 0 {
		read(func() error { return r.loadCells(ctx, v, n.cells, &mu) })
	}
	for topic := range n.tails {
		read(func() error { return r.b.sync(ctx, v, topic) })
	}
	for seq, topic := range n.chunks {
		read(func() error {
			c, err := v.chunkAt(ctx, topic, seq)
			mu.Lock()
			defer mu.Unlock()
			r.at[seq] = c
			return err
		})
	}
	for serial, first := range n.memories {
		read(func() error { return r.b.loadMemory(ctx, v, serial, first) })
	}
	if n.ahead != nil {
		read(func() error {
			r.read = true
			return r.lane.readOn(ctx, v, n.ahead)
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// readOn reads the log on to the next entries.
func (l *lane) readOn(ctx context.Context, v *view, n *aheadNeed) error {
	from := max(n.cursor.seq, 1)
	if n.cursor.idx == maxIdx {
		from++
	}
	if !n.whole {
		from = max(from, l.scanned+1)
	}
	l.from = n.cursor
	for {
		list, more, err := v.chunks(ctx, n.topic, directGet{Seq: from, Batch: n.batch})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(c *chunk) bool { return len(c.entries) > 0 }) {
			l.ahead = list
			return nil
		}
		if len(list) > 0 {
			l.scanned = list[len(list)-1].seq
			from = l.scanned + 1
		}
		if !more || len(list) == 0 {
			l.ahead = nil
			return nil
		}
	}
}

func (r *run) loadCells(ctx context.Context, v *view, cells map[string]bool, mu *sync.Mutex) error {
	subjects := make([]string, 0, len(cells))
	for s := range cells {
		subjects = append(subjects, s)
	}
	found, err := v.cells(ctx, subjects)
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	for _, s := range subjects {
		r.fresh[s] = true
		rec := found[s]
		if rec == nil {
			r.cells[s] = &cell{}
			continue
		}
		r.cells[s] = &cell{rev: rec.seq, found: !rec.gone, end: rec.end, at: rec.at, data: rec.data}
	}
	return nil
}
