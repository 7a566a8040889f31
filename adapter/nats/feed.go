package nats

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// feed hands the signals and lease hints of a cluster to those who listen here. The servers of a cluster tell each other of a subscription
// after it was confirmed, and a link between two that breaks loses what was on it without a word. So there a signal is a record of the
// stream, which is kept for a while: one that was acknowledged has a sequence, Listen begins behind one, and reading on from there
// misses nothing. The hint that there is something new goes the short way, and may be lost.
type feed struct {
	mu      sync.Mutex
	running bool
	pos     uint64    // up to this sequence everything was handed out
	sure    time.Time // when there was nothing behind pos
	bell    chan struct{}
	hinted  atomic.Uint64 // there is a record of that sequence
}

const (
	kept      = 10 * time.Second // how long the servers keep a signal
	doubt     = kept / 2         // who has heard for so long nothing that proves that nothing is missing has missed something
	certainty = kept / 4         // how often that is proved
)

// publish appends a signal to the stream, and tells the others where.
func (b *Backend) publish(ctx context.Context, what, channel string, payload []byte) error {
	record := []out{{subject: b.space.keptSignal(channel), append: true, expect: -1, write: write{data: payload, ttl: kept}}}
	for start := time.Now(); ; {
		seq, err := b.sendAll(ctx, record)
		switch {
		case err == nil:
			if err := b.conn.Publish(b.space.feedHint(), strconv.AppendUint(nil, seq, 10)); err != nil {
				return nil //nolint:nilerr // it is in the stream: who is not told looks by itself
			}
			return nil
		case !passing(err) || time.Since(start) > b.patient():
			return b.fail(ctx, what, err, true)
		}
		if err := b.rest(ctx, 20*time.Millisecond); err != nil {
			return b.fail(ctx, what, fmt.Errorf("%w: %w", errNotSent, err), false)
		}
	}
}

// keepLeaseHint appends the hint to the stream and does not wait for it.
func (b *Backend) keepLeaseHint(name string) error {
	o := out{subject: b.space.keptLeaseHint(name), append: true, expect: -1, write: write{ttl: kept}}
	if err := b.conn.PublishMsg(o.message()); err != nil {
		return err
	}
	return b.conn.Publish(b.space.feedHint(), nil)
}

// attend has a listener hear what is published after attend returned.
func (b *Backend) attend(ctx context.Context, l *listener) error {
	f := &b.feed
	b.mu.Lock()
	b.listeners[l] = nil // it is not live yet
	b.mu.Unlock()
	if err := f.wake(b); err != nil {
		return err
	}
	at := time.Now()
	seq, err := b.newest(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running {
		f.pos, f.sure, f.running = seq, at, true
		if !b.begin(b.deliver) {
			f.running = false
			return errNotSent
		}
	}
	l.start(seq)
	return nil
}

// wake subscribes to the hints, once.
func (f *feed) wake(b *Backend) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bell != nil {
		return nil
	}
	bell := make(chan struct{}, 1)
	err := b.subscribe(b.space.feedHint(), func(m *client.Msg) {
		if seq, err := strconv.ParseUint(string(m.Data), 10, 64); err == nil {
			f.hinted.Store(max(f.hinted.Load(), seq)) // one hint is heard after the other
		}
		select {
		case bell <- struct{}{}:
		default:
		}
	})
	if err == nil {
		f.bell = bell
	}
	return err
}

// deliver reads the feed on for as long as somebody listens.
func (b *Backend) deliver() {
	f := &b.feed
	target, asked := uint64(0), time.Time{} // when asked, nothing behind target was there
	for quick := 0; ; {
		if !f.heard(b) {
			return
		}
		if time.Since(f.sure) > doubt {
			now := time.Now()
			if seq, err := b.newest(b.ctx); err == nil {
				f.pos, f.sure = seq, now
				b.gaps()
			}
		} else if time.Since(f.sure) > certainty && target <= f.pos {
			now := time.Now()
			if seq, err := b.newest(b.ctx); err == nil {
				target, asked = seq, now
			}
		}
		a, err := b.ask(b.ctx, directGet{Seq: f.pos + 1, Next: b.space.feed(), Batch: readChunks, Bytes: readBytes})
		if err == nil && len(a.list) > 0 {
			b.handOut(a.list)
			last := a.list[len(a.list)-1]
			f.pos = last.seq
			_, late := b.clock.now()
			if at := time.Now().Add(last.at.Sub(late)); at.After(f.sure) {
				f.sure = at
			}
			if f.pos >= target && asked.After(f.sure) {
				f.sure = asked
			}
			quick = 0
			continue
		}
		rung, ok := f.wait(b, quick)
		if !ok {
			return
		}
		if quick++; rung {
			quick = 0
		}
	}
}

// heard reports whether somebody listens; deliver ends when nobody does.
func (f *feed) heard(b *Backend) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	f.running = len(b.listeners) > 0
	return f.running
}

// handOut gives the records to those who want them and began before.
func (b *Backend) handOut(list []*record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range list {
		for l := range b.listeners {
			if name, ok := strings.CutPrefix(r.subject, l.root); ok {
				l.hand(r.seq, port.Signal{Channel: name, Payload: r.data})
			}
		}
	}
}

// wait sleeps until there may be something new: after a hint only for moments, as the replica that answers may not have it yet.
func (f *feed) wait(b *Backend, quick int) (rung, ok bool) {
	d := poll
	if quick < 8 || f.hinted.Load() > f.pos && quick < 64 {
		d = min(time.Millisecond<<min(quick, 5), 20*time.Millisecond)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.bell:
		return true, true
	case <-t.C:
		return false, true
	case <-b.ctx.Done():
		return false, false
	}
}
