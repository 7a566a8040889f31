package redis

import (
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
// waits for nobody. The steps stay apart: each is whole or not at all, and refused alone.
//
// What may go wrong: a caller whose ctx ends before its step was sent takes it back, and nothing happened; after that its outcome is
// unknown, and the step is carried out without it, so nothing of it points to the caller's memory. A connection that breaks makes the
// outcome of all in the script unknown. A script that the server refuses as a whole has done nothing: each step is sent again alone.
type gather struct {
	b  *Backend
	mu sync.Mutex
	of map[string]*line // by family; none where nothing is under way
}

// line is what is under way of one family, and what waits.
type line struct {
	family  string
	running int
	waiting []*writing
}

// writing is one step of one caller.
type writing struct {
	batch *port.Batch
	blobs []string
	bytes int
	done  chan error // holds one: what came of it
}

func newGather(b *Backend) *gather { return &gather{b: b, of: map[string]*line{}} }

// write makes one step, by itself or with others.
func (g *gather) write(ctx context.Context, family string, batch *port.Batch) error {
	w := &writing{batch: batch, bytes: weight(batch), blobs: make([]string, len(batch.Messages))}
	for i := range batch.Messages {
		w.blobs[i] = encode(&batch.Messages[i])
	}
	l, now := g.enter(family, w)
	if now {
		g.send(ctx, family, []*writing{w})
		g.next(l)
		return <-w.done
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	case <-g.b.ctx.Done():
	}
	err := g.b.alive(ctx, "write")
	if g.takeBack(l, w) {
		return err
	}
	select {
	case err := <-w.done:
		return err
	default:
		if g.b.ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("redis: write: %w: %w", port.ErrUncertain, context.Cause(ctx))
	}
}

// enter puts w into its family's line, and reports whether it is to be sent at once instead.
func (g *gather) enter(family string, w *writing) (l *line, now bool) {
	w.done = make(chan error, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	l = g.of[family]
	if l == nil {
		l = &line{family: family}
		g.of[family] = l
	}
	if l.running == 0 {
		l.running++
		return l, true
	}
	l.waiting = append(l.waiting, w)
	if l.running < mostWriting {
		l.running++
		g.b.begin(func() { g.next(l) })
	}
	return l, false
}

// takeBack takes w out of the line; false when it was sent.
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

// next goes on with what waits: beside the caller, who has its own answer.
func (g *gather) next(l *line) {
	list := g.take(l)
	if len(list) == 0 {
		return
	}
	g.b.begin(func() {
		for ; len(list) > 0; list = g.take(l) {
			g.send(g.b.ctx, l.family, list)
		}
	})
}

// take is what goes into the next script; none ends one that is under way.
func (g *gather) take(l *line) []*writing {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, parts, bytes := 0, 0, 0
	for n < len(l.waiting) && n < mostGathered && parts < mostParts && bytes < mostTogether {
		b := l.waiting[n].batch
		parts += len(b.Messages) + len(b.Changes) + len(b.Removes)
		bytes += l.waiting[n].bytes
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
	sent := make([]*writing, 0, len(list))
	p := newPlan(g.b.space, family)
	p.args = make([]string, 1, 1+4*len(list))
	for _, w := range list {
		args := len(p.args)
		p.add(w.batch.ID)
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
		if err := g.b.judged(w.batch, one); err != nil {
			w.done <- fmt.Errorf("redis: write: %w", err)
			continue
		}
		w.done <- nil
	}
}

// refusedWhole reports whether err is a refusal of a script that had done nothing, for a reason that may be in one of its steps alone.
func refusedWhole(err error) bool {
	return errors.Is(err, port.ErrInvalid) || errors.Is(err, port.ErrUnavailable) && strings.Contains(err.Error(), refusals[0].sign)
}
