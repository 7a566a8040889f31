package histories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// The ways of holding a lock.
const (
	Lead      = "lead"      // until the term is lost
	Lock      = "lock"      // for a while
	Fair      = "fair"      // in the order of the queue
	ReadWrite = "readwrite" // in the order of the queue, mostly shared
	Semaphore = "semaphore" // one of some slots
)

// RulesOf returns what a way promises.
func RulesOf(way string) Rules {
	r := Rules{Fair: way == Fair || way == ReadWrite}
	if way == Semaphore {
		r.Slots = slots
	}
	return r
}

const slots = 2 // of a semaphore

// name is what all clients contend for.
const name = "proof"

// Client contends for a lock, acts while it holds it and afterwards, and tells all that it does.
type Client struct {
	ID      string
	Way     string
	Backend port.Backend
	Leases  port.Leases // by what it holds the lock; default Backend
	TTL     time.Duration
	Slots   int           // of a Semaphore; default 2, as RulesOf has it
	Stay    time.Duration // a term that is not Lead's ends by itself before that; default TTL/10
	Pace    time.Duration // from act to act; default 2 ms
	Past    time.Duration // for how long after a term somebody goes on who looks at nothing; default not at all
	Look    time.Duration // how often Held is asked; default 1 ms
	Tell    func(Act)

	wishes atomic.Int64
	pasts  sync.WaitGroup // those who go on after a term
}

// Run contends again and again, until ctx ends or the backend is closed.
func (c *Client) Run(ctx context.Context) error {
	defer c.pasts.Wait()
	if c.Leases == nil {
		c.Leases = c.Backend
	}
	c.Slots = cmp.Or(c.Slots, slots)
	c.Stay = cmp.Or(c.Stay, c.TTL/10)
	c.Pace = cmp.Or(c.Pace, 2*time.Millisecond)
	c.Look = cmp.Or(c.Look, time.Millisecond)
	for ctx.Err() == nil {
		w := c.wish()
		err := c.hold(ctx, w)
		w.over()
		if errors.Is(err, port.ErrInvalid) || errors.Is(err, port.ErrUnsupported) {
			return err
		}
		if errors.Is(err, port.ErrClosed) {
			return nil
		}
		pause(ctx, c.some(c.Stay))
	}
	return nil
}

func (c *Client) hold(ctx context.Context, w *wish) error {
	log := slog.New(slog.DiscardHandler)
	h := cluster.Hold{Name: name, ID: c.ID, TTL: c.TTL, Log: log}
	fn := func(ctx context.Context, t cluster.Term) error { return c.term(ctx, w, t) }
	switch c.Way {
	case Lead:
		next := w
		return cluster.Lead(ctx, w, cluster.Candidate{Election: name, ID: c.ID, TTL: c.TTL, Log: log}, func(ctx context.Context, t cluster.Term) error {
			err := c.term(ctx, next, t)
			next = c.wish()
			next.asks = w.asks
			return err
		})
	case Semaphore:
		h.Slots = c.Slots
		return cluster.Semaphore(ctx, w, h, fn)
	}
	h.Fair = RulesOf(c.Way).Fair
	if w.shared {
		return cluster.ReadLock(ctx, w, h, fn)
	}
	return cluster.Lock(ctx, w, h, fn)
}

