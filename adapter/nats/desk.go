package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

var (
	errSilent = errors.New("no answer in time")
	errCut    = errors.New("the connection broke")
)

// desk hands out the answers of the server to those who asked. One subscription serves all, also where one question has many
// answers, which the client's own requests do not.
type desk struct {
	b      *Backend
	prefix string
	sub    *client.Subscription

	mu      sync.Mutex
	next    uint64
	waiting map[string]*pile
}

// pile is the answers to one question so far.
type pile struct {
	many bool // until one with a status comes
	list []*client.Msg
	cut  bool
	done chan struct{}
}

func newDesk(b *Backend) (*desk, error) {
	d := &desk{b: b, prefix: client.NewInbox() + ".", waiting: map[string]*pile{}}
	var err error
	if d.sub, err = b.conn.Subscribe(d.prefix+"*", d.hear); err != nil {
		return nil, err
	}
	return d, d.sub.SetPendingLimits(-1, -1)
}

func (d *desk) hear(m *client.Msg) {
	name := strings.TrimPrefix(m.Subject, d.prefix)
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.waiting[name]
	if p == nil {
		return
	}
	p.list = append(p.list, m)
	if !p.many || m.Header.Get("Status") != "" {
		delete(d.waiting, name)
		close(p.done)
	}
}

// cut ends every question: the answers will not come any more.
func (d *desk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, p := range d.waiting {
		p.cut = true
		delete(d.waiting, name)
		close(p.done)
	}
}

// ask sends m and waits for its answers, not longer than the timeout.
func (d *desk) ask(ctx context.Context, m *client.Msg, many bool) ([]*client.Msg, error) {
	return d.askAfter(ctx, nil, m, many)
}

// askAfter sends first before m, on which alone there is an answer.
func (d *desk) askAfter(ctx context.Context, first []*client.Msg, m *client.Msg, many bool) ([]*client.Msg, error) {
	q, err := d.put(ctx, first, m, many)
	if err != nil {
		return nil, err
	}
	defer q.drop()
	return q.wait(ctx)
}

// question is one that was sent.
type question struct {
	d    *desk
	name string
	p    *pile
}

// put sends first and then m. What it returns has to be dropped.
func (d *desk) put(ctx context.Context, first []*client.Msg, m *client.Msg, many bool) (*question, error) {
	if err := d.b.connected(ctx); err != nil {
		return nil, err
	}
	p := &pile{many: many, done: make(chan struct{})}
	d.mu.Lock()
	d.next++
	q := &question{d: d, name: number(d.next), p: p}
	d.waiting[q.name] = p
	d.mu.Unlock()
	m.Reply = d.prefix + q.name
	for _, f := range append(slices.Clip(first), m) {
		if err := d.b.conn.PublishMsg(f); err != nil {
			q.drop()
			return nil, fmt.Errorf("%w: %w", errNotSent, err) // without its last message the server drops the batch
		}
	}
	return q, nil
}

// drop gives up waiting.
func (q *question) drop() {
	q.d.mu.Lock()
	defer q.d.mu.Unlock()
	delete(q.d.waiting, q.name)
}

// wait returns the answers, not later than after the timeout.
func (q *question) wait(ctx context.Context) ([]*client.Msg, error) {
	t := time.NewTimer(q.d.b.conf.timeout())
	defer t.Stop()
	select {
	case <-q.p.done:
	case <-t.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-q.d.b.ctx.Done():
		return nil, port.ErrClosed
	}
	if q.p.cut {
		return nil, errCut
	}
	return q.p.list, nil
}

// connected answers why nothing can be sent. A server that lives with its process is waited for: it ends as often as a command does,
// and another process is about to serve.
func (b *Backend) connected(ctx context.Context) error {
	for wait := time.Duration(0); ; {
		s := b.conn.Status()
		switch {
		case s == client.CONNECTED:
			return nil
		case b.host == nil || s == client.CLOSED || wait > b.conf.timeout():
			return fmt.Errorf("the connection is %s: %w", strings.ToLower(s.String()), errNotSent)
		}
		const step = 5 * time.Millisecond
		t := time.NewTimer(step)
		select {
		case <-t.C:
			wait += step
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the connection is %s: %w: %w", strings.ToLower(s.String()), errNotSent, context.Cause(ctx))
		case <-b.ctx.Done():
			t.Stop()
			return port.ErrClosed
		}
	}
}

// errNotSent marks what went wrong before anything can have happened.
var errNotSent = errors.New("nothing was sent")
