package nats

import (
	"context"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

// tail is what this process knows of the end of a log: where it ends, what its topic's limits are, and which IDs were written
// within the window. It is right as of head: who appends does so under the condition that the log still ends there.
type tail struct {
	mu     sync.Mutex
	ready  bool
	behind bool // others have appended since
	used   time.Time
	topic  topicState
	lost   removedState // what was removed, as of loading
	head   uint64
	ord    uint64
	size   uint64
	last   uint64 // the sequence of the last chunk with entries
	known  known  // IDs of messages
	made   known  // and of batches
}

// known is IDs by the time of their chunk, in milliseconds.
type known struct {
	at    map[hash]int64
	queue []stamp // the same in the order of the log
}

type stamp struct {
	id hash
	at int64
}

func (k *known) add(id hash, at int64) {
	if k.at == nil {
		k.at = map[hash]int64{}
	}
	k.at[id] = at
	k.queue = append(k.queue, stamp{id: id, at: at})
}

// has reports whether id was added within the window, in milliseconds.
func (k *known) has(id hash, now, window int64) bool {
	at, ok := k.at[id]
	return ok && now-at <= window
}

// forget takes out what left the window.
func (k *known) forget(now, window int64) {
	n := 0
	for n < len(k.queue) && now-k.queue[n].at > window+1000 {
		if k.at[k.queue[n].id] == k.queue[n].at {
			delete(k.at, k.queue[n].id)
		}
		n++
	}
	k.queue = k.queue[n:]
}

// tail is the tail of a log, which may have to be read yet.
func (b *Backend) tail(topic string) *tail {
	b.mu.Lock()
	defer b.mu.Unlock()
	tl := b.tails[topic]
	if tl == nil {
		tl = &tail{}
		b.tails[topic] = tl
	}
	tl.used = time.Now()
	return tl
}

// appends is what one step, or several together, put at the end of a log.
type appends struct {
	topic   string
	tail    *tail
	head    uint64
	ord     uint64 // sums with what is appended here
	size    uint64
	last    uint64
	state   topicState
	lost    removedState // as far as is known; no more than is lost
	chunks  []*chunk
	ids     map[hash]bool
	batches map[hash]bool
	touched bool
	ended   bool // by a drop: what was known is of the past
}

// view is the tail as it is now, or nil when it has to be read.
func (tl *tail) view(topic string) *appends {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if !tl.ready || tl.behind {
		return nil
	}
	return &appends{topic: topic, tail: tl, head: tl.head, ord: tl.ord, size: tl.size, last: tl.last, lost: tl.lost, state: tl.topic, ids: map[hash]bool{}, batches: map[hash]bool{}}
}

// knows reports whether the ID was written within the window.
func (a *appends) knows(id hash, now int64) bool {
	window := a.state.Limits.Window
	if !a.state.exists() {
		window = port.DefaultWindow
	}
	if window < 0 {
		return false
	}
	if a.ids[id] || a.ended {
		return a.ids[id]
	}
	a.tail.mu.Lock()
	defer a.tail.mu.Unlock()
	return a.tail.known.has(id, now, port.Millis(window))
}

// applied reports whether a batch of that ID was written with this log.
func (a *appends) applied(id hash, now int64) bool {
	if a.batches[id] || a.ended {
		return a.batches[id]
	}
	a.tail.mu.Lock()
	defer a.tail.mu.Unlock()
	return a.tail.made.has(id, now, port.Millis(port.BatchWindow))
}

// apply makes the ID of a batch known.
func (a *appends) apply(id hash) {
	c := a.room(0)
	c.batches = append(c.batches, id)
	a.batches[id] = true
}

func (a *appends) windowed() bool { return !a.state.exists() || a.state.Limits.Window >= 0 }

// room is the chunk that the next entry goes into.
func (a *appends) room(bytes int) *chunk {
	a.touched = true
	if n := len(a.chunks); n > 0 {
		c := a.chunks[n-1]
		if c.kind == entriesChunk && len(c.entries) < chunkEntries && int(c.bytes())+bytes <= chunkBytes {
			return c
		}
	}
	return a.put(&chunk{kind: entriesChunk, known: a.windowed()})
}

func (a *appends) add(e entry) {
	c := a.room(len(e.body))
	c.entries = append(c.entries, e)
	a.ord++
	a.size += uint64(len(e.body))
	if !e.late && a.windowed() {
		a.ids[hashOf(e.id)] = true
	}
}

// note makes the ID of a delayed message known.
func (a *appends) note(id hash) {
	c := a.room(0)
	c.ids = append(c.ids, id)
	a.ids[id] = true
}

// mark appends a chunk that tells of the topic.
func (a *appends) mark(kind byte) {
	a.touched = true
	a.put(&chunk{kind: kind})
}

func (a *appends) put(c *chunk) *chunk {
	c.ord, c.size, c.last = a.ord, a.size, a.last
	if n := len(a.chunks); n > 0 {
		if before := a.chunks[n-1]; len(before.entries) > 0 {
			c.last = adjacent
		} else {
			c.last = before.last
		}
	}
	a.chunks = append(a.chunks, c)
	return c
}

// lag makes the tail be read on before it is used again.
func (tl *tail) lag() {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.behind = true
}

// learn takes in the record of the topic, which was made or changed here.
func (tl *tail) learn(t topicState) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.topic = t
}