// term acts through Guard until ctx ends or it has stayed long enough. Beside it somebody acts without looking at anything.
func (c *Client) term(ctx context.Context, w *wish, t cluster.Term) error {
	begun := now()
	late := w.begin(begun)
	c.tell(w, Act{What: Begins, Fence: t.Fence().Name, Token: t.Token, Late: late, Call: w.asks.of(t.Fence().Name), Return: begun})
	var n atomic.Int64
	if c.Past > 0 {
		past, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer func() { time.AfterFunc(c.Past, stop) }()
		c.pasts.Go(func() {
			for pause(past, max(10*c.Pace, c.Past/25)) {
				c.touch(past, w, t, c.write(w, &n), func(do func() error) error { return errors.Join(errPast, do()) })
			}
		})
	}
	stay, stop := context.WithCancel(ctx)
	defer stop()
	if c.Way != Lead {
		time.AfterFunc(c.some(c.Stay), stop)
	}
	held := make(chan int64)
	go func() { held <- c.look(stay, t, begun) }()
	for stay.Err() == nil {
		what := c.write(w, &n)
		if w.shared && rand.IntN(4) > 0 {
			what = Act{What: Reads}
		}
		c.touch(ctx, w, t, what, t.Guard)
		pause(stay, c.Pace)
	}
	c.tell(w, Act{What: Ends, Fence: t.Fence().Name, Token: t.Token, Call: <-held, Return: now()})
	return nil
}

// errPast is what somebody who looks at nothing hears of Guard.
var errPast = errors.New("nobody asked Guard")

// look asks Held as fast as it may, also for a while after ctx has ended, and returns the last moment before which it said yes.
func (c *Client) look(ctx context.Context, t cluster.Term, begun int64) int64 {
	held := begun
	for after := 0; after < 20; {
		if ctx.Err() != nil {
			after++
		}
		if before := now(); t.Held() {
			held = before
		}
		if ctx.Err() == nil {
			pause(ctx, c.Look)
		} else if errors.Is(context.Cause(ctx), port.ErrLost) {
			pause(context.WithoutCancel(ctx), c.Look/4)
		} else {
			return held
		}
	}
	return held
}

// write is the next write of a term; those who share the lock change no value.
func (c *Client) write(w *wish, n *atomic.Int64) Act {
	if w.shared {
		return Act{What: Marks}
	}
	return Act{What: Writes, Value: fmt.Sprintf("%s/%d", w.who, n.Add(1))}
}

// touch does something to the register, as guard lets it.
func (c *Client) touch(ctx context.Context, w *wish, t cluster.Term, a Act, guard func(func() error) error) {
	fence := t.Fence()
	a.Fence, a.Token = fence.Name, fence.Token
	did := false
	err := guard(func() error {
		ctx, stop := context.WithTimeout(ctx, c.TTL)
		defer stop()
		did, a.Call = true, now()
		if a.What == Reads {
			got, err := c.Backend.Get(ctx, "register/"+fence.Name)
			a.Return = now()
			if a.Got = Unknown; err == nil {
				a.Got, a.Value = OK, string(got[0].Bytes)
			}
			return nil
		}
		change := port.Change{Key: "register/" + fence.Name, Value: []byte(a.Value), Fence: fence}
		if a.What == Marks {
			change.Key += "/mark" // of the register's family, which keeps the tokens
		}
		done, err := c.Backend.Apply(ctx, change)
		a.Return = now()
		switch {
		case errors.Is(err, port.ErrUnavailable): // nothing happened
		case err != nil:
			a.Got = Unknown
		case errors.Is(done[0].Err, port.ErrStale):
			a.Got = Stale
		case done[0].Err != nil || !done[0].Done:
			a.Got = Unknown
		default:
			a.Got = OK
		}
		return nil
	})
	if !did || a.What == Reads && a.Got == Unknown || a.Got == "" {
		return
	}
	a.Sure = err == nil && a.Got != Unknown
	c.tell(w, a)
}

func (c *Client) tell(w *wish, a Act) {
	a.ID, a.Who, a.Shared = c.ID, w.who, w.shared
	c.Tell(a)
}

func (c *Client) some(most time.Duration) time.Duration {
	return most/10 + rand.N(most-most/10)
}

// wish is one wish to hold the lock: the leases through which the client sees to it, and what they show of its place in the queue.
type wish struct {
	port.Leases
	c      *Client
	who    string
	shared bool
	called int64
	asks   *asks

	mu      sync.Mutex
	begun   bool
	ticket  uint64 // its token; 0: none yet
	certain int64  // until when the ticket is there
}

