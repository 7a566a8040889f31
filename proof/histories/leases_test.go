//go:build unix

package histories_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/port"
)

// lease is what the model knows of a name.
type lease struct {
	nonce string // of its holder; "": nobody
	token uint64 // 0: of a grant that nobody was told of yet
	last  uint64 // the largest token that anybody was told
}

// claim is a call about a lease.
type claim struct {
	what  string // acquire, renew, release
	name  string
	nonce string
	token uint64 // of release 0: whatever it is
}

// grant is what a call was told.
type grant struct {
	ok    bool
	token uint64 // of acquire
	by    string // of acquire that was refused: the holder, who calls himself by his nonce
}

// locks are leases that do not end by themselves, as they should be: one holder, known by nonce and token, and tokens that grow.
func locks() porcupine.Model {
	return porcupine.Model{
		Init:      func() any { return lease{} },
		Partition: partition(func(input any) string { return input.(claim).name }),
		Step: func(state, input, output any) (bool, any) {
			now, in := state.(lease), input.(claim)
			out, known := output.(grant)
			mine := now.nonce == in.nonce
			if in.what == "acquire" {
				return acquired(now, in, out, known)
			}
			holds := mine && (in.token == 0 || in.token == now.token)
			if known && out.ok != holds {
				return false, now
			}
			if holds && in.what == "release" {
				return true, lease{last: now.last}
			}
			return true, now
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

func acquired(now lease, in claim, out grant, known bool) (bool, any) {
	switch {
	case !known && now.nonce == "":
		return true, lease{nonce: in.nonce, last: now.last}
	case !known:
		return true, now
	case out.ok && (now.nonce == "" || now.nonce == in.nonce && now.token == 0):
		return out.token > now.last, lease{in.nonce, out.token, out.token}
	case out.ok:
		return now.nonce == in.nonce && now.token == out.token, now
	case now.nonce == "" || now.nonce == in.nonce || now.nonce != out.by:
		return false, now
	case now.token == 0: // the first to hear of this grant
		return out.token > now.last, lease{now.nonce, out.token, out.token}
	default:
		return now.token == out.token, now
	}
}

func TestLeasesAreLinearizableUnderFaults(t *testing.T) {
	t.Parallel()
	const ttl = time.Hour // none ends by itself
	clients, rounds, names := 6, scale(100, 1500), scale(6, 60)
	b := newBench(t, clients)
	r := newRecord()
	b.run(func(ctx context.Context, i int, c *redis.Backend) error {
		for n := 0; n < rounds || !r.struck(0) && n < 20*rounds; n++ {
			mine := claim{"acquire", fmt.Sprintf("locks.%d", mathrand.IntN(names)), rand.Text(), 0}
			var held, others port.Lease
			for range 3 { // an Acquire of unknown outcome is repeated with the same nonce
				err := r.call(i, mine, func() (any, error) {
					got, err := c.Acquire(ctx, port.Lease{Name: mine.name, Owner: mine.nonce, Nonce: mine.nonce}, ttl)
					if errors.Is(err, port.ErrHeld) {
						others = got
						return grant{token: got.Token, by: got.Owner}, nil
					}
					if err == nil {
						held = got
					}
					return grant{ok: true, token: got.Token}, err
				})
				if err != nil {
					return err
				}
			}
			renew := mine
			renew.what = "renew"
			if held.Token == 0 { // with the token of the holder, and not its nonce
				held = port.Lease{Name: mine.name, Nonce: mine.nonce, Token: others.Token}
			}
			if renew.token = held.Token; renew.token > 0 {
				err := r.call(i, renew, func() (any, error) {
					_, errs := c.Renew(ctx, ttl, held)
					return told(errs[0])
				})
				if err != nil {
					return err
				}
			}
			// Also where nothing is held: this gives back an Acquire of unknown outcome.
			release := renew
			release.what = "release"
			if others.Token == held.Token {
				release.token = 0
			}
			for range 2 {
				err := r.call(i, release, func() (any, error) {
					return told(c.Release(ctx, port.Lease{Name: release.name, Nonce: release.nonce, Token: release.token})[0])
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.check(t, locks(), 0)
}

// told is the answer to a renewal or a release.
func told(err error) (any, error) {
	if errors.Is(err, port.ErrLost) {
		return grant{}, nil
	}
	return grant{ok: true}, err
}

// term is what a holder believes: the lease is its own from the answer to Acquire until a time that it counts from before each
// request, by the rules of a holder's clock.
type term struct {
	name        string
	token       uint64
	sent        time.Time // when it was asked for
	from, until time.Time
}

// Leases that end by themselves, under holders that lose their connections and some that die: no two terms of a name overlap, and
// tokens grow in the order of the grants.
func TestTermsOfALeaseDoNotOverlapUnderFaults(t *testing.T) {
	t.Parallel()
	const (
		ttl   = 100 * time.Millisecond
		drift = ttl/100 + time.Millisecond // how much a clock may be off, and what the server rounds to
	)
	clients, names, enough := 6, scale(2, 4), scale(60, 1500)
	b := newBench(t, clients)
	var mu sync.Mutex
	var terms []term
	b.run(func(ctx context.Context, i int, c *redis.Backend) error {
		for n := 0; ctx.Err() == nil; n++ {
			want := port.Lease{Name: fmt.Sprintf("terms.%d", mathrand.IntN(names)), Owner: fmt.Sprint(i), Nonce: rand.Text()}
			mine, got, err := serve(ctx, c, want, ttl, ttl-drift)
			dies := n%3 == 0 // its lease runs out
			switch {
			case err == nil:
				if now := time.Now(); !dies && now.Before(mine.until) {
					mine.until = now
				}
				mu.Lock()
				terms = append(terms, mine)
				over := len(terms) >= enough
				mu.Unlock()
				if over {
					return nil
				}
			case errors.Is(err, port.ErrHeld):
				<-time.After(ttl / 20)
				continue
			case errors.Is(err, port.ErrUncertain):
				got = port.Lease{Name: want.Name, Nonce: want.Nonce}
			default:
				continue
			}
			if dies {
				continue
			}
			if err := c.Release(ctx, got)[0]; errors.Is(err, port.ErrInvalid) {
				return err
			}
		}
		return nil
	})
	t.Logf("%d terms", len(terms))
	for _, a := range terms {
		for _, b := range terms { // each pair once in each order
			if a.name != b.name || a.token == b.token {
				continue
			}
			if a.token < b.token && b.from.Before(a.until) && a.from.Before(b.until) {
				t.Errorf("%s: the term of token %d ends %v after that of token %d has begun", a.name, a.token, a.until.Sub(b.from), b.token)
			}
			if a.from.Before(b.sent) && a.token > b.token {
				t.Errorf("%s: token %d was granted before token %d was asked for", a.name, a.token, b.token)
			}
		}
	}
}

// serve acquires a lease and renews it some times. A term is certain for so long after a request that succeeded was sent.
func serve(ctx context.Context, c *redis.Backend, want port.Lease, ttl, certain time.Duration) (term, port.Lease, error) {
	mine := term{name: want.Name, sent: time.Now()}
	got, err := c.Acquire(ctx, want, ttl)
	if err != nil {
		return mine, got, err
	}
	mine.token, mine.from, mine.until = got.Token, time.Now(), mine.sent.Add(certain)
	for range mathrand.IntN(4) {
		sent := time.Now()
		if _, errs := c.Renew(ctx, ttl, got); errs[0] == nil && time.Now().Before(mine.until) {
			mine.until = sent.Add(certain)
		}
	}
	return mine, got, nil
}
