package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Acquire leaves the nonce out of the lease that it returns beside ErrHeld. A name whose last token was the largest that there
// is is answered with [port.ErrUnavailable]. Where the server's time went back, a token follows the largest that it gave in the family.
func (b *Backend) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	if err := want.Check(b.caps, ttl); err != nil {
		return port.Lease{}, fmt.Errorf("redis: acquire: %w", err)
	}
	what := "acquire lease " + want.Name
	if err := b.register(ctx, what, port.Family(want.Name)); err != nil {
		return port.Lease{}, err
	}
	a, ok := acquirings.Get().(*acquiring)
	if !ok {
		a = &acquiring{done: make(chan error, 1)}
	}
	a.want, a.ttl, a.body = want, port.Millis(ttl), leaseBody(&want)
	answered, err := b.acquiring.do(ctx, port.Family(want.Name), a)
	if !answered {
		return port.Lease{}, err
	}
	got := a.got
	if err != nil {
		return got, err
	}
	a.want, a.got, a.body = port.Lease{}, port.Lease{}, ""
	acquirings.Put(a)
	return b.kept(ctx, what, got)
}

var acquirings, releasings sync.Pool // of *acquiring and *releasing, which were answered that all is well

// acquiring is one Acquire. What it is made of is the caller's no more than a string is.
type acquiring struct {
	want port.Lease
	ttl  int64 // in milliseconds
	body string
	got  port.Lease
	done chan error
}

func (a *acquiring) detach()                  {}
func (a *acquiring) size() (parts, bytes int) { return 1, len(a.body) }
func (a *acquiring) outcome() chan error      { return a.done }

// acquire runs the script for these, and answers each. What was refused as a whole is sent again, each alone.
func (b *Backend) acquire(ctx context.Context, family string, list []*acquiring) {
	name, what := list[0].want.Name, "acquire"
	names := b.leaseNames(name)
	if len(list) == 1 {
		what += " lease " + name
	}
	keys := names.keys
	args := append(make([]string, 0, 2+4*len(list)), names.hint, "")
	if b.quarantine > 0 {
		keys, args[1] = []string{keys[0], b.masterKey(name)}, number(port.Millis(b.quarantine))
	}
	for _, a := range list {
		args = append(args, a.want.Name, a.body, number(a.ttl), strconv.FormatUint(a.want.Seen, 10))
	}
	m, err := b.run(ctx, what, b.scripts.acquire, keys, args)
	if err != nil && len(list) > 1 && refusedWhole(err) {
		for _, a := range list {
			b.acquire(ctx, family, []*acquiring{a})
		}
		return
	}
	r := reply{list: m}
	for _, a := range list {
		if err != nil {
			a.done <- err
			continue
		}
		one := m
		if len(list) > 1 {
			one = r.next()
		}
		if r.err != nil {
			a.done <- b.fail(ctx, what, r.err, true)
			continue
		}
		a.done <- b.granted(ctx, a, one)
	}
}

