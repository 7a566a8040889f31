package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/musterhq/muster/port"
)

// Extend moves up to 500 deadlines in one script. It answers [port.ErrLost] when the group does not exist any more.
func (b *Backend) Extend(ctx context.Context, g port.Group, h ...port.Hold) []error {
	if err := g.CheckMember(b.caps); err != nil {
		return all(len(h), fmt.Errorf("redis: extend: %w", err))
	}
	if err := b.alive(ctx, "extend"); err != nil {
		return all(len(h), err)
	}
	errs := make([]error, 0, len(h))
	for part := range slices.Chunk(h, mostSettlements) {
		for _, err := range b.extend(ctx, &g, part) {
			if err != nil {
				err = fmt.Errorf("redis: extend for group %s of topic %s: %w", g.Name, g.Topic, err)
			}
			errs = append(errs, err)
		}
	}
	return errs
}

func (b *Backend) extend(ctx context.Context, g *port.Group, h []port.Hold) []error {
	errs := make([]error, len(h))
	stale := func(i int) {
		b.counts.stale.Add(1)
		errs[i] = fmt.Errorf("the message was settled, or its loan passed on: %w", port.ErrStale)
	}
	var names, tokens, ms, begins []string
	var sent []int
	for i := range h {
		if h[i].Receipt == "" {
			errs[i] = fmt.Errorf("the receipt is empty: %w", port.ErrInvalid)
			continue
		}
		c, ok := claimed(g, h[i].Receipt)
		if !ok {
			stale(i)
			continue
		}
		sent = append(sent, i)
		names, tokens, ms, begins = append(names, c.name), append(tokens, c.token), append(ms, c.ms), append(begins, flag(h[i].Begin))
	}
	if len(sent) == 0 {
		return errs
	}
	args := slices.Concat([]string{g.Consumer, number(port.Millis(g.Loan)), strconv.Itoa(len(sent))}, names, tokens, ms, begins)
	keys := b.space.addGroup(nil, g.Topic, g.Name)
	m, err := b.run(ctx, "", b.scripts.extend, keys, args)
	if err == nil && word(&m) == "lost" {
		err = fmt.Errorf("there is no such group: %w", port.ErrLost)
	}
	r := reply{list: m}
	for _, i := range sent {
		switch {
		case err != nil:
			errs[i] = err
		case r.int() == 0:
			if stale(i); r.err != nil {
				errs[i] = fmt.Errorf("%w: %w", port.ErrUncertain, r.err)
			}
		}
	}
	return errs
}
