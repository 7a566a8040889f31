package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// How much one answer may hold: messages, and bytes of their bodies by their average size.
const (
	mostMessages = 500
	mostBytes    = 4 << 20
)

// Fetch hands out at most 500 messages, and about 4 MiB. When ctx ends while the server is being asked, what it handed out is
// released before the call returns, if the server answers within a second.
func (b *Backend) Fetch(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
	if err := port.CheckFetch(b.caps, g, limit); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	b.janitor.know(g.Topic)
	keys := b.withGroups(g.Topic, []string{g.Name})
	args := []string{
		g.Consumer, number(port.Millis(g.Loan)), strconv.Itoa(min(limit, mostMessages)), strconv.Itoa(mostBytes),
		number(port.Millis(g.Remember)), "",
	}
	var out []port.Delivery
	err := b.attend(ctx, &g, func(channel string, again bool) (looked, error) {
		args[5] = channel
		for {
			f, err := b.fetch(ctx, &g, limit, keys, args, again)
			if err != nil || len(f.list) > 0 || f.due != 0 {
				out = f.list
				return looked{len(f.list) > 0, f.due}, err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("redis: fetch for group %s of topic %s: %w", g.Name, g.Topic, err)
	}
	out = handed(g.Into, out)
	b.counts.fetched.Add(int64(len(out)))
	for i := range out {
		if out[i].Lost > 0 {
			b.counts.redelivered.Add(1)
		}
	}
	return out, nil
}

// fetched is what one question brought.
type fetched struct {
	list []port.Delivery
	due  int64 // ms until it is worth to look again; -1 where that is not known, -2 where nothing is registered to be woken
	err  error
}

// handBack is how long a fetch whose ctx has ended waits until what the server was handing out is handed back. After it the caller may
// close this backend, and its process may end.
const handBack = time.Second

// fetch asks once. The question is not taken back when ctx ends: then its answer is awaited, and handed back; beside the caller where
// that takes longer than handBack.
func (b *Backend) fetch(ctx context.Context, g *port.Group, limit int, keys, args []string, again bool) (fetched, error) {
	if err := b.alive(ctx, ""); err != nil {
		return fetched{}, err
	}
	answer := make(chan fetched, 1)
	group, sent := *g, append([]string(nil), args...)
	b.begin(func() {
		answer <- b.handOut(&group, limit, keys, sent, again)
	})
	select {
	case f := <-answer:
		return f, f.err
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	back := make(chan struct{})
	b.begin(func() {
		defer close(back)
		if f := <-answer; len(f.list) > 0 {
			back := make([]port.Settlement, len(f.list))
			for i := range f.list {
				back[i] = port.Settlement{Receipt: f.list[i].Receipt, Verdict: port.Release}
			}
			b.Settle(b.ctx, group, back...) // what fails to be handed back comes again when its loan has ended
		}
	})
	select {
	case <-back:
	case <-time.After(handBack): // the server is silent
	case <-b.ctx.Done():
	}
	return fetched{}, b.alive(ctx, "")
}

// handOut lends what is there: the backlog as it was read before, or what a script finds: the short one, or where it answers that there
// is more to do, the long one. Again: this looks once more because it was woken.
func (b *Backend) handOut(g *port.Group, limit int, keys, args []string, again bool) fetched {
	s := b.ahead.take(g)
	if s != nil {
		list, ok, err := b.lendAhead(g, s, limit)
		if ok {
			b.ahead.put(g, s)
		}
		if ok || err != nil {
			return fetched{list, unregistered, err}
		}
	}
	short := make([]string, 0, 2+groupKeys)
	short = append(append(short, keys[1:3]...), keys[1+topicKeys:]...)
	flag := "0"
	if again {
		flag = "1"
	}
	m, err := b.run(b.ctx, "", b.scripts.pick, short, append(args, flag))
	if err == nil && m.IsInt64() {
		m, err = b.run(b.ctx, "", b.scripts.fetch, keys, args)
	}
	if err != nil {
		return fetched{nil, unregistered, err}
	}
	if word(&m) == "lost" {
		return fetched{nil, unregistered, fmt.Errorf("there is no such group; Join makes it: %w", port.ErrLost)}
	}
	r := reply{list: m}
	era, deadline := r.text(), r.int()
	loan := loan{group: g, token: r.text(), until: time.UnixMilli(deadline)}
	due := r.int()
	fresh := int(r.int())
	where := r.text()
	l := newLending(loan, era, fresh)
	entries := 0
	for len(l.list) < fresh && r.err == nil {
		id, value := r.text(), r.stored()
		if r.err == nil {
			r.note(l.take(id, value, 0, nil))
		}
		entries++
	}
	l.seal()
	list := l.list
	for r.more() {
		list = append(list, loan.again(&r, era))
	}
	if r.err != nil {
		return fetched{nil, unregistered, fmt.Errorf("%w: %w", port.ErrUncertain, r.err)}
	}
	b.ahead.put(g, spotted(s, era, where, list, entries))
	return fetched{list, due, nil}
}

// again reads a message that was handed out before, or is addressed: <name> <state> <message>, where the state is
// <token> <consumer> <ms> <attempt> <lost> <crashes> <begun> <first> <reason>.
func (l *loan) again(r *reply, era string) port.Delivery {
	name := r.text()
	state := strings.SplitN(r.text(), " ", 9)
	if len(state) != 9 {
		r.note(errShort)
		return port.Delivery{}
	}
	ms, addressed := state[2], strings.HasPrefix(name, "p")
	if addressed {
		ms = ""
	}
	value := r.stored()
	d := port.Delivery{Until: l.until}
	if r.err == nil {
		r.note(value.unpack(l.group.Topic, func(m port.Message, id string) bool {
			d.Message, d.Receipt = m, claim{name, ms, l.token, id}.receipt(l.group)
			return true
		}))
	}
	if r.err != nil {
		return d
	}
	for i, into := range []*int{&d.Attempt, &d.Lost, &d.Crashes} {
		n, err := strconv.Atoi(state[3+i])
		r.note(err)
		*into = n
	}
	first, err := millis(state[7])
	r.note(err)
	d.FirstAt, d.Reason = first, state[8]
	if addressed {
		d.Message.Group = l.group.Name
	} else {
		d.Offset = place{era, ms, name}.offset()
	}
	return d
}
