package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/port"
)

// maxPlaces is how many may wait in a queue, and how many may read, at once. Places are used again, because a backend never
// forgets the last token of a name.
const maxPlaces = 1000

// What stands about a lock.
const (
	partWaits = "q"
	partReads = "r"
	partDoor  = "door"
)

// crowd is who stands about a lock, as one list of the backend has it.
type crowd struct {
	waiting []port.Lease // the tickets of those who wait, first come first
	reading []port.Lease // the seats of those who read, or are about to
	door    port.Lease   // through which readers join those who read; Token 0: there is none
}

func (b *bid) crowdPrefix() string { return kindShare + "." + b.name + "." }

// crowd tells who stands about the lock.
func (b *bid) crowd(ctx context.Context) (crowd, error) {
	prefix := b.crowdPrefix()
	ctx, stop := context.WithTimeout(ctx, b.terms.Lease)
	defer stop()
	held, err := b.leases.Holders(ctx, prefix)
	if err != nil {
		return crowd{}, fmt.Errorf("cluster: who waits for %s: %w", b.what, err)
	}
	var c crowd
	for _, h := range held {
		rest := strings.TrimPrefix(h.Name, prefix)
		part, number, _ := strings.Cut(rest, ".")
		_, err := strconv.Atoi(number)
		switch {
		case rest == partDoor:
			c.door = h
		case err != nil: // of a longer name
		case part == partWaits:
			c.waiting = append(c.waiting, h)
		case part == partReads:
			c.reading = append(c.reading, h)
		}
	}
	slices.SortFunc(c.waiting, before)
	return c, nil
}

// before is the order of tickets: by token, and where two were granted at one moment, by place.
func before(a, b port.Lease) int {
	return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Name, b.Name))
}

// ahead is who comes directly before a ticket.
func (c crowd) ahead(of port.Lease) (port.Lease, bool) {
	i, _ := slices.BinarySearchFunc(c.waiting, of, before)
	if i == 0 {
		return port.Lease{}, false
	}
	return c.waiting[i-1], true
}

// place is a bid for any free place of a part of the crowd.
type place struct {
	*bid
	prefix string
}

func (b *bid) place(part string) place {
	p := place{bid: b.again(), prefix: b.crowdPrefix() + part + "."}
	p.note.Read, p.note.Door, p.want.Seen = "", 0, 0
	return p
}

// take acquires a place that is not among the taken ones, with a token larger than theirs. A place that may have been granted is asked
// for alone until that is known, so that nobody has two.
func (p *place) take(ctx context.Context, taken []port.Lease) (grant, error) {
	if p.doubt {
		g, err := p.acquire(ctx)
		if !errors.Is(err, port.ErrHeld) {
			return g, err
		}
		p.doubt = false
	}
	names := make(map[string]bool, len(taken))
	for _, t := range taken {
		names[t.Name] = true
		p.want.Seen = max(p.want.Seen, t.Token)
	}
	// Among twice as many as are taken, so that those who come at one moment seldom meet.
	n := min(2*len(taken)+8, maxPlaces)
	from := int(p.terms.Random() * float64(n))
	for i := range n {
		p.want.Name = p.prefix + strconv.Itoa((from+i)%n)
		if names[p.want.Name] {
			continue
		}
		if g, err := p.acquire(ctx); !errors.Is(err, port.ErrHeld) {
			return g, err
		}
	}
	return grant{}, fmt.Errorf("cluster: %s: all %d places of those who wait or read are taken: %w", p.what, n, port.ErrHeld)
}
