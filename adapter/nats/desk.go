package nats

import (
	"context"
	"errors"
	"fmt"
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
	if err := d.b.connected(ctx); err != nil {
		return nil, err
	}
	p := &pile{many: many, done: make(chan struct{})}
	d.mu.Lock()
	d.next++
	name := number(d.next)
	d.waiting[name] = p
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, name)
	}()
	m.Reply = d.prefix + name
	for _, f := range first {
		if err := d.b.conn.PublishMsg(f); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotSent, err) // without its last message the server drops the batch
		}
	}
	if err := d.b.conn.PublishMsg(m); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	t := time.NewTimer(d.b.conf.timeout())
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-d.b.ctx.Done():
		return nil, port.ErrClosed
	}
	if p.cut {
		return nil, errCut
	}
	return p.list, nil
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
