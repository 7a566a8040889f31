package redis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

// How much of one family is under way at once: scripts, and in each of them what callers asked for, its parts and its bytes. What one of
// them asked for is never divided, so it alone may hold more.
const (
	mostWriting  = 2
	mostGathered = 256
	mostTogether = 1 << 20
)

// lines makes one script of what many callers ask for while others are under way. A caller who finds nothing under way waits for nobody.
// What they ask for stays apart: each is done whole or not at all, and refused alone. What is of one family goes out in the order in which it
// came.
//
// What may go wrong: a caller whose ctx ends before its errand was taken takes it back, and nothing happened; after that its outcome is
// unknown, and the errand is carried out without it, so nothing that waits points to the caller's memory. A connection that breaks makes
// the outcome of all in the script unknown. A script that the server refuses as a whole has done nothing: each errand is sent again alone.
type lines[E errand] struct {
	b    *Backend
	what string                                             // for error messages
	send func(ctx context.Context, family string, list []E) // runs the script, and answers each
	busy atomic.Int32                                       // how many are under way: most of those who come then will wait
	mu   sync.Mutex
	of   map[string]*line[E] // by family; none where nothing is under way
	idle *line[E]            // memory for the next
}

// errand is what one caller asks for.
type errand interface {
	detach()                  // its caller may be gone when it is sent: it needs memory of its own
	size() (parts, bytes int) // of what the script will carry
	outcome() chan error      // holds one: what came of it
}

// line is what is under way of one family, and what waits.
type line[E errand] struct {
	family  string
	running int
	waiting []E
	alone   []E // memory for an errand that is sent at once
}

func (g *lines[E]) open(b *Backend, what string, send func(context.Context, string, []E)) {
	g.b, g.what, g.send, g.of = b, what, send, map[string]*line[E]{}
}

// do runs one errand, by itself or with others. Until it is answered, others may read and write what it is made of.
func (g *lines[E]) do(ctx context.Context, family string, w E) (answered bool, err error) {
	l, now := g.enter(family, w)
	if now {
		l.alone = append(l.alone[:0], w)
		g.send(ctx, family, l.alone)
		g.next(l)
		return true, <-w.outcome()
	}
	select {
	case err := <-w.outcome():
		return true, err
	case <-ctx.Done():
	case <-g.b.ctx.Done():
	}
	if g.takeBack(l, w) {
		return false, g.b.alive(ctx, g.what)
	}
	select {
	case err := <-w.outcome():
		return true, err
	default:
	}
	if g.b.ctx.Err() != nil {
		return false, g.b.alive(ctx, g.what)
	}
	return false, fmt.Errorf("redis: %s: %s: %w: %w", g.what, g.b.where, port.ErrUncertain, context.Cause(ctx))
}

// enter puts w into its family's line, and reports whether it is to be sent at once instead.
func (g *lines[E]) enter(family string, w E) (l *line[E], now bool) {
	detached := g.busy.Load() > 0
	if detached {
		w.detach()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l = g.line(family)
	if l.running == 0 {
		l.running++
		g.busy.Add(1)
		return l, true
	}
	if !detached {
		w.detach()
	}
	l.waiting = append(l.waiting, w)
	if l.running < mostWriting {
		l.running++
		g.busy.Add(1)
		g.b.begin(func() { g.work(l, nil) })
	}
	return l, false
}

func (g *lines[E]) line(family string) *line[E] {
	l := g.of[family]
	if l == nil {
		if l = g.idle; l == nil {
			l = &line[E]{}
		}
		l.family, g.idle = family, nil
		g.of[family] = l
	}
	return l
}

// takeBack takes w out of the line; false when it was taken to be sent.
func (g *lines[E]) takeBack(l *line[E], w E) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(l.waiting, func(one E) bool { return one.outcome() == w.outcome() })
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// next goes on with what waits, beside the caller, who has its answer.
func (g *lines[E]) next(l *line[E]) {
	if list := g.take(l, nil); len(list) > 0 {
		g.b.begin(func() { g.work(l, list) })
	}
}

// work sends a list, and then what waits until nothing does.
func (g *lines[E]) work(l *line[E], list []E) {
	if len(list) == 0 {
		list = g.take(l, nil)
	}
	for ; len(list) > 0; list = g.take(l, list) {
		g.send(g.b.ctx, l.family, list)
	}
}

// take is what goes into the next script, in the memory of a list that was sent; none ends one that is under way.
func (g *lines[E]) take(l *line[E], sent []E) []E {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, parts, carried := 0, 0, 0
	for n < len(l.waiting) && n < mostGathered {
		p, b := l.waiting[n].size()
		parts += p
		carried += b
		if n > 0 && (parts > mostParts || carried > mostTogether) {
			break
		}
		n++
	}
	if n == 0 {
		g.busy.Add(-1)
		if l.running--; l.running == 0 {
			delete(g.of, l.family)
			clear(l.alone)
			g.idle = l
		}
		return nil
	}
	clear(sent)
	list := append(sent[:0], l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	return list
}
