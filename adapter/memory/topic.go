package memory

import (
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// topic is a log, the messages that are not due yet, and the groups.
type topic struct {
	conf    port.Topic
	log     log
	delayed agenda[single]
	groups  []*group // by name
	latest  *group   // the one that was asked for last

	window ids
	// reserved is what steps that are not finished will still append.
	reserved, reservedBytes int64
	delayedBytes            int64

	touched bool
	news    bool // something for readers: an entry, or an earlier time to look
}

func newTopic(conf port.Topic, era uint64) *topic {
	return &topic{conf: conf, log: newLog(era)}
}

func (t *topic) group(name string) *group {
	if t.latest != nil && t.latest.name == name {
		return t.latest
	}
	if i, ok := t.place(name); ok {
		t.latest = t.groups[i]
		return t.latest
	}
	return nil
}

func (t *topic) place(name string) (int, bool) {
	return slices.BinarySearchFunc(t.groups, name, func(g *group, name string) int { return strings.Compare(g.name, name) })
}

// put appends the entry at i of k, or keeps it back until it is due.
func (t *topic) put(k *kept, i int, due time.Time, now moment) {
	t.news = true
	e := &k.entries[i]
	if wait := now.until(due); wait > 0 {
		t.delayed.add(later(now.ns, wait), k.single(i))
		t.delayedBytes += int64(e.size)
		return
	}
	t.log.append(e, k.blocks[e.block], now.t.UnixNano())
}

// later is a and b, or never.
func later(a, b int64) int64 {
	if b > never-a {
		return never
	}
	return a + b
}

// promote appends what has become due, and reports whether anything had. Every call that looks at the log or appends to
// it promotes first, so the entries' times do not go back.
func (t *topic) promote(now moment) bool {
	any := false
	for t.delayed.next() <= now.ns {
		at, e := t.delayed.pop()
		t.delayedBytes -= int64(e.size)
		t.log.append(&e.entry, e.block, now.wall(at))
		t.news, any = true, true
	}
	return any
}

// slowest is the first entry that some group was never handed.
func (t *topic) slowest() uint64 {
	seq := t.log.next
	for _, g := range t.groups {
		seq = min(seq, g.cursor)
	}
	return seq
}

// trim gives up the oldest entries while a limit is passed and every group has finished them.
func (t *topic) trim(now moment) {
	slowest := uint64(0)
	for t.log.first < t.log.next {
		e := t.log.at(t.log.first)
		if !e.gone && !t.over(e, now) {
			return
		}
		if slowest == 0 {
			slowest = t.slowest()
		}
		if t.log.first >= slowest || e.pins > 0 {
			return
		}
		t.log.shift()
	}
}

// over reports whether a limit is passed while e is the first entry.
func (t *topic) over(e *entry, now moment) bool {
	c := &t.conf
	return c.MaxCount >= 0 && t.log.count > c.MaxCount ||
		c.MaxBytes >= 0 && t.log.bytes > c.MaxBytes ||
		c.MaxAge >= 0 && now.t.UnixNano()-e.at >= int64(c.MaxAge)
}

func (t *topic) limited() bool { return t.conf.MaxCount >= 0 || t.conf.MaxBytes >= 0 }

// room reports whether n messages of that many bytes have room, after trimming if need be. Where there is no group, what is
// too much is trimmed as soon as it is there.
func (t *topic) room(n, bytes int64) bool {
	if len(t.groups) == 0 {
		return true
	}
	over, overBytes := int64(0), int64(0)
	if t.conf.MaxCount >= 0 {
		over = t.log.count + int64(len(t.delayed.list)) + t.reserved + n - t.conf.MaxCount
	}
	if t.conf.MaxBytes >= 0 {
		overBytes = t.log.bytes + t.delayedBytes + t.reservedBytes + bytes - t.conf.MaxBytes
	}
	slowest := t.slowest()
	for seq := t.log.first; over > 0 || overBytes > 0; seq++ {
		if seq >= slowest || t.log.at(seq).pins > 0 {
			return false
		}
		if e := t.log.at(seq); !e.gone {
			over--
			overBytes -= int64(e.size)
		}
	}
	return true
}
