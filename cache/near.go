package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	stripes    = 256
	tagStripes = 4096
	maxFloors  = 32 // of one stripe and generation
)

// near is the local copies and what is needed to know which of them may be served and which fills may become copies. Everything
// here is in memory; nothing here does I/O or calls what the user brought.
type near[T any] struct {
	held  *otter.Cache[string, *local[T]]
	watch watch
	seed  maphash.Seed

	epoch   atomic.Uint64 // + 1: no copy from before may be served
	marks   atomic.Pointer[marks]
	marking sync.Mutex // of those who set marks
	tags    [tagStripes]atomic.Uint32
	tagged  atomic.Uint64 // tag invalidations
	stripes [stripes]stripe
}

// stripe guards the copies of some of the keys against fills that read the store before they were invalidated.
type stripe struct {
	mu         sync.Mutex
	generation uint64 // + 1 with each invalidation of one of the keys
	// floors are the versions of the last writes heard of, of the keys written lately: a fill that is not below its key's has
	// not missed them. When floors is full it becomes former.
	floors, former map[string]Version
	_              [64]byte // two stripes do not share a cache line
}

// local is a near copy. Only checked changes.
type local[T any] struct {
	value   T
	kind    kind // holds or nothing
	version Version
	epoch   uint64
	seq     uint64
	checked atomic.Uint64 // the marks up to this number do not hit it
	tags    []tagRef
	expires instant
	filled  instant // when the store was asked for it, or the write of it was sent
}

// tagRef is a tag's stripe and how often that was invalidated when the copy's store was read. Two tags of one stripe are
// invalidated together, which costs a miss.
type tagRef struct {
	stripe uint16
	count  uint32
}

func newNear[T any](size int, w watch) (*near[T], error) {
	held, err := otter.New(&otter.Options[string, *local[T]]{
		MaximumSize: size,
		Executor:    func(fn func()) { fn() }, // no goroutine that nobody waits for
	})
	if err != nil {
		return nil, err
	}
	n := &near[T]{held: held, watch: w, seed: maphash.MakeSeed()}
	n.marks.Store(new(marks))
	return n, nil
}

func (n *near[T]) stripe(key string) *stripe {
	return &n.stripes[maphash.String(n.seed, key)%stripes]
}

func (n *near[T]) tagStripe(tag string) uint16 {
	return uint16(maphash.String(n.seed, tag) % tagStripes)
}

// valid reports whether nothing that is known here has invalidated c. It says nothing of its expiry, nor whether what is known
// here may be believed.
func (n *near[T]) valid(key string, c *local[T]) bool {
	if c.epoch != n.epoch.Load() {
		return false
	}
	for _, t := range c.tags {
		if n.tags[t.stripe].Load() != t.count {
			return false
		}
	}
	m := n.marks.Load()
	if checked := c.checked.Load(); checked != m.Top {
		if m.hits(key, c.seq, checked) {
			return false
		}
		c.checked.Store(m.Top)
	}
	return true
}

// ticket is what is noted before the store is read, or a change of it is sent.
type ticket struct {
	epoch, generation, tagged, top uint64
	taken                          instant
}

func (n *near[T]) ticket(key string) ticket {
	s := n.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return ticket{epoch: n.epoch.Load(), generation: s.generation, tagged: n.tagged.Load(), top: n.marks.Load().Top, taken: n.watch.now()}
}

// same reports whether nothing that may concern the key was invalidated between two tickets of it.
func (t ticket) same(o ticket) bool {
	return t.epoch == o.epoch && t.generation == o.generation && t.tagged == o.tagged && t.top == o.top
}

// refs notes how often the tags were invalidated so far.
func (n *near[T]) refs(tags []string) []tagRef {
	if len(tags) == 0 {
		return nil
	}
	refs := make([]tagRef, len(tags))
	for i, tag := range tags {
		s := n.tagStripe(tag)
		refs[i] = tagRef{s, n.tags[s].Load()}
	}
	return refs
}

// insert makes c the key's copy unless it may have been overwritten by something that was heard of since t. Of marks and tags that came since
// then valid finds out.
func (n *near[T]) insert(key string, t ticket, c *local[T]) bool {
	s := n.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.epoch != n.epoch.Load() {
		return false
	}
	if floor, ok := s.floor(key); ok && c.version.Compare(floor) < 0 || !ok && s.generation != t.generation {
		return false
	}
	c.epoch = t.epoch
	c.checked.Store(c.seq)
	n.held.Set(key, c)
	return true
}

func (s *stripe) floor(key string) (Version, bool) {
	if v, ok := s.floors[key]; ok {
		return v, true
	}
	v, ok := s.former[key]
	return v, ok
}

// drop applies a write of the key that has the version v: an older copy is dropped, and none older comes back. Copies of v itself and of
// newer writes stay, so a node's own write does no harm when it is heard.
func (n *near[T]) drop(key string, v Version) {
	s := n.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	if floor, ok := s.floor(key); !ok || floor.Compare(v) < 0 {
		if len(s.floors) >= maxFloors {
			s.former, s.floors = s.floors, nil
		}
		if s.floors == nil {
			s.floors = map[string]Version{}
		}
		s.floors[key] = v
	}
	if c, ok := n.held.GetEntryQuietly(key); ok && c.Value.version.Compare(v) < 0 {
		n.held.Invalidate(key)
	}
}

// forget drops the key's copy, whatever it is, and no fill that is under way becomes one.
func (n *near[T]) forget(key string) {
	s := n.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	delete(s.floors, key)
	delete(s.former, key)
	n.held.Invalidate(key)
}

// dropTag drops what carries the tag.
func (n *near[T]) dropTag(tag string) {
	n.tagged.Add(1)
	n.tags[n.tagStripe(tag)].Add(1)
}

// reset drops everything, in no time: what is held is recognised as old when it is looked at, or makes room for others.
func (n *near[T]) reset() { n.epoch.Add(1) }

// mark takes over marks that were read from the store, if they are newer.
func (n *near[T]) mark(m *marks) {
	n.marking.Lock()
	defer n.marking.Unlock()
	if m.Top > n.marks.Load().Top {
		n.marks.Store(m)
	}
}

// hearMark applies an invalidation that was heard of. Where the one before it is not known here, all copies are dropped, and the next look
// at the store, which finds its digest ahead, brings the marks.
func (n *near[T]) hearMark(op Op) {
	n.marking.Lock()
	defer n.marking.Unlock()
	switch m := n.marks.Load(); {
	case op.Seq <= m.Top:
	case op.Prev != m.Top && op.Kind != OpClear:
		n.reset()
	default:
		n.marks.Store(m.with(op))
	}
}

// age is how long ago, at most, c was known to be what the store has: last is when the log was last heard to its end.
func (c *local[T]) age(last *instant, now instant) time.Duration {
	known := c.filled
	if last != nil && last.mono > known.mono {
		known = *last
	}
	return known.earlier(c.expires).since(now)
}