// granted is what was answered to one Acquire: nil with the lease in a, or why there is none, with what is known of who holds it.
func (b *Backend) granted(ctx context.Context, a *acquiring, m rueidis.RedisMessage) error {
	what := "acquire lease " + a.want.Name
	if m.IsInt64() {
		token, err := m.ToInt64()
		switch {
		case err != nil:
			return b.fail(ctx, what, err, true)
		case token < 0:
			return fmt.Errorf("redis: %s: it had the largest token that there is: %w", what, port.ErrUnavailable)
		}
		a.got = a.want
		a.got.Seen, a.got.Token, a.got.TTL = 0, uint64(token), duration(a.ttl)
		if len(a.got.Data) == 0 {
			a.got.Data = nil
		}
		return nil
	}
	r := reply{list: m}
	left := duration(r.int())
	if r.err == nil && !r.more() {
		return fmt.Errorf("redis: %s: the master changed, and what the last one granted may be out still: nothing is granted for another %v (Config.Quarantine): %w", what, left, port.ErrUnavailable)
	}
	got := r.record(a.want.Name, left)
	if r.err != nil {
		return b.fail(ctx, what, r.err, true)
	}
	a.got = got
	return fmt.Errorf("redis: %s: it is held by %q: %w", what, got.Owner, port.ErrHeld)
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

// leaseName is what the server calls a family of leases.
type leaseName struct {
	keys []string // one, which nobody may change
	hint string
}

// mostLeaseNames is for how many families the names are kept: a program has a handful.
const mostLeaseNames = 1000

// leaseNames are those of the family that a name is of.
func (b *Backend) leaseNames(name string) leaseName {
	family := port.Family(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.leases[family]
	if !ok {
		if len(b.leases) >= mostLeaseNames {
			clear(b.leases)
		}
		n = leaseName{keys: []string{b.space.leases(family)}, hint: b.space.hint(family)}
		b.leases[family] = n
	}
	return n
}

// masterKey is where Acquire notes which master it saw: one key, or in a cluster one for each family, which have their own masters.
func (b *Backend) masterKey(name string) string {
	if b.clustered() {
		return b.space.prefix + "master:" + tagged(port.Family(name))
	}
	return b.space.prefix + "master"
}

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// A record is what acquire.lua says: its end and its token in 16 digits each, and the body.
const recordHead = 32

var errRecord = errors.New("a record of a lease is not whole")

// leaseBody is what a record says of its holder.
func leaseBody(l *port.Lease) string {
	body := make([]byte, 0, 1+len(l.Nonce)+2+len(l.Owner)+len(l.Data))
	body = append(append(body, byte(len(l.Nonce))), l.Nonce...)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(l.Owner))), l.Owner...)
	return rueidis.BinaryString(append(body, l.Data...))
}

// leaseNonce is how a body begins.
func leaseNonce(nonce string) string {
	return rueidis.BinaryString(append(append(make([]byte, 0, 1+len(nonce)), byte(len(nonce))), nonce...))
}

// leaseToken is a token as a record has it, "0" for none.
func leaseToken(token uint64) string {
	if token == 0 {
		return "0"
	}
	digits := make([]byte, 16)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + token%10)
		token /= 10
	}
	return rueidis.BinaryString(digits)
}

// holder is who holds, of a body.
func (r *reply) holder(body string) (owner string, data []byte) {
	if body == "" || len(body) < 3+int(body[0]) {
		r.note(errRecord)
		return "", nil
	}
	body = body[1+body[0]:]
	owner = body[2:]
	n := int(body[0])<<8 | int(body[1])
	if len(owner) < n {
		r.note(errRecord)
		return "", nil
	}
	if n < len(owner) {
		data = []byte(owner[n:])
	}
	return owner[:n], data
}

// record reads the record of a lease.
func (r *reply) record(name string, left time.Duration) port.Lease {
	l := port.Lease{Name: name, TTL: left}
	text := r.text()
	if r.err == nil && len(text) < recordHead {
		r.note(errRecord)
	}
	if r.err != nil {
		return l
	}
	token, err := strconv.ParseUint(text[recordHead/2:recordHead], 10, 64)
	r.note(err)
	l.Token = token
	l.Owner, l.Data = r.holder(text[recordHead:])
	return l
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
		args[0] = number(port.Millis(ttl))
		m, err := b.run(ctx, "renew", b.scripts.renew, b.leaseNames(held[part[0]].Name).keys, args)
		r := reply{list: m}
		for _, i := range part {
			if errs[i] = err; err != nil {
				continue
			}
			one := r.next()
			if r.err == nil && one.IsInt64() {
				errs[i] = lost("renew", held[i].Name)
				continue
			}
			body, err := one.ToString()
			r.note(err)
			owner, data := r.holder(body)
			if r.err != nil {
				errs[i] = b.fail(ctx, "renew lease "+held[i].Name, r.err, true)
				continue
			}
			out[i] = held[i]
			out[i].Seen, out[i].Owner, out[i].Data, out[i].TTL = 0, owner, data, duration(port.Millis(ttl))
		}
	})
	return out, errs
}