// advance takes in what was appended here, whose chunks have their sequences now.
func (a *appends) advance(at time.Time) {
	tl := a.tail
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if !tl.ready || tl.head != a.head {
		return // somebody else has read on, or will
	}
	for _, c := range a.chunks {
		c.at = at
		tl.take(c)
	}
}

// take goes on by one chunk.
func (tl *tail) take(c *chunk) {
	if c.seq <= tl.head {
		return
	}
	tl.head, tl.ord, tl.size, tl.last = c.seq, c.end(), c.size+c.bytes(), c.back()
	switch c.kind {
	case limitsChunk, dropChunk:
		tl.ready = false // the record of the topic has changed
		return
	}
	if c.known {
		at := c.at.UnixMilli()
		for i := range c.entries {
			if !c.entries[i].late {
				tl.known.add(hashOf(c.entries[i].id), at)
			}
		}
		for _, id := range c.ids {
			tl.known.add(id, at)
		}
	}
	for _, id := range c.batches {
		tl.made.add(id, c.at.UnixMilli())
	}
	tl.known.forget(c.at.UnixMilli(), port.Millis(tl.window()))
	tl.made.forget(c.at.UnixMilli(), port.Millis(port.BatchWindow))
}

// window is for how long what was written counts.
func (tl *tail) window() time.Duration { return max(tl.topic.Limits.Window, port.BatchWindow) }

// sync reads the tail: all of it, or what was appended since.
func (b *Backend) sync(ctx context.Context, v *view, topic string) error {
	tl := b.tail(topic)
	tl.mu.Lock()
	ready, head := tl.ready, tl.head
	tl.mu.Unlock()
	if !ready {
		return b.loadTail(ctx, v, topic, tl)
	}
	for first := true; ; first = false {
		list, more, err := v.chunks(ctx, topic, directGet{Seq: head + 1})
		if err != nil {
			return err
		}
		if first && len(list) == 0 {
			return b.loadTail(ctx, v, topic, tl) // nobody has appended: it is another log, or one that lost its end
		}
		tl.mu.Lock()
		for _, c := range list {
			tl.take(c)
			head = c.seq
		}
		ready = tl.ready
		done := !more || len(list) == 0
		if done {
			tl.behind = false
		}
		tl.mu.Unlock()
		switch {
		case !ready:
			return b.loadTail(ctx, v, topic, tl)
		case done:
			return nil
		}
	}
}

// loadTail reads the end of the log, the record of its topic, and the IDs of the window. The end is read first: a change of the record
// after that has its chunk behind that end, so that whoever appends there meets it.
func (b *Backend) loadTail(ctx context.Context, v *view, topic string, tl *tail) error {
	end, err := v.lastChunk(ctx, topic)
	if err != nil {
		return err
	}
	found, err := v.cells(ctx, []string{b.space.topic(topic), b.space.removed(topic)})
	if err != nil {
		return err
	}
	fresh := tail{ready: true}
	if r := found[b.space.topic(topic)]; r != nil && !r.gone {
		t, err := decodeTopic(r.data)
		if err != nil {
			return err
		}
		fresh.topic = *t
	}
	if r := found[b.space.removed(topic)]; r != nil && !r.gone {
		x, err := decodeRemoved(r.data)
		if err != nil {
			return err
		}
		fresh.lost = *x
	}
	if end != nil {
		if err := b.loadIDs(ctx, v, topic, &fresh, end); err != nil {
			return err
		}
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.ready, tl.behind, tl.topic, tl.lost, tl.head, tl.ord, tl.size, tl.last, tl.known, tl.made = true, false, fresh.topic, fresh.lost, fresh.head, fresh.ord, fresh.size, fresh.last, fresh.known, fresh.made
	return nil
}

// loadIDs reads the chunks of the window up to the end of the log.
func (b *Backend) loadIDs(ctx context.Context, v *view, topic string, tl *tail, end *chunk) error {
	window := tl.window()
	early, _ := b.clock.now()
	from := early.Add(-window)
	for q := (directGet{From: &from}); end.at.After(from); {
		list, more, err := v.chunks(ctx, topic, q)
		if err != nil {
			return err
		}
		for _, c := range list {
			if c.kind == dropChunk {
				tl.known = known{}
			}
			if c.seq > end.seq {
				break
			}
			if c.kind == entriesChunk {
				tl.take(c)
			}
			q = directGet{Seq: c.seq + 1}
		}
		if !more || len(list) == 0 {
			break
		}
	}
	tl.head, tl.ord, tl.size, tl.last, tl.ready = end.seq, end.end(), end.size+end.bytes(), end.back(), true
	return nil
}
