package cluster

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// Change is what happened to a member.
type Change int

const (
	Joined  Change = iota + 1 // it is there; also each member that is there when Watch begins
	Left                      // it took leave
	Expired                   // it was not heard of for its TTL, and took no leave that was seen
	Changed                   // it tells something else of itself
)

// String is "joined", "left", "expired" or "changed".
func (c Change) String() string {
	switch c {
	case Joined:
		return "joined"
	case Left:
		return "left"
	case Expired:
		return "expired"
	case Changed:
		return "changed"
	default:
		return fmt.Sprintf("Change(%d)", int(c))
	}
}

// Event is a change of one member. After Left and Expired the Member is as it was seen last.
type Event struct {
	Change Change
	Member Member
}

// Watch yields who is there, as Joined, and then what changes. A process that comes back is a new incarnation: the old one is Left or Expired,
// and the new one Joined, also where both happened between two looks. It asks first, so its error is that of the first question.
//
// It looks at each hint, and every third of the shortest TTL that it knows. A member that leaves stays visible as such for its TTL, and
// its successor tells of it, so Left is told from Expired by whoever looks that often. An incarnation that came and went
// between two looks is not told.
//
// An error that it yields says that the backend did not answer; it is told once, and the sequence goes on and makes up for it. It ends
// without an error when ctx ends, and after one that matches [port.ErrClosed]. It is for one use.
func Watch(ctx context.Context, l port.Leases) (iter.Seq2[Event, error], error) {
	look := func() (roll, time.Duration, error) { return look(ctx, l) }
	first, wait, err := look()
	if err != nil {
		return nil, err
	}
	return func(yield func(Event, error) bool) {
		var old roll
		see := func(now roll) bool {
			old.keepIn(now, time.Now())
			for _, e := range old.events(now) {
				if !yield(e, nil) {
					return false
				}
			}
			old = now
			return true
		}
		if see(first) {
			watch(ctx, l, kindMember+".", wait, look, see, func(err error) bool { return yield(Event{}, err) })
		}
	}, nil
}

// roll is who is there, or has left not long ago, by ID.
type roll map[string]entry

type entry struct {
	member Member
	left   bool
	chain  uint64
	until  time.Time // it cannot have expired before that
}

// look calls the roll, and says when to do so again.
func look(ctx context.Context, l port.Leases) (roll, time.Duration, error) {
	at := time.Now()
	held, err := l.Holders(ctx, kindMember+".")
	if err != nil {
		return nil, 0, fmt.Errorf("cluster: members: %w", err)
	}
	r, wait := roll{}, defaultTTL/3
	for _, h := range held {
		n := noteOf(h)
		m := member(h, n)
		r[m.ID] = entry{member: m, left: n.Left != "", chain: n.Chain, until: at.Add(h.TTL - h.TTL/50)}
		if m.TTL > 0 {
			wait = min(wait, m.TTL/3)
		}
	}
	return r, max(wait, time.Millisecond), nil
}

// keepIn takes over into now whoever is gone from there and cannot have expired yet: a successor has released the farewell, and is about to
// say whose place it takes.
func (old roll) keepIn(now roll, at time.Time) {
	for id, was := range old {
		if _, there := now[id]; !there && !was.left && at.Before(was.until) {
			now[id] = was
		}
	}
}

// events is what happened from old to now, by ID.
func (old roll) events(now roll) []Event {
	ids := map[string]bool{}
	for id := range old {
		ids[id] = true
	}
	for id := range now {
		ids[id] = true
	}
	var all []Event
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		was, is := old[id], now[id]
		had := was.member.Incarnation != 0 && !was.left
		has := is.member.Incarnation != 0 && !is.left
		same := was.member.Incarnation == is.member.Incarnation
		switch {
		case had && same && is.left:
			all = append(all, Event{Left, was.member})
		case had && same:
			if !maps.Equal(was.member.Meta, is.member.Meta) || was.member.TTL != is.member.TTL {
				all = append(all, Event{Changed, is.member})
			}
			continue
		case had && is.chain != 0 && is.chain <= was.member.Incarnation:
			all = append(all, Event{Left, was.member})
		case had:
			all = append(all, Event{Expired, was.member})
		}
		if has {
			all = append(all, Event{Joined, is.member})
		}
	}
	return all
}
