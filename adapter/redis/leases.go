package redis

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// Acquire leaves the nonce out of the lease that it returns beside ErrHeld. A name whose last token was the largest that there
// is is answered with [port.ErrUnavailable].
func (b *Backend) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	if err := want.Check(b.caps, ttl); err != nil {
		return port.Lease{}, fmt.Errorf("redis: acquire: %w", err)
	}
	what := "acquire lease " + want.Name
	if err := b.register(ctx, what, want.Name); err != nil {
		return port.Lease{}, err
	}
	args := []string{
		want.Name, want.Owner, want.Nonce, strconv.FormatUint(want.Seen, 10), string(want.Data), number(port.Millis(ttl)),
		b.space.hint(port.Family(want.Name)), number(port.Millis(b.quarantine)),
	}
	keys := append(b.leaseKeys(want.Name), b.masterKey(want.Name))
	m, err := b.run(ctx, what, b.scripts.acquire, keys, args)
	if err != nil {
		return port.Lease{}, err
	}
	r := reply{list: m}
	got := port.Lease{Name: want.Name}
	switch r.int() {
	case 1:
		got.Owner, got.Nonce, got.Data, got.Token, got.TTL = want.Owner, want.Nonce, want.Data, r.token(), duration(port.Millis(ttl))
		if r.err != nil {
			return got, b.fail(ctx, what, r.err, true)
		}
		return b.kept(ctx, what, got)
	case 0:
		got.Token, got.Owner, got.Data, got.TTL = r.token(), r.text(), r.bytes(), duration(r.int())
		if r.err != nil {
			return port.Lease{}, b.fail(ctx, what, r.err, true)
		}
		return got, fmt.Errorf("redis: %s: it is held by %q: %w", what, got.Owner, port.ErrHeld)
	case -2:
		left := duration(r.int())
		return port.Lease{}, fmt.Errorf("redis: %s: the master changed, and what the last one granted may be out still: nothing is granted for another %v (Config.Quarantine): %w", what, left, port.ErrUnavailable)
	default:
		return port.Lease{}, fmt.Errorf("redis: %s: it had the largest token that there is: %w", what, port.ErrUnavailable)
	}
}

// kept returns a lease that was granted when enough replicas have it, and gives it back when they have not.
func (b *Backend) kept(ctx context.Context, what string, got port.Lease) (port.Lease, error) {
	if b.replicas == 0 {
		return got, nil
	}
	err := b.replicated(ctx, what, port.Family(got.Name))
	if err == nil {
		return got, nil
	}
	if e := b.Release(ctx, got)[0]; e != nil {
		// It is held until it runs out or the same nonce acquires or releases it.
		return port.Lease{}, fmt.Errorf("redis: %s: %w: %w: %w", what, port.ErrUncertain, err, e)
	}
	return port.Lease{}, err
}

func (b *Backend) leaseKeys(name string) []string {
	return b.space.addLeases(make([]string, 0, 4), port.Family(name))
}

// masterKey is where Acquire notes which master it saw: one key, or in a cluster one for each family, which have their own masters.
func (b *Backend) masterKey(name string) string {
	if b.clustered() {
		return b.space.prefix + "master:" + tagged(port.Family(name))
	}
	return b.space.prefix + "master"
}

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// token is a fencing token, as text.
func (r *reply) token() uint64 {
	text := r.text()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	r.note(err)
	return n
}

func (r *reply) bytes() []byte {
	text := r.text()
	if text == "" {
		return nil
	}
	return []byte(text)
}

// Renew is one script for the leases of each family.
func (b *Backend) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	out, errs := make([]port.Lease, len(held)), make([]error, len(held))
	if err := port.CheckTTL(b.caps, "renewal", ttl, false); err != nil {
		return out, all(len(held), fmt.Errorf("redis: renew: %w", err))
	}
	if err := b.alive(ctx, "renew"); err != nil {
		return out, all(len(held), err)
	}
	b.eachLease("renew", held, errs, false, func(part []int, args []string) {
		m, err := b.run(ctx, "renew", b.scripts.renew, b.leaseKeys(held[part[0]].Name), append([]string{number(port.Millis(ttl))}, args...))
		r := reply{list: m}
		for _, i := range part {
			if errs[i] = err; err != nil {
				continue
			}
			one := reply{list: r.next()}
			switch {
			case r.err != nil:
				errs[i] = b.fail(ctx, "renew lease "+held[i].Name, r.err, true)
			case one.list.IsInt64():
				errs[i] = lost("renew", held[i].Name)
			default:
				out[i] = held[i]
				out[i].Seen, out[i].Owner, out[i].Data, out[i].TTL = 0, one.text(), one.bytes(), duration(port.Millis(ttl))
				errs[i] = b.fail(ctx, "renew lease "+held[i].Name, one.err, true)
			}
		}
	})
	return out, errs
}

