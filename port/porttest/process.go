package porttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// process is one open backend, with what cases say often. Its methods fail the case where the port's would answer an error.
type process struct {
	port.Backend
	t *trial
}

// process opens another process on the case's namespace.
func (t *trial) process() *process {
	return &process{Backend: t.house.open(t.house.t, t.space), t: t}
}

// elsewhere opens a process on another namespace.
func (t *trial) elsewhere() *process {
	return &process{Backend: t.house.open(t.house.t, t.space+"x"), t: t}
}

// msg is a message of a topic; its body tells its ID.
func msg(topic, id string) port.Message {
	return port.Message{Topic: topic, ID: id, Body: []byte("body of " + id)}
}

// numbered are n messages of a topic, with IDs m000, m001 and on.
func numbered(topic string, n int) []port.Message {
	ms := make([]port.Message, n)
	for i := range ms {
		ms[i] = msg(topic, number(i))
	}
	return ms
}

func number(i int) string { return fmt.Sprintf("m%03d", i) }

func numbers(from, to int) []string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, number(i))
	}
	return ids
}

// group is the group "workers" of a topic as one of its consumers sees it, with a loan that does not end within the case.
func (t *trial) group(topic, consumer string) port.Group {
	return port.Group{Topic: topic, Name: "workers", Consumer: consumer, Loan: t.long}
}

// brisk is group with the shortest loan. A backend may have one loan time for all of a group, the longest of its members': where
// a loan is to end, all members have the same.
func (t *trial) brisk(topic, consumer string) port.Group { return t.lending(topic, consumer, t.unit) }

func (t *trial) lending(topic, consumer string, loan time.Duration) port.Group {
	g := t.group(topic, consumer)
	g.Loan = loan
	return g
}

func (p *process) join(g port.Group) { p.t.must(p.Join(p.t.ctx, g), "Join") }

func (p *process) declare(tp port.Topic) { p.t.must(p.Declare(p.t.ctx, tp), "Declare") }

func (p *process) write(ms ...port.Message) {
	p.t.must(p.Write(p.t.ctx, port.Batch{Messages: ms}), "Write")
}

// queued is a group that joined topic before n numbered messages were written to it.
func (p *process) queued(g port.Group, n int) {
	p.join(g)
	if n > 0 {
		p.write(numbered(g.Topic, n)...)
	}
}

// fetch gets n messages, in as many calls as it takes.
func (p *process) fetch(g port.Group, n int) []port.Delivery {
	ctx, cancel := context.WithTimeout(p.t.ctx, p.t.patience)
	defer cancel()
	var got []port.Delivery
	for len(got) < n {
		ds, err := p.Fetch(ctx, g, n-len(got))
		switch {
		case err != nil:
			p.t.fatalf("Fetch of group %q of topic %q after %d of %d messages: %v", g.Name, g.Topic, len(got), n, err)
		case len(ds) == 0:
			p.t.fatalf("Fetch returned neither a message nor an error")
		case len(ds) > n-len(got):
			p.t.fatalf("Fetch returned %d messages, asked for at most %d", len(ds), n-len(got))
		}
		got = append(got, ds...)
	}
	return got
}

func (p *process) one(g port.Group) port.Delivery { return p.fetch(g, 1)[0] }

// none fails when the group is handed anything.
func (p *process) none(g port.Group) {
	ctx, cancel := context.WithTimeout(p.t.ctx, p.t.quiet)
	defer cancel()
	ds, err := p.Fetch(ctx, g, 1)
	if len(ds) > 0 {
		p.t.fatalf("consumer %q of group %q of topic %q was handed %s, want nothing", g.Consumer, g.Name, g.Topic, ids(ds))
	}
	p.t.is(err, "Fetch with nothing to hand out", context.DeadlineExceeded)
}

func ids(ds []port.Delivery) []string {
	names := make([]string, len(ds))
	for i, d := range ds {
		names[i] = d.Message.ID
	}
	return names
}

func acks(ds ...port.Delivery) []port.Settlement {
	var ss []port.Settlement
	for _, d := range ds {
		ss = append(ss, port.Settlement{Receipt: d.Receipt})
	}
	return ss
}

func (p *process) ack(g port.Group, ds ...port.Delivery) { p.settle(g, acks(ds...)...) }

// back returns or releases a message.
func (p *process) back(g port.Group, d port.Delivery, v port.Verdict, after time.Duration) {
	p.settle(g, port.Settlement{Receipt: d.Receipt, Verdict: v, After: after})
}

// settle fails unless each settlement counts.
func (p *process) settle(g port.Group, ss ...port.Settlement) {
	for i, err := range p.settled(g, ss...) {
		p.t.must(err, fmt.Sprintf("Settle %d of %d by %s", i+1, len(ss), ss[i].Verdict))
	}
}

// settled is Settle that answers one error for each.
func (p *process) settled(g port.Group, ss ...port.Settlement) []error {
	errs := p.Settle(p.t.ctx, g, ss...)
	equal(p.t, "errors that Settle answered", len(errs), len(ss))
	return errs
}

