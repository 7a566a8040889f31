package redis

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// How many callers' commands go to one server each by itself, how many sendings of those that had to wait are under way at once, and the least
// that one of these takes where so much waits. The most is mostGathered and mostTogether.
const (
	mostStraight = 8
	mostSendings = 4
	leastSent    = 8
)

// pipeline sends commands that callers give it alone, and many of them at once where many callers come at once: then they share what it costs
// to write to a connection and to be woken by it. No clock is in it: while few callers are under way each goes straight, and the next ones wait
// until one of those has its answer. What waits is divided among a few sendings, so that the server works at one while this process makes the next.
//
// What may go wrong: a caller whose ctx ends, or whose backend is closed, while its command waits takes it back, and nothing happened; after
// that its outcome is unknown, and the command goes its way without it. So no command is made of memory that its caller may use again, nor is
// one that goes straight: the client may be writing it when its caller has left, or was told that the connection broke. A connection that
// breaks makes the outcome of all in a sending unknown; what the server refuses is of one command alone. A command is given to the client
// once, which uses its memory again. Where the server is silent all that waits does so until its ctx ends or the client gives the server up.
type pipeline struct {
	b  *Backend
	mu sync.Mutex
	of map[string]*way // by family in a cluster, where a server must not wait for another, and none where nothing is under way; else one by ""
}

// way is what is under way to a server, and what waits.
type way struct {
	name     string
	straight int // requests
	sendings int
	sent     int // requests in all sendings
	waiting  []*request
}

// request is what one caller has to wait with.
type request struct {
	commands []rueidis.Completed
	answers  []rueidis.RedisResult
	done     chan struct{} // holds one: there are the answers
}

var requests sync.Pool // of *request, which nobody else knows

// errUnsent is of what was taken back: nothing has happened.
var errUnsent = errors.New("it was not sent")

// do sends one command to where a key is. Its error is for fail.
func (p *pipeline) do(ctx context.Context, key string, command rueidis.Completed) rueidis.RedisResult {
	w, r := p.enter(key, command)
	if r != nil {
		return p.await(ctx, w, r)[0]
	}
	answer := p.b.client.Do(ctx, command)
	p.leave(w)
	return answer
}

// doAll is do for several commands, all to where the key is.
func (p *pipeline) doAll(ctx context.Context, key string, commands []rueidis.Completed) []rueidis.RedisResult {
	w, r := p.enter(key, commands...)
	if r != nil {
		return p.await(ctx, w, r)
	}
	answers := p.b.client.DoMulti(ctx, commands...)
	p.leave(w)
	return answers
}

// await is what is answered to a request, or the same error for each of its commands.
func (p *pipeline) await(ctx context.Context, w *way, r *request) []rueidis.RedisResult {
	n := len(r.commands)
	select {
	case <-r.done:
		return r.over()
	case <-ctx.Done():
	case <-p.b.ctx.Done():
	}
	if p.takeBack(w, r) {
		return slices.Repeat([]rueidis.RedisResult{rueidis.NewErrorResult(errUnsent)}, n)
	}
	select {
	case <-r.done:
		return r.over()
	default:
		return slices.Repeat([]rueidis.RedisResult{rueidis.NewErrorResult(cmp.Or(context.Cause(ctx), context.Cause(p.b.ctx)))}, n)
	}
}

// over is what was answered.
func (r *request) over() []rueidis.RedisResult {
	answers := r.answers
	clear(r.commands)
	r.answers = nil
	requests.Put(r)
	return answers
}

// enter has commands wait as a request, or none where they are to go straight.
func (p *pipeline) enter(key string, commands ...rueidis.Completed) (*way, *request) {
	name := ""
	if p.b.clustered() {
		name = port.Family(key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.of[name]
	if w == nil {
		w = &way{name: name}
		p.of[name] = w
	}
	if w.straight < mostStraight && w.sendings+len(w.waiting) == 0 {
		w.straight++
		return w, nil
	}
	r, ok := requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.commands = append(r.commands[:0], commands...)
	w.waiting = append(w.waiting, r)
	return w, r
}

// leave is called when what went straight has its answer.
func (p *pipeline) leave(w *way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.straight--
	p.next(w)
}

// takeBack takes out what waits; false when it was taken to be sent.
func (p *pipeline) takeBack(w *way, r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(w.waiting, r)
	if i < 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return true
}

// next goes on with what waits, beside the caller. There is always somebody under way who will call it while something waits.
func (p *pipeline) next(w *way) {
	switch {
	case len(w.waiting) > 0 && w.sendings < mostSendings:
		w.sendings++
		p.b.begin(func() { p.work(w) })
	case w.straight+w.sendings == 0 && w.name != "":
		delete(p.of, w.name)
	}
}

// work sends what waits until nothing does. Before each look it lets those go on who were answered: they come again.
func (p *pipeline) work(w *way) {
	runtime.Gosched()
	for list := p.take(w, nil); len(list) > 0; list = p.take(w, list) {
		p.send(list)
		runtime.Gosched()
	}
}

// take is the share of one sending, in the memory of what it sent before; none ends it.
func (p *pipeline) take(w *way, list []*request) []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.sent -= len(list)
	share := (len(w.waiting) + w.sent + mostSendings - 1) / mostSendings
	most := min(len(w.waiting), max(share, leastSent))
	n, commands, carried := 0, 0, 0
	for ; n < most; n++ {
		commands += len(w.waiting[n].commands)
		carried += w.waiting[n].size()
		if n > 0 && (commands > mostGathered || carried > mostTogether) {
			break
		}
	}
	clear(list)
	list = append(list[:0], w.waiting[:n]...)
	w.waiting = slices.Delete(w.waiting, 0, n)
	w.sent += n
	if n == 0 {
		w.sendings--
	}
	p.next(w)
	return list
}

// size is how many bytes a request carries.
func (r *request) size() int {
	n := 0
	for _, c := range r.commands {
		for _, part := range c.Commands() {
			n += len(part)
		}
	}
	return n
}

// send sends requests at once, and answers each.
func (p *pipeline) send(list []*request) {
	commands := make([]rueidis.Completed, 0, len(list))
	for _, r := range list {
		commands = append(commands, r.commands...)
	}
	answers := p.b.client.DoMulti(p.b.ctx, commands...)
	for _, r := range list {
		n := len(r.commands)
		r.answers, answers = answers[:n:n], answers[n:]
		r.done <- struct{}{}
	}
}
