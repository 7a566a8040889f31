package nats

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// view is reads that see everything that was acknowledged before the view was made, and that go back in time nowhere: what a later
// one sees is not older than what an earlier one saw.
//
// Of a stream with one copy that is so by itself. Of one with replicas any may answer, and one that is behind is asked again until
// it has what the view must see: floor, the sequence of a write that was made for that (see newest).
type view struct {
	b     *Backend
	floor atomic.Uint64
}

// look makes a view.
func (b *Backend) look(ctx context.Context) (*view, error) {
	v := &view{b: b}
	if b.copies < 2 {
		return v, nil
	}
	seq, err := b.newest(ctx)
	v.floor.Store(seq)
	return v, err
}

// saw takes in that something of that sequence was seen.
func (v *view) saw(seq uint64) {
	for {
		floor := v.floor.Load()
		if seq <= floor || v.floor.CompareAndSwap(floor, seq) {
			return
		}
	}
}

// lagging waits a little for a replica that is behind, longer with each time; errBehind when that has lasted for the timeout.
type lagging struct {
	b     *Backend
	start time.Time
	times int
}

var errBehind = errors.New("the replica that answers is behind the others")

func (w *lagging) wait(ctx context.Context) error {
	if w.start.IsZero() {
		w.start = time.Now()
	}
	if time.Since(w.start) > w.b.conf.timeout() {
		return errBehind
	}
	w.times++
	return w.b.rest(ctx, min(time.Duration(w.times)*500*time.Microsecond, 20*time.Millisecond))
}

// rest waits for d.
func (b *Backend) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.ctx.Done():
		return errors.Join(errNotSent, b.ctx.Err())
	}
}

// last is the last record of each subject, all of one moment, and what of them did not fit.
func (v *view) last(ctx context.Context, subjects []string) (answer, error) {
	if v.b.copies < 2 {
		return v.b.ask(ctx, directGet{Multi: subjects})
	}
	mark := v.b.space.newest()
	q := directGet{Multi: append(subjects[:len(subjects):len(subjects)], mark)} // so that there is an answer with a sequence in any case
	for w := (lagging{b: v.b}); ; {
		a, err := v.b.ask(ctx, q)
		if err != nil {
			return answer{}, err
		}
		if a.upTo >= v.floor.Load() {
			v.saw(a.upTo)
			a.drop(mark)
			return a, nil
		}
		if err := w.wait(ctx); err != nil {
			return answer{}, err
		}
	}
}

// walk reads the records of a subject in order, a portion of them. That there are no more is so at the view's moment, or at a later one.
func (v *view) walk(ctx context.Context, q directGet) (answer, error) {
	need := uint64(0) // the subject has a record of that sequence
	for w := (lagging{b: v.b}); ; {
		a, err := v.b.ask(ctx, q)
		if err != nil || v.b.copies < 2 {
			return a, err
		}
		end := a.end(q.Seq)
		v.saw(a.end(0))
		if a.more || end >= v.floor.Load() || need > 0 && end >= need {
			return a, nil
		}
		if need == 0 {
			if need, err = v.beyond(ctx, q, end); err != nil || need == 0 {
				return a, err
			}
		}
		if err := w.wait(ctx); err != nil {
			return answer{}, err
		}
	}
}

// beyond is the sequence of the last record of the subject, where that is behind the end of what was read of it, or 0.
func (v *view) beyond(ctx context.Context, q directGet, end uint64) (uint64, error) {
	mark := v.b.space.newest()
	for w := (lagging{b: v.b}); ; {
		a, err := v.b.ask(ctx, directGet{Multi: []string{q.Next, mark}, Seq: end + 1})
		if err != nil {
			return 0, err
		}
		if a.upTo >= v.floor.Load() {
			v.saw(a.upTo)
			for _, r := range a.list {
				if r.subject == q.Next && r.seq > end && (q.From == nil || !r.at.Before(*q.From)) {
					return r.seq, nil
				}
			}
			return 0, nil
		}
		if err := w.wait(ctx); err != nil {
			return 0, err
		}
	}
}

// drop takes the records of a subject out.
func (a *answer) drop(subject string) {
	for i, r := range a.list {
		if r.subject == subject {
			a.list = append(a.list[:i], a.list[i+1:]...)
			return
		}
	}
}

// end is the sequence of the last record, or what stands before from when there is none.
func (a *answer) end(from uint64) uint64 {
	if n := len(a.list); n > 0 {
		return a.list[n-1].seq
	}
	return max(from, 1) - 1
}

// barrier is the writes by which a process learns how far the stream has come. Callers that come while one is under way share the next:
// one that was sent before they came may be older than what they must see.
type barrier struct {
	mu   sync.Mutex
	next *proof // not sent yet; nil: nobody waits for one
	busy bool
}

// proof is one such write.
type proof struct {
	done chan struct{}
	seq  uint64
	err  error
}

// newest writes a record and tells its sequence: everything that was acknowledged before this call has a smaller one. The servers have
// agreed on it, so it is not the answer of a leader that was deposed and does not know it.
func (b *Backend) newest(ctx context.Context) (uint64, error) {
	f := &b.barrier
	f.mu.Lock()
	if f.next == nil {
		f.next = &proof{done: make(chan struct{})}
	}
	t, start := f.next, !f.busy
	f.busy = true
	f.mu.Unlock()
	if start && !b.begin(b.barriers) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.busy = false
		return 0, errNotSent
	}
	within, cancel := context.WithTimeoutCause(ctx, b.conf.timeout(), errSilent)
	defer cancel()
	select {
	case <-t.done:
		return t.seq, t.err
	case <-within.Done():
		return 0, context.Cause(within)
	case <-b.ctx.Done():
		return 0, errNotSent
	}
}

// barriers writes one such record after the other, until nobody waits for one.
func (b *Backend) barriers() {
	for {
		b.barrier.mu.Lock()
		t := b.barrier.next
		b.barrier.next = nil
		b.barrier.busy = t != nil
		b.barrier.mu.Unlock()
		if t == nil {
			return
		}
		start := time.Now()
		for {
			t.seq, t.err = b.sendAll(b.ctx, []out{{subject: b.space.newest(), expect: -1}})
			if !passing(t.err) || time.Since(start) > b.conf.timeout() || b.rest(b.ctx, 20*time.Millisecond) != nil {
				break
			}
		}
		close(t.done)
	}
}
