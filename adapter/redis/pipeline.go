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

// How many commands go to one server each by itself, how many sendings of those that had to wait are under way at once, and the least
// that one of these takes where so much waits. The most is mostGathered and mostTogether.
const (
	mostStraight = 8
	mostSendings = 4
	leastSent    = 8
)

// pipeline sends commands of one key each, and many of them at once where many callers come at once: then they share what it costs to write
// to a connection and to be woken by it. No clock is in it: while few commands are under way each goes straight, and the next ones wait until
// one of those has its answer. What waits is divided among a few sendings, so that the server works at one while this process makes the next.
//
// What may go wrong: a caller whose ctx ends, or whose backend is closed, while its command waits takes it back, and nothing happened; after
// that its outcome is unknown, and the command goes its way without it. So no command is made of memory that its caller may use again, nor is
// one that goes straight: the client may be writing it when its caller has left, or was told that the connection broke. A connection that
// breaks makes the outcome of all in a sending unknown; what the server refuses is of one command alone. A command is given to the client
// once, who uses its memory again. Where the server is silent all that waits does so until its ctx ends or the client gives the server up.
type pipeline struct {
	b  *Backend
	mu sync.Mutex
	of map[string]*way // by family in a cluster, where a server must not wait for another, and none where nothing is under way; else one by ""
}

// way is what is under way to a server, and what waits.
type way struct {
	name     string
	straight int // commands
	sendings int
	sent     int // commands in all sendings
	waiting  []*request
}

// request is one command that has to wait.
type request struct {
	command rueidis.Completed
	answer  rueidis.RedisResult
	done    chan struct{} // holds one: there is an answer
}

var requests sync.Pool // of *request, which nobody else knows

// errUnsent is of a command that was taken back: nothing has happened.
var errUnsent = errors.New("it was not sent")

// do sends one command to where a key is. Its error is for fail.
func (p *pipeline) do(ctx context.Context, key string, command rueidis.Completed) rueidis.RedisResult {
	w, r := p.enter(key, command)
	if r == nil {
		answer := p.b.client.Do(ctx, command)
		p.leave(w)
		return answer
	}
	select {
	case <-r.done:
		return r.over()
	case <-ctx.Done():
	case <-p.b.ctx.Done():
	}
	if p.takeBack(w, r) {
		return rueidis.NewErrorResult(errUnsent)
	}
	select {
	case <-r.done:
		return r.over()
	default:
		return rueidis.NewErrorResult(cmp.Or(context.Cause(ctx), context.Cause(p.b.ctx)))
	}
}

// over is what was answered.
func (r *request) over() rueidis.RedisResult {
	answer := r.answer
	r.command, r.answer = rueidis.Completed{}, rueidis.RedisResult{}
	requests.Put(r)
	return answer
}

// enter has a command wait, or none where it is to go straight.
func (p *pipeline) enter(key string, command rueidis.Completed) (*way, *request) {
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
	r.command = command
	w.waiting = append(w.waiting, r)
	return w, r
}

// leave is called when a command that went straight has its answer.
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
	most := min(len(w.waiting), max(share, leastSent), mostGathered)
	n := 0
	for carried := 0; n < most; n++ {
		if carried += w.waiting[n].size(); n > 0 && carried > mostTogether {
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

// size is how many bytes a command carries.
func (r *request) size() int {
	n := 0
	for _, part := range r.command.Commands() {
		n += len(part)
	}
	return n
}

// send sends commands at once, and answers each.
func (p *pipeline) send(list []*request) {
	commands := make([]rueidis.Completed, len(list))
	for i, r := range list {
		commands[i] = r.command
	}
	for i, answer := range p.b.client.DoMulti(p.b.ctx, commands...) {
		list[i].answer = answer
		list[i].done <- struct{}{}
	}
}
