//go:build unix

package terms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// job is what a candidate's process is told to be.
type job struct {
	ID  string
	URL string
	TTL time.Duration
}

// event is what a candidate tells. Times are nanoseconds of the machine's wall clock, which all processes share.
type event struct {
	What  string // ready; begin; write and loose: to the register, through Guard and past it; held; end
	ID    string
	Token uint64
	From  int64  // before it was done; of held: the last time at which Held was true, read before it
	Till  int64  // after it was done
	Got   string // of a write: ok, stale, or unknown
	Sure  bool   // of a write: Guard said that all of it happened within the term
}

const (
	election = "proof"
	register = "register/proof"
)

func now() int64 { return time.Now().UnixNano() }

// candidate runs for the election, and writes to the register while it leads, and afterwards too.
type candidate struct {
	job
	b port.Backend

	mu  sync.Mutex
	out *json.Encoder
	wg  sync.WaitGroup // past leaders that go on
}

func candidateMain(text string) int {
	c := &candidate{out: json.NewEncoder(os.Stdout)}
	if err := c.main(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c *candidate) main(text string) (err error) {
	if err := json.Unmarshal([]byte(text), &c.job); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := redis.Open(ctx, redis.Config{URL: c.URL, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	c.b = b
	c.tell(event{What: "ready"})
	defer c.wg.Wait()
	return cluster.Lead(ctx, b, cluster.Candidate{Election: election, ID: c.ID, TTL: c.TTL}, c.lead)
}

func (c *candidate) tell(e event) {
	e.ID = c.ID
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.out.Encode(e); err != nil {
		os.Exit(1) // the test is gone
	}
}

// lead writes through Guard while ctx lasts. Beside it somebody writes without looking at anything, and goes on when the term is over.
func (c *candidate) lead(ctx context.Context, term cluster.Term) error {
	c.tell(event{What: "begin", Token: term.Token, From: now(), Till: now()})
	past, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	context.AfterFunc(ctx, func() { time.AfterFunc(2*c.TTL, stop) })
	c.wg.Go(func() {
		defer stop()
		for pause(past, 20*time.Millisecond) {
			c.write(past, "loose", term)
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { c.look(ctx, term) })
	defer wg.Wait()
	for pause(ctx, 2*time.Millisecond) {
		c.write(ctx, "write", term)
	}
	c.tell(event{What: "end", Token: term.Token, From: now(), Till: now()})
	return nil
}

// look asks Held as fast as it can, also for a while after ctx has ended.
func (c *candidate) look(ctx context.Context, term cluster.Term) {
	e := event{What: "held", Token: term.Token}
	for after := 0; after < 50; {
		if ctx.Err() != nil {
			after++
		}
		if before := now(); term.Held() {
			e.From = before
		}
		pause(context.WithoutCancel(ctx), 200*time.Microsecond)
	}
	c.tell(e)
}

// write puts the term's token into the register, fenced by it.
func (c *candidate) write(ctx context.Context, what string, term cluster.Term) {
	e := event{What: what, Token: term.Token, From: now()}
	act := func() error {
		ctx, stop := context.WithTimeout(ctx, c.TTL)
		defer stop()
		e.From = now()
		done, err := c.b.Apply(ctx, port.Change{Key: register, Value: []byte(strconv.FormatUint(term.Token, 10)), Fence: term.Fence()})
		e.Till = now()
		switch {
		case err != nil:
			e.Got = "unknown"
		case errors.Is(done[0].Err, port.ErrStale):
			e.Got = "stale"
		case done[0].Err != nil || !done[0].Done:
			e.Got = "unknown"
		default:
			e.Got = "ok"
		}
		return nil
	}
	if what == "loose" {
		if err := act(); err != nil {
			return
		}
	} else if err := term.Guard(act); err == nil {
		e.Sure = true
	}
	if e.Got != "" {
		c.tell(e)
	}
}

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
