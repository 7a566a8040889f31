//go:build unix

package soak_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/once"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

const (
	accounts = 2000 // so many that steps seldom meet
	names    = 32   // of locks and plain keys: tokens of leases are kept for ever
	ahead    = 5000 // messages published and not handled, at most
	kept     = time.Minute
)

type order struct {
	N       int
	Account string
	Text    string // so that a body has about 256 bytes
}

const text = "a steady load is one that does not care how long it has been there, and neither must what carries it: what is kept for a time goes"

// Of the numbers some are special, by their remainder modulo 1000.
func (o order) rejected() bool { return o.N%1000 == 7 }
func (o order) fails() bool    { return o.N%50 == 3 }
func (o order) late() bool     { return o.N%50 == 4 }
func (o order) once() bool     { return o.N%10 == 5 }

var (
	in  = bus.Topic[order]{Name: "soak.in", Keep: port.Topic{MaxAge: kept, Window: kept}}
	out = bus.Topic[order]{Name: "soak.out", Keep: port.Topic{MaxAge: kept, Window: kept}}
	// The balances of all accounts, after each of the two hops, are the number of messages that took effect.
	handled = bus.State[int]{Prefix: "soak/handled/"}
	billed  = bus.State[int]{Prefix: "soak/billed/"}
	news    = bus.Channel[int]{Name: "soak.news"}
)

// load is all that is done, and what came of it.
type load struct {
	b    *redis.Backend
	rate int
	log  *slog.Logger

	ended                                                                           atomic.Bool // nothing more is begun
	published, runs, done, removed, ran, recorded, keys, locks, signals, unanswered atomic.Int64
}

func newLoad(b *redis.Backend, rate int) *load {
	return &load{b: b, rate: rate, log: slog.New(slog.DiscardHandler)} // what the bus decides about failures is counted here
}

func (l *load) String() string {
	return fmt.Sprintf("published %d, handler runs %d, through both hops %d, dead letters removed %d; once ran %d, recorded %d; keys %d, locks %d, signals %d; unanswered %d",
		l.published.Load(), l.runs.Load(), l.done.Load(), l.removed.Load(), l.ran.Load(), l.recorded.Load(), l.keys.Load(), l.locks.Load(), l.signals.Load(), l.unanswered.Load())
}

// work is what runs at once, until its ctx ends.
func (l *load) work() []func(context.Context) error {
	leases := cluster.NewShared(l.b)
	paced := func(perSecond int, fn func(ctx context.Context, n int) error) func(context.Context) error {
		return func(ctx context.Context) error { return l.pace(ctx, perSecond, fn) }
	}
	consume := func(t bus.Topic[order], group string, h bus.Handler[order]) func(context.Context) error {
		return func(ctx context.Context) error {
			return t.Subscribe(ctx, l.b, bus.Group{
				Name: group, Workers: 16, Remember: kept, Log: l.log, Retry: retry.Backoff{First: 50 * time.Millisecond},
			}, h)
		}
	}
	return []func(context.Context) error{
		l.publish,
		consume(in, "work", l.handle), consume(in, "work", l.handle),
		consume(out, "bill", l.bill), consume(out, "bill", l.bill),
		paced(l.rate/10, l.key),
		paced(max(1, l.rate/200), func(ctx context.Context, n int) error { return l.lock(ctx, leases, n) }),
		paced(max(1, l.rate/200), func(ctx context.Context, n int) error { return l.lock(ctx, leases, n) }), // both want the same
		paced(max(1, l.rate/100), func(ctx context.Context, n int) error { return news.Publish(ctx, l.b, n) }),
		func(ctx context.Context) error {
			return news.Serve(ctx, l.b, func(context.Context, envelope.Envelope[int]) error { l.signals.Add(1); return nil })
		},
		paced(1, l.clean),
	}
}