func (c *Client) wish() *wish {
	w := &wish{Leases: c.Leases, c: c, who: fmt.Sprintf("%s#%d", c.ID, c.wishes.Add(1)), called: now(), asks: &asks{last: map[string]ask{}}}
	w.shared = c.Way == ReadWrite && rand.IntN(3) > 0
	return w
}

// begin notes that there is a term. Who drew no ticket was in the queue all the same, and alone. It reports whether the ticket had been
// lost: then a request that was sent before was late, and nobody could know whom it would meet.
func (w *wish) begin(at int64) (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	switch {
	case !RulesOf(w.c.Way).Fair:
	case w.ticket == 0:
		w.c.tell(w, Act{What: Queues, Call: w.called, Return: at})
	case w.certain < at:
		w.c.tell(w, Act{What: Leaves, Call: w.certain, Return: at})
		return true
	}
	return false
}

// over tells that a wish in the queue came to nothing.
func (w *wish) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun && w.ticket != 0 {
		w.c.tell(w, Act{What: Leaves, Call: min(w.certain, now()), Return: now()})
	}
}

const tickets = "share." + name + ".q."

// Acquire sees the ticket that is drawn, and tells of the place in the queue that is had from then on. Who drew one before has lost that,
// at the earliest when it was not certain any more.
func (w *wish) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	w.asks.sent(want)
	sent := now()
	got, err := w.Leases.Acquire(ctx, want, ttl)
	w.asks.told(want, err)
	if err != nil || !strings.HasPrefix(want.Name, tickets) {
		return got, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ticket != got.Token { // also of the same nonce, when the one before had run out
		since := w.called
		if w.ticket != 0 {
			since = min(w.certain, now())
			w.c.tell(w, Act{What: Leaves, Call: since, Return: now()})
		}
		w.c.tell(w, Act{What: Queues, Call: since, Return: now()})
		w.ticket, w.certain = got.Token, 0
	}
	w.certain = max(w.certain, sent+certain(ttl))
	return got, nil
}

// Renew sees for how long the ticket is certain.
func (w *wish) Renew(ctx context.Context, ttl time.Duration, held ...port.Lease) ([]port.Lease, []error) {
	sent := now()
	got, errs := w.Leases.Renew(ctx, ttl, held...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, l := range held {
		if errs[i] == nil && strings.HasPrefix(l.Name, tickets) && l.Token == w.ticket {
			w.certain = max(w.certain, sent+certain(ttl))
		}
	}
	return got, errs
}

// Release sees the ticket go.
func (w *wish) Release(ctx context.Context, held ...port.Lease) []error {
	w.mu.Lock()
	for _, l := range held {
		if strings.HasPrefix(l.Name, tickets) {
			w.certain = min(w.certain, now())
		}
	}
	w.mu.Unlock()
	return w.Leases.Release(ctx, held...)
}

// asks are the requests for leases, by name.
type asks struct {
	mu   sync.Mutex
	last map[string]ask
}

// ask is a request that may have got the lease, and those that repeated it.
type ask struct {
	nonce string
	since int64 // when the first of them was sent
}

func (a *asks) sent(want port.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last[want.Name].nonce != want.Nonce {
		a.last[want.Name] = ask{want.Nonce, now()}
	}
}

func (a *asks) told(want port.Lease, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(err, port.ErrHeld) {
		delete(a.last, want.Name) // this one did not get it, and neither had those before
	}
}

// of is when the lease that is held was asked for.
func (a *asks) of(name string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[name].since
}

// certain is for how long a lease is there after it was asked for, by a clock that runs up to 1 % slow, and a store that counts milliseconds.
func certain(ttl time.Duration) int64 { return int64(ttl - ttl/100 - time.Millisecond) }

func now() int64 { return time.Now().UnixNano() }

// pause waits for d; false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