func lost(what, name string) error {
	return fmt.Errorf("redis: %s lease %s: this nonce and token do not hold it any more: %w", what, name, port.ErrLost)
}

// eachLease checks every lease and gives those that are valid to run, one family at a time, with name, nonce and token of each.
func (b *Backend) eachLease(what string, held []port.Lease, errs []error, anyToken bool, run func(part []int, args []string)) {
	for i := range held {
		if err := held[i].CheckHeld(anyToken); err != nil {
			errs[i] = fmt.Errorf("redis: %s: %w", what, err)
		}
	}
	for _, family := range byFamily(len(held), func(i int) string { return held[i].Name }) {
		family = slices.DeleteFunc(family, func(i int) bool { return errs[i] != nil })
		for part := range slices.Chunk(family, mostSettlements) {
			args := make([]string, 0, 1+3*len(part))
			for _, i := range part {
				args = append(args, held[i].Name, held[i].Nonce, strconv.FormatUint(held[i].Token, 10))
			}
			run(part, args)
		}
	}
}

// Release is one script for the leases of each family.
func (b *Backend) Release(ctx context.Context, held ...port.Lease) []error {
	errs := make([]error, len(held))
	if err := b.alive(ctx, "release"); err != nil {
		return all(len(held), err)
	}
	b.eachLease("release", held, errs, true, func(part []int, args []string) {
		name := held[part[0]].Name
		m, err := b.run(ctx, "release", b.scripts.release, b.leaseKeys(name), append([]string{b.space.hint(port.Family(name))}, args...))
		r := reply{list: m}
		for _, i := range part {
			if errs[i] = err; err != nil {
				continue
			}
			if ok := r.int() == 1; r.err != nil {
				errs[i] = b.fail(ctx, "release lease "+held[i].Name, r.err, true)
			} else if !ok {
				errs[i] = lost("release", held[i].Name)
			}
		}
	})
	return errs
}

// Holders is one script for each family that a prefix may mean.
func (b *Backend) Holders(ctx context.Context, prefix string) ([]port.Lease, error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("redis: holders: %w", err)
	}
	families := []string{port.Family(prefix)}
	if !strings.Contains(prefix, ".") {
		all, err := b.familyNames(ctx, "holders")
		if err != nil {
			return nil, err
		}
		families = slices.DeleteFunc(all, func(f string) bool { return !strings.HasPrefix(f, prefix) })
	}
	var out []port.Lease
	for _, family := range families {
		m, err := b.run(ctx, "holders", b.scripts.holders, b.leaseKeys(family), []string{prefix})
		if err != nil {
			return nil, err
		}
		r := reply{list: m}
		for r.more() {
			one := reply{list: r.next()}
			out = append(out, port.Lease{Name: one.text(), Owner: one.text(), Token: one.token(), Data: one.bytes(), TTL: duration(one.int())})
			r.note(one.err)
		}
		if r.err != nil {
			return nil, b.fail(ctx, "holders", r.err, false)
		}
	}
	slices.SortFunc(out, func(x, y port.Lease) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}

// WatchLeases hears the hints of every family that the prefix may mean; where the connection broke, it yields [port.ErrGap].
func (b *Backend) WatchLeases(ctx context.Context, prefix string) (iter.Seq2[port.Lease, error], error) {
	if err := port.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("redis: watch leases: %w", err)
	}
	pattern := b.space.hint("*")
	if strings.Contains(prefix, ".") {
		pattern = b.space.hint(port.Family(prefix))
	}
	signals, err := b.listen(ctx, "watch leases", &listener{patterns: []string{pattern}})
	if err != nil {
		return nil, err
	}
	return func(yield func(port.Lease, error) bool) {
		for s, err := range signals {
			switch {
			case err != nil:
				if !yield(port.Lease{}, err) {
					return
				}
			case strings.HasPrefix(string(s.Payload), prefix):
				if !yield(port.Lease{Name: string(s.Payload)}, nil) {
					return
				}
			}
		}
	}, nil
}