func lost(what, name string) error {
	return fmt.Errorf("redis: %s lease %s: this nonce and token do not hold it any more: %w", what, name, port.ErrLost)
}

// eachLease checks every lease and gives those that are valid to run, one family at a time, with name, nonce and token of each behind
// one argument that is left to run.
func (b *Backend) eachLease(what string, held []port.Lease, errs []error, anyToken bool, run func(part []int, args []string)) {
	for i := range held {
		if err := held[i].CheckHeld(anyToken); err != nil {
			errs[i] = fmt.Errorf("redis: %s: %w", what, err)
		}
	}
	for _, family := range byFamily(len(held), func(i int) string { return held[i].Name }) {
		family = slices.DeleteFunc(family, func(i int) bool { return errs[i] != nil })
		for part := range slices.Chunk(family, mostSettlements) {
			args := make([]string, 1, 1+3*len(part))
			for _, i := range part {
				args = append(args, held[i].Name, leaseNonce(held[i].Nonce), leaseToken(held[i].Token))
			}
			run(part, args)
		}
	}
}

// Release is one script for the leases of each family.
func (b *Backend) Release(ctx context.Context, held ...port.Lease) []error {
	if len(held) == 1 {
		return []error{b.release(ctx, &held[0])}
	}
	errs := make([]error, len(held))
	if err := b.alive(ctx, "release"); err != nil {
		return all(len(held), err)
	}
	b.eachLease("release", held, errs, true, func(part []int, args []string) {
		names := b.leaseNames(held[part[0]].Name)
		args[0] = names.hint
		m, err := b.run(ctx, "release", b.scripts.release, names.keys, args)
		r := reply{list: m}
		if len(part) == 1 {
			r.open, r.items = true, []rueidis.RedisMessage{m}
		}
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

// release is Release of one lease.
func (b *Backend) release(ctx context.Context, l *port.Lease) error {
	if err := b.alive(ctx, "release"); err != nil {
		return err
	}
	if err := l.CheckHeld(true); err != nil {
		return fmt.Errorf("redis: release: %w", err)
	}
	one, ok := releasings.Get().(*releasing)
	if !ok {
		one = &releasing{done: make(chan error, 1)}
	}
	one.name, one.nonce, one.token = l.Name, leaseNonce(l.Nonce), leaseToken(l.Token)
	answered, err := b.releasing.do(ctx, port.Family(l.Name), one)
	if answered && err == nil {
		releasings.Put(one)
	}
	return err
}

// releasing is one Release of one lease.
type releasing struct {
	name, nonce, token string
	done               chan error
}

func (r *releasing) detach()                  {}
func (r *releasing) size() (parts, bytes int) { return 1, len(r.name) + len(r.nonce) }
func (r *releasing) outcome() chan error      { return r.done }

// giveBack runs the script for these, and answers each.
func (b *Backend) giveBack(ctx context.Context, _ string, list []*releasing) {
	names := b.leaseNames(list[0].name)
	args := append(make([]string, 0, 1+3*len(list)), names.hint)
	for _, one := range list {
		args = append(args, one.name, one.nonce, one.token)
	}
	m, err := b.run(ctx, "release", b.scripts.release, names.keys, args)
	r := reply{list: m}
	if len(list) == 1 {
		r.open, r.items = true, []rueidis.RedisMessage{m}
	}
	for _, one := range list {
		if err != nil {
			one.done <- err
			continue
		}
		switch ok := r.int() == 1; {
		case r.err != nil:
			one.done <- b.fail(ctx, "release lease "+one.name, r.err, true)
		case !ok:
			one.done <- lost("release", one.name)
		default:
			one.done <- nil
		}
	}
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
		m, err := b.run(ctx, "holders", b.scripts.holders, b.leaseNames(family).keys, []string{prefix})
		if err != nil {
			return nil, err
		}
		r := reply{list: m}
		for r.more() {
			name, left := r.text(), duration(r.int())
			out = append(out, r.record(name, left))
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
