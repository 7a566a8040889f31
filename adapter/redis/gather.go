package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/musterhq/muster/port"
)

// How much of one family is under way at once: scripts, and in each of them steps, parts and bytes of steps. A step is never
// divided, so one alone may hold more.
const (
	mostWriting  = 2
	mostGathered = 256
	mostTogether = 1 << 20
)

// gather makes one script of the steps that many callers write while others are under way. A caller who finds nothing under way
// waits for nobody. The steps stay apart: each is whole or not at all, and refused alone. The steps of one family go out in the order
// in which they came.
//
// What may go wrong: a caller whose ctx ends before its step was taken takes it back, and nothing happened; after that its outcome is
// unknown, and the step is carried out without it, so nothing that waits points to the caller's memory. A connection that breaks makes
// the outcome of all in the script unknown. A script that the server refuses as a whole has done nothing: each step is sent again alone.
type gather struct {
	b      *Backend
	mu     sync.Mutex
	of     map[string]*line   // by family; none where nothing is under way
	topics map[string]*target // of append.lua
}

// line is what is under way of one family, and what waits.
type line struct {
	family  string
	running int
	waiting []*writing
}

// writing is one step of one caller.
type writing struct {
	batch    *port.Batch
	own      port.Batch     // what batch is where the caller may be gone
	messages []port.Message // memory for its messages
	blobs    []string       // the messages, encoded
	room     []byte         // memory for them
	topic    string         // of all its messages, when there is nothing else to it
	parts    int            // of the step
	bytes    int            // of its bodies and values
	done     chan error     // holds one: what came of it
}

// mostKept is how many bytes of messages are kept as memory for the next ones.
const mostKept = 64 << 10

var writings sync.Pool // of *writing, with nothing in them

func newGather(b *Backend) *gather {
	return &gather{b: b, of: map[string]*line{}, topics: map[string]*target{}}
}

func newWriting(b *port.Batch) *writing {
	w, ok := writings.Get().(*writing)
	if !ok {
		w = &writing{done: make(chan error, 1)}
	}
	w.batch, w.topic, w.parts, w.bytes = b, plainTopic(b), len(b.Messages)+len(b.Changes)+len(b.Removes), weight(b)
	w.blobs, w.room = encode(w.blobs[:0], w.room[:0], b.Messages)
	return w
}

// detach gives the step memory of its own: its caller may be gone when it is sent.
func (w *writing) detach() {
	b := &w.own
	*b = *w.batch
	w.messages = append(w.messages[:0], b.Messages...)
	b.Messages, b.Changes, b.Removes = w.messages, slices.Clone(b.Changes), slices.Clone(b.Removes)
	for i := range b.Messages {
		b.Messages[i].Body = nil // it is in the blob
	}
	for i := range b.Changes {
		c := &b.Changes[i]
		c.Value, c.Old = bytes.Clone(c.Value), bytes.Clone(c.Old)
	}
	w.batch = b
}

// over lets go of a step that was answered, and returns the answer. Its memory is used again where all went well: then nobody reads it.
func (w *writing) over(err error) error {
	if err == nil && cap(w.room) <= mostKept {
		clear(w.messages)
		clear(w.blobs)
		w.batch, w.own = nil, port.Batch{}
		writings.Put(w)
	}
	return err
}

// write makes one step, by itself or with others.
func (g *gather) write(ctx context.Context, family string, batch *port.Batch) error {
	w := newWriting(batch)
	l, now := g.enter(family, w)
	if now {
		g.send(ctx, family, []*writing{w})
		g.next(l)
		return w.over(<-w.done)
	}
	select {
	case err := <-w.done:
		return w.over(err)
	case <-ctx.Done():
	case <-g.b.ctx.Done():
	}
	if g.takeBack(l, w) {
		return g.b.alive(ctx, "write")
	}
	select {
	case err := <-w.done:
		return err
	default:
	}
	if g.b.ctx.Err() != nil {
		return g.b.alive(ctx, "write")
	}
	return fmt.Errorf("redis: write: %s: %w: %w", g.b.where, port.ErrUncertain, context.Cause(ctx))
}

