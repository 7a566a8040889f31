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

// gather makes one script of the steps that many callers write at once.
type gather struct {
	lines[*writing]
	topics map[string]*target // of append.lua
}

// writing is one step of one caller.
type writing struct {
	batch    port.Batch     // of memory that is the caller's, until it may be gone
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
	g := &gather{topics: map[string]*target{}}
	g.open(b, "write", g.send)
	return g
}

func (w *writing) size() (parts, bytes int) { return w.parts, w.bytes }
func (w *writing) outcome() chan error      { return w.done }

func newWriting(b port.Batch) *writing {
	w, ok := writings.Get().(*writing)
	if !ok {
		w = &writing{done: make(chan error, 1)}
	}
	w.batch, w.topic, w.parts, w.bytes = b, plainTopic(&b), len(b.Messages)+len(b.Changes)+len(b.Removes), weight(&b)
	w.blobs, w.room = encode(w.blobs[:0], w.room[:0], b.Messages)
	return w
}

// detach gives the step memory of its own: its caller may be gone when it is sent.
func (w *writing) detach() {
	b := &w.batch
	w.messages = append(w.messages[:0], b.Messages...)
	b.Messages, b.Changes, b.Removes = w.messages, slices.Clone(b.Changes), slices.Clone(b.Removes)
	for i := range b.Messages {
		b.Messages[i].Body = nil // it is in the blob
	}
	for i := range b.Changes {
		c := &b.Changes[i]
		c.Value, c.Old = bytes.Clone(c.Value), bytes.Clone(c.Old)
	}
}

// over lets go of a step that was answered that all is well: nobody reads its memory any more, which is used again.
func (w *writing) over() {
	if cap(w.room) > mostKept {
		return
	}
	clear(w.messages)
	clear(w.blobs)
	w.batch = port.Batch{}
	writings.Put(w)
}

// write makes one step, by itself or with others.
func (g *gather) write(ctx context.Context, family string, batch port.Batch) error {
	w := newWriting(batch)
	answered, err := g.do(ctx, family, w)
	if answered && err == nil {
		w.over()
	}
	return err
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
		if err := p.step(&w.batch, w.blobs); err != nil {
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
		if err := w.repeated(g.b.judged(&w.batch, one)); err != nil {
			w.done <- fmt.Errorf("redis: write: %w", err)
			continue
		}
		for i := range w.batch.Messages {
			g.b.janitor.know(w.batch.Messages[i].Topic)
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
