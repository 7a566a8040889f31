package nats

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"
)

// turns let a round through where others are always quicker. Who gets through knows at once where things stand and can write again,
// and who is slower learns it too late, each time: a process far away, or one with little of the processor, would wait for ever. So who
// was refused often pleads for its turn at the subjects that it writes, and the processes that hear it hold their own writes to them
// back until it is through, or for as long as a few of its tries take. A plea is a hint: where it is lost, the next one is heard.
type turns struct {
	b    *Backend
	held atomic.Int32 // subjects at which it is the turn of another process

	mu sync.Mutex
	by map[string]turn // by subject
}

// turn is that of a process at a subject.
type turn struct {
	who   string
	until time.Time
	over  chan struct{} // closed when it is through
}

// plea is what a process sends that wants its turn, or that is through.
type plea struct {
	By    string   `json:"by"`
	At    []string `json:"at"`     // subjects
	Lasts int64    `json:"for_ms"` // 0: it is through
}

const (
	patientMoves = 8               // refusals after which a round pleads
	longestTurn  = 2 * time.Second // also how long a round holds itself back for others at most
)

// errYielded says that a round held itself back for another, so that what it has read may not hold any more.
var errYielded = errors.New("it is the turn of another process")

func (s space) turns() string { return s.root + "y" }

// hear takes a plea in. Of two that want their turn at one subject the first has it; the other pleads again.
func (h *turns) hear(m *client.Msg) {
	var p plea
	if json.Unmarshal(m.Data, &p) != nil || p.By == h.b.process {
		return
	}
	lasts := min(time.Duration(p.Lasts)*time.Millisecond, longestTurn)
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(now)
	for _, s := range p.At {
		t, found := h.by[s]
		switch {
		case lasts <= 0:
			if found && t.who == p.By {
				close(t.over)
				delete(h.by, s)
			}
		case !found:
			h.by[s] = turn{who: p.By, until: now.Add(lasts), over: make(chan struct{})}
		case t.who == p.By:
			t.until = now.Add(lasts)
			h.by[s] = t
		}
	}
	h.held.Store(int32(len(h.by)))
}

// expire ends the turns that are over by their time. The caller holds mu.
func (h *turns) expire(now time.Time) {
	for s, t := range h.by {
		if now.After(t.until) {
			close(t.over)
			delete(h.by, s)
		}
	}
}

// other is the turn of another process at one of the records' subjects. Of two processes that plead, the one goes first whose name
// is the smaller.
func (h *turns) other(list []out, pleads bool) (t turn, found bool) {
	if h.held.Load() == 0 {
		return t, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	for i := range list {
		o, is := h.by[list[i].subject]
		if is && list[i].expect >= 0 && (!pleads || o.who < h.b.process) {
			t, found = o, true
		}
	}
	h.held.Store(int32(len(h.by)))
	return t, found
}

// yield holds a round back while it is another's turn, and reports whether it was so.
func (h *turns) yield(ctx context.Context, r *run, list []out) bool {
	if time.Since(r.start) > longestTurn {
		return false
	}
	t, found := h.other(list, r.pleaded != nil)
	if !found {
		return false
	}
	timer := time.NewTimer(time.Until(t.until))
	defer timer.Stop()
	select {
	case <-t.over:
	case <-timer.C:
	case <-ctx.Done():
	case <-h.b.ctx.Done():
	}
	return true
}

// plead asks for the turn of a round that was refused so often. Took is how long its last try took: reading, deciding and writing.
func (r *run) plead(list []out, moves int, took time.Duration) {
	if moves < patientMoves {
		return
	}
	p := plea{By: r.b.process, Lasts: max(4*took, 5*time.Millisecond).Milliseconds()}
	for i := range list {
		if list[i].expect >= 0 {
			p.At = append(p.At, list[i].subject)
		}
	}
	r.pleaded = p.At
	p.send(r.b)
}

// send needs no answer, and may fail as it may be lost.
func (p *plea) send(b *Backend) {
	text, err := json.Marshal(p)
	if err == nil {
		_ = b.conn.Publish(b.space.turns(), text)
	}
}

// through tells the others that they need not wait any longer.
func (r *run) through() {
	if r.pleaded != nil {
		(&plea{By: r.b.process, At: r.pleaded}).send(r.b)
		r.pleaded = nil
	}
}
