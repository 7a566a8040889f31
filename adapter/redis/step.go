package redis

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// plan collects the keys and arguments of a script that makes steps. A topic, group or key is named by the place of its first
// key, counted from 1.
type plan struct {
	space  space
	keys   []string
	args   []string
	topics map[string]int
	places map[string]int // of groups and keys
}

// newPlan begins with the keys that every step of a family has.
func newPlan(s space, family string) *plan {
	return &plan{space: s, keys: s.addHead(make([]string, 0, 32), family), topics: map[string]int{}, places: map[string]int{}}
}

func (p *plan) add(args ...string) { p.args = append(p.args, args...) }

func (p *plan) place(places map[string]int, name string, add func() []string) int {
	if at, ok := places[name]; ok {
		return at
	}
	at := len(p.keys) + 1
	p.keys = add()
	places[name] = at
	return at
}

func (p *plan) topic(topic string) int {
	return p.place(p.topics, topic, func() []string { return p.space.addTopic(p.keys, topic) })
}

func (p *plan) group(topic, group string) int {
	return p.place(p.places, "group "+topic+" "+group, func() []string { return p.space.addGroup(p.keys, topic, group) })
}

func (p *plan) key(key string) int {
	return p.place(p.places, "key "+key, func() []string { return append(p.keys, p.space.key(key)) })
}

// step appends one step, as parse in step.lua reads it: of messages alone their number, else x and all that there is. A removal by an
// offset that was never made here is answered at once. Blobs are the messages, encoded.
func (p *plan) step(b *port.Batch, blobs []string) error {
	if len(b.Removes)+len(b.Changes) > 0 || !b.Fence.IsZero() {
		if err := p.whole(b); err != nil {
			return err
		}
	}
	p.add(strconv.Itoa(len(b.Messages)))
	for i := range b.Messages {
		p.add(p.of(&b.Messages[i]), blobs[i])
	}
	return nil
}

// whole appends what a step has before its messages.
func (p *plan) whole(b *port.Batch) error {
	p.add("x")
	p.fence(b.Fence)
	p.add(strconv.Itoa(len(b.Removes)))
	for _, r := range b.Removes {
		entry, ok := at(r.Offset)
		if !ok {
			return notThere(&r)
		}
		p.add(strconv.Itoa(p.topic(r.Topic)), entry.era, entry.id())
	}
	p.add(strconv.Itoa(len(b.Changes)))
	for i := range b.Changes {
		c := &b.Changes[i]
		p.add(strconv.Itoa(p.key(c.Key)), flag(c.Delete), string(c.Value), strconv.Itoa(int(c.If)), string(c.Old), ttl(c.TTL))
		p.fence(c.Fence)
	}
	return nil
}

// of is the place of a message: its topic, and where they are there its group and the time when it is due.
func (p *plan) of(m *port.Message) string {
	place := strconv.Itoa(p.topic(m.Topic))
	if m.Group == "" && m.At.IsZero() {
		return place
	}
	group := 0
	if m.Group != "" {
		group = p.group(m.Topic, m.Group)
	}
	return place + " " + strconv.Itoa(group) + " " + due(m.At)
}

func (p *plan) fence(f port.Fence) { p.add(f.Name, strconv.FormatUint(f.Token, 10)) }

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// ttl is a time to live as the scripts take it: 0 none, -1 as it was.
func ttl(d time.Duration) string {
	if d == port.KeepTTL {
		return "-1"
	}
	return number(port.Millis(d))
}

// due is a time in milliseconds, rounded up: not before it.
func due(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return number(max(0, t.Add(time.Millisecond-1).UnixMilli()))
}

func notThere(r *port.Removal) error {
	return fmt.Errorf("there is no entry %q in topic %s: %w", r.Offset, r.Topic, port.ErrNotFound)
}

// judged is what a script answered for one step: nil, a DuplicateError, or why it was refused.
func (b *Backend) judged(batch *port.Batch, m rueidis.RedisMessage) error {
	if m.IsInt64() {
		if v, _ := m.AsInt64(); v == 0 {
			return nil // a repetition
		}
		b.counts.written.Add(int64(len(batch.Messages)))
		return nil
	}
	r := reply{list: m}
	why := r.text()
	if why == "known" {
		dup := &port.DuplicateError{}
		for r.more() {
			dup.IDs = append(dup.IDs, full(r.text()))
		}
		b.counts.written.Add(int64(len(batch.Messages) - len(dup.IDs)))
		b.counts.duplicates.Add(int64(len(dup.IDs)))
		return dup
	}
	if why == "fence" {
		f := &port.FenceError{Name: r.text(), Token: uint64(r.int()), Seen: uint64(r.int())}
		if r.err == nil {
			b.counts.conflicts.Add(1)
			return f
		}
	}
	i := int(r.int()) - 1
	if r.err != nil || i < 0 {
		return fmt.Errorf("%w: %w", port.ErrUncertain, errors.Join(r.err, errShort))
	}
	switch why {
	case "condition":
		b.counts.conflicts.Add(1)
		return fmt.Errorf("the condition %s on key %q does not hold: %w", batch.Changes[i].If, batch.Changes[i].Key, port.ErrConflict)
	case "type":
		return fmt.Errorf("the key %q holds a value of another type than a string, which somebody else has put there: %w", batch.Changes[i].Key, port.ErrInvalid)
	case "entry":
		return notThere(&batch.Removes[i])
	case "group":
		return fmt.Errorf("message %q is for group %s of topic %s, which is not there: %w", batch.Messages[i].ID, batch.Messages[i].Group, batch.Messages[i].Topic, port.ErrNotFound)
	case "full":
		return &fullError{batch.Messages[i].Topic}
	default:
		return fmt.Errorf("a script refused with %q, which is unknown here: %w", why, port.ErrUncertain)
	}
}

// fullError is a step that met a topic at its limit.
type fullError struct{ topic string }

func (e *fullError) Error() string {
	return fmt.Sprintf("topic %s is full of what its groups have not finished: serve them, drop those that nobody serves, or raise its limits", e.topic)
}

func (e *fullError) Unwrap() error { return port.ErrUnavailable }