// pace calls fn so often, as long as there is load. What it falls behind by more than a second is left out.
func (l *load) pace(ctx context.Context, perSecond int, fn func(ctx context.Context, n int) error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun, made := time.Now(), 0
	for n := 0; ; {
		due := int(time.Since(begun).Seconds() * float64(perSecond))
		made = max(made, due-perSecond)
		for ; made < due && !l.ended.Load(); made++ {
			err := fn(ctx, n)
			switch {
			case err == nil:
				n++
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain):
				l.unanswered.Add(1) // a machine that is busy with something else is no question of memory
			default:
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// publish publishes what falls to a hundredth of a second, in one step.
func (l *load) publish(ctx context.Context) error {
	each := max(1, l.rate/100)
	return l.pace(ctx, l.rate/each, func(ctx context.Context, _ int) error {
		first := l.published.Load()
		if first-l.done.Load()-l.removed.Load() > ahead {
			return nil // the machine does not get through it: the true rate is told at the end
		}
		outs := make([]bus.Out[order], each)
		for i := range outs {
			o := order{N: int(first) + i, Account: strconv.Itoa((int(first) + i) % accounts), Text: text}
			outs[i] = bus.Out[order]{ID: fmt.Sprintf("order-%030d", o.N), Payload: o} // as long as a UUID
			if o.late() {
				outs[i].At = time.Now().Add(time.Second)
			}
		}
		if _, err := in.PublishAll(ctx, l.b, outs...); err != nil && !errors.Is(err, port.ErrDuplicate) {
			return err // the next call repeats the step, and learns if it was made
		}
		l.published.Add(int64(each))
		return nil
	})
}

func (l *load) handle(ctx context.Context, m bus.Message[order]) error {
	l.runs.Add(1)
	switch o := m.Payload; {
	case o.rejected():
		return bus.Reject(errors.New("a rejected order"))
	case o.fails() && m.Attempt == 0:
		return errors.New("a first failure")
	}
	if err := l.add(ctx, m, handled); err != nil {
		return err
	}
	bus.Emit(m, out, m.Payload)
	return nil
}

func (l *load) bill(ctx context.Context, m bus.Message[order]) error {
	if m.Payload.once() {
		ledger := once.Ledger{KV: l.b, Prefix: "soak/once/", Keep: kept}
		_, outcome, err := once.Do(ctx, ledger, strconv.Itoa(m.Payload.N), func(context.Context) (int, error) { return m.Payload.N, nil })
		if err != nil {
			return err
		}
		if outcome == once.Ran {
			l.ran.Add(1)
		} else {
			l.recorded.Add(1)
		}
	}
	if err := l.add(ctx, m, billed); err != nil {
		return err
	}
	l.done.Add(1)
	return nil
}

// add adds one to a message's account, with its acknowledgement.
func (l *load) add(ctx context.Context, m bus.Message[order], s bus.State[int]) error {
	n, was, err := s.Get(ctx, l.b, m.Payload.Account)
	if err != nil {
		return err
	}
	bus.Save(m, s, m.Payload.Account, was, n+1)
	return nil
}

// key writes a key for a time, reads it, and replaces what was read.
func (l *load) key(ctx context.Context, n int) error {
	key, value := "soak/key/"+strconv.Itoa(n%names), []byte(strconv.Itoa(n))
	if _, err := l.b.Apply(ctx, port.Change{Key: key, Value: value, TTL: kept}); err != nil {
		return err
	}
	values, err := l.b.Get(ctx, key)
	if err != nil {
		return err
	}
	if string(values[0].Bytes) != string(value) {
		return fmt.Errorf("key %s was set to %s and is %q", key, value, values[0].Bytes)
	}
	applied, err := l.b.Apply(ctx, port.Change{Key: key, Value: append(value, '+'), If: port.Equals, Old: value, TTL: port.KeepTTL},
		port.Change{Key: "soak/brief/" + strconv.Itoa(n), Value: value, TTL: time.Second})
	if err != nil {
		return err
	}
	l.keys.Add(1)
	return errors.Join(applied[0].Err, applied[1].Err)
}

func (l *load) lock(ctx context.Context, leases port.Leases, n int) error {
	return cluster.Lock(ctx, leases, cluster.Hold{Name: "soak.lock" + strconv.Itoa(n%names), Log: l.log}, func(context.Context, cluster.Term) error {
		l.locks.Add(1)
		return nil
	})
}

var buried = bus.Dead{Topic: in.Name, Group: "work"}

// clean removes the dead letters: they are kept until somebody does.
func (l *load) clean(ctx context.Context, _ int) error {
	dead := buried
	dead.Queue = l.b
	n, err := dead.Remove(ctx, bus.DeadFilter{})
	l.removed.Add(int64(n))
	return err
}

// finish ends the load, and returns when all of it has been worked off.
func (l *load) finish(ctx context.Context) {
	l.ended.Store(true)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !l.drained(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (l *load) drained(ctx context.Context) bool {
	for info, err := range l.b.Inspect(ctx, "soak.*") {
		if err != nil || info.Delayed > 0 {
			return false
		}
		for _, g := range info.Groups {
			if g.Lag+g.Loaned+g.Delayed > 0 {
				return false
			}
		}
	}
	return true
}

// check fails the test unless every order took effect once in both hops, or is dead if it is one that is rejected.
func (l *load) check(t *testing.T) {
	t.Helper()
	if err := l.clean(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	published := int(l.published.Load())
	rejected := 0
	for n := range published {
		if (order{N: n}).rejected() {
			rejected++
		}
	}
	if removed := int(l.removed.Load()); removed != rejected {
		t.Errorf("%d dead letters, want %d", removed, rejected)
	}
	for _, s := range []bus.State[int]{handled, billed} {
		sum := 0
		for account := range accounts {
			n, _, err := s.Get(t.Context(), l.b, strconv.Itoa(account))
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		if sum != published-rejected || sum == 0 {
			t.Errorf("%s: %d messages took effect, want %d", s.Prefix, sum, published-rejected)
		}
	}
	for what, n := range map[string]int64{"once": l.ran.Load(), "keys": l.keys.Load(), "locks": l.locks.Load(), "signals": l.signals.Load()} {
		if n == 0 {
			t.Errorf("nothing was done of %s", what)
		}
	}
}