// refused fails unless the one settlement is answered by one of want.
func (p *process) refused(g port.Group, s port.Settlement, want ...error) {
	p.t.is(p.settled(g, s)[0], "Settle by "+s.Verdict.String(), want...)
}

// extend is Extend of one hold.
func (p *process) extend(g port.Group, d port.Delivery, begin bool) error {
	errs := p.Extend(p.t.ctx, g, port.Hold{Receipt: d.Receipt, Begin: begin})
	equal(p.t, "errors that Extend answered", len(errs), 1)
	return errs[0]
}

// read is every entry after an offset that there is now.
func (p *process) read(topic string, after port.Offset) []port.Stored {
	var all []port.Stored
	for {
		some, err := p.Read(p.t.ctx, port.Range{Topic: topic, After: after, Max: 100})
		p.t.must(err, "Read of topic "+topic)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
		after = some[len(some)-1].Offset
	}
}

func stored(ss []port.Stored) []string {
	names := make([]string, len(ss))
	for i, s := range ss {
		names[i] = s.Message.ID
	}
	return names
}

// offset is the place of a message in its log.
func (p *process) offset(topic, id string) port.Offset {
	all := p.read(topic, port.Earliest)
	i := slices.IndexFunc(all, func(s port.Stored) bool { return s.Message.ID == id })
	if i < 0 {
		p.t.fatalf("topic %q has no message %q; it has %s", topic, id, stored(all))
	}
	return all[i].Offset
}

func (p *process) infos(pattern string) []port.TopicInfo {
	var all []port.TopicInfo
	for info, err := range p.Inspect(p.t.ctx, pattern) {
		p.t.must(err, "Inspect")
		all = append(all, info)
	}
	return all
}

func (p *process) info(topic string) port.TopicInfo {
	all := p.infos(topic)
	if len(all) != 1 || all[0].Topic.Name != topic {
		p.t.fatalf("Inspect(%q) yielded %d topics: %+v", topic, len(all), all)
	}
	return all[0]
}

// standing is where a group stands; the zero value when there is none.
func (p *process) standing(topic, group string) port.GroupInfo {
	for _, g := range p.info(topic).Groups {
		if g.Name == group {
			return g
		}
	}
	return port.GroupInfo{}
}

// set makes one change that must be done.
func (p *process) set(c port.Change) port.Applied {
	a := p.apply(c)
	if !a.Done || a.Err != nil {
		p.t.fatalf("change of key %q was not done: %+v", c.Key, a)
	}
	return a
}

// put sets a key for good.
func (p *process) put(key, value string) { p.set(port.Change{Key: key, Value: []byte(value)}) }

// apply makes one change.
func (p *process) apply(c port.Change) port.Applied {
	done, err := p.Apply(p.t.ctx, c)
	p.t.must(err, "Apply")
	equal(p.t, "results of Apply", len(done), 1)
	return done[0]
}

func (p *process) get(key string) port.Value {
	vs, err := p.Get(p.t.ctx, key)
	return p.single(key, vs, err)
}

// timed is get with the time that is left to live.
func (p *process) timed(key string) port.Value {
	vs, err := p.GetTTL(p.t.ctx, key)
	return p.single(key, vs, err)
}

func (p *process) single(key string, vs []port.Value, err error) port.Value {
	p.t.must(err, "Get of key "+brief(key))
	equal(p.t, "values of one key", len(vs), 1)
	equal(p.t, "the value's key", vs[0].Key, key)
	return vs[0]
}

// holds fails unless the key has the value: at once where reads are linear, in the end elsewhere.
func (p *process) holds(key, value string) { p.sees(key, true, value) }

// lacks fails unless there is no such key: at once where reads are linear, in the end elsewhere.
func (p *process) lacks(key string) { p.sees(key, false, "") }

func (p *process) sees(key string, found bool, value string) {
	var v port.Value
	ok := func() (bool, string) {
		v = p.get(key)
		return v.Found == found && string(v.Bytes) == value, fmt.Sprintf("%+v", v)
	}
	if good, last := ok(); !good {
		if p.t.caps.LinearReads {
			p.t.fatalf("key %q: %s, want found %v and value %s", key, last, found, brief(value))
		}
		p.t.eventually("key "+key, ok)
	}
}

func (p *process) keys(pattern string) []string {
	var names []string
	for k, err := range p.Keys(p.t.ctx, pattern) {
		p.t.must(err, "Keys")
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// drop gives up a group or topic; it waits for loans that ran out to be noticed.
func (p *process) drop(topic, group string) {
	p.t.eventually("Drop", func() (bool, string) {
		err := p.Drop(p.t.ctx, topic, group)
		if err != nil && !errors.Is(err, port.ErrConflict) {
			p.t.fatalf("Drop: %v", err)
		}
		return err == nil, fmt.Sprint(err)
	})
}