// enter puts w into its family's line, and reports whether it is to be sent at once instead.
func (g *gather) enter(family string, w *writing) (l *line, now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.line(family).running > 0 {
		g.mu.Unlock()
		w.detach()
		g.mu.Lock()
	}
	l = g.line(family)
	if l.running == 0 {
		l.running++
		return l, true
	}
	l.waiting = append(l.waiting, w)
	if l.running < mostWriting {
		l.running++
		g.b.begin(func() { g.work(l) })
	}
	return l, false
}

func (g *gather) line(family string) *line {
	l := g.of[family]
	if l == nil {
		l = &line{family: family}
		g.of[family] = l
	}
	return l
}

// takeBack takes w out of the line; false when it was taken to be sent.
func (g *gather) takeBack(l *line, w *writing) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// next goes on with what waits, beside the caller, who has its answer.
func (g *gather) next(l *line) {
	list := g.take(l)
	if len(list) > 0 {
		g.b.begin(func() {
			g.send(g.b.ctx, l.family, list)
			g.work(l)
		})
	}
}

// work sends what waits until nothing does.
func (g *gather) work(l *line) {
	for list := g.take(l); len(list) > 0; list = g.take(l) {
		g.send(g.b.ctx, l.family, list)
	}
}

// take is what goes into the next script; none ends one that is under way.
func (g *gather) take(l *line) []*writing {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, parts, carried := 0, 0, 0
	for n < len(l.waiting) && n < mostGathered {
		w := l.waiting[n]
		parts += w.parts
		carried += w.bytes
		if n > 0 && (parts > mostParts || carried > mostTogether) {
			break
		}
		n++
	}
	if n == 0 {
		if l.running--; l.running == 0 {
			delete(g.of, l.family)
		}
		return nil
	}
	list := l.waiting[:n:n]
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return list
}

// send runs the script for these steps, and answers each. What was refused as a whole is sent again, each alone.
func (g *gather) send(ctx context.Context, family string, list []*writing) {
	if g.appendAll(ctx, family, list) {
		return
	}
	sent := make([]*writing, 0, len(list))
	p := newPlan(g.b.space, family)
	p.args = make([]string, 1, 1+4*len(list))
	for _, w := range list {
		args := len(p.args)
		p.add(w.id())
		if err := p.step(w.batch, w.blobs); err != nil {
			p.args = p.args[:args]
			w.done <- fmt.Errorf("redis: write: %w", err)
			continue
		}
		sent = append(sent, w)
	}
	if len(sent) == 0 {
		return
	}
	p.args[0] = strconv.Itoa(len(sent))
	m, err := g.b.run(ctx, "write", g.b.scripts.write, p.keys, p.args)
	if err != nil && len(sent) > 1 && refusedWhole(err) {
		for _, w := range sent {
			g.send(ctx, family, []*writing{w})
		}
		return
	}
	r := reply{list: m}
	for _, w := range sent {
		if err != nil {
			w.done <- err
			continue
		}
		one := r.next()
		if r.err != nil {
			w.done <- fmt.Errorf("redis: write: %w: %w", port.ErrUncertain, r.err)
			continue
		}
		if err := w.repeated(g.b.judged(w.batch, one)); err != nil {
			w.done <- fmt.Errorf("redis: write: %w", err)
			continue
		}
		w.done <- nil
	}
}

// repeated is what came of a step, but nil where it is a message that is known, and has its ID.
func (w *writing) repeated(err error) error {
	if _, known := errors.AsType[*port.DuplicateError](err); known && w.named() {
		return nil
	}
	return err
}

// refusedWhole reports whether err is a refusal of a script that had done nothing, for a reason that may be in one of its steps alone:
// it needs memory, its keys are of another type, are not whole, or are not this user's.
func refusedWhole(err error) bool {
	if errors.Is(err, port.ErrInvalid) {
		return true
	}
	return errors.Is(err, port.ErrUnavailable) && slices.ContainsFunc([]string{fullMemory, notWhole, notPermitted}, func(sign string) bool {
		return strings.Contains(err.Error(), sign)
	})
}
