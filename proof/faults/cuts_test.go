//go:build unix

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// The flow: a group of the first topic emits to the second, a group of that to the third, each counting in a state what it did. One
// order fails once in the first hop, one is rejected there.
const (
	plainOrder = 1 + iota
	failingOrder
	rejectedOrder
	cutOrders = rejectedOrder
)

// hop is what is emitted.
type hop struct {
	N        int
	Attempts int // failures that the first hop was told of
}

var (
	firstHop = bus.Topic[hop]{Name: "flow.a"}
	// Without windows: what is emitted twice is there twice.
	secondHop = bus.Topic[hop]{Name: "flow.b", Keep: port.Topic{Window: -1}}
	result    = bus.Topic[hop]{Name: "flow.c", Keep: port.Topic{Window: -1}}
	hopCounts = bus.State[int]{Prefix: "flow/"}
)

// flow is one process with all of the flow: it publishes, and works in both groups until ctx ends.
func flow(ctx context.Context, b port.Backend) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := bus.Group{
		Name: "first", Workers: 2, Loan: loan, Grace: -1, Remember: -1, Log: slog.New(slog.DiscardHandler),
		Retry: retry.Backoff{Tries: -1, First: time.Millisecond, Max: 10 * time.Millisecond},
	}
	counted := func(ctx context.Context, m bus.Message[hop], to bus.Topic[hop], h hop) error {
		key := m.Group + "/" + strconv.Itoa(h.N)
		n, was, err := hopCounts.Get(ctx, b, key)
		if err != nil {
			return bus.Later(time.Millisecond, err) // no failure of the message
		}
		bus.Save(m, hopCounts, key, was, n+1)
		bus.Emit(m, to, h)
		return nil
	}
	errs := make(chan error, 3)
	var all sync.WaitGroup
	run := func(fn func() error) {
		all.Go(func() {
			err := fn()
			if err != nil {
				stop()
			}
			errs <- err
		})
	}
	run(func() error {
		return firstHop.Subscribe(ctx, b, g, func(ctx context.Context, m bus.Message[hop]) error {
			switch {
			case m.Payload.N == failingOrder && m.Attempt == 0:
				return errors.New("the first try fails")
			case m.Payload.N == rejectedOrder:
				return bus.Reject(errors.New("this order is rejected"))
			}
			return counted(ctx, m, secondHop, hop{m.Payload.N, m.Attempt})
		})
	})
	run(func() error {
		second := g
		second.Name = "second"
		return secondHop.Subscribe(ctx, b, second, func(ctx context.Context, m bus.Message[hop]) error {
			return counted(ctx, m, result, m.Payload)
		})
	})
	run(func() error {
		var outs []bus.Out[hop]
		for n := 1; n <= cutOrders; n++ {
			outs = append(outs, bus.Out[hop]{ID: fmt.Sprintf("order-%d", n), Payload: hop{N: n}})
		}
		for ctx.Err() == nil {
			_, err := firstHop.PublishAll(ctx, b, outs...)
			if unreached(err) {
				continue
			}
			if errors.Is(err, port.ErrDuplicate) {
				err = nil
			}
			return err
		}
		return nil
	})
	all.Wait()
	return errors.Join(<-errs, <-errs, <-errs)
}

func unreached(err error) bool {
	return errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain)
}

// patience is how long these wait for an answer.
const patience = time.Minute

// attempt is a process of the flow, which starts again when it could not reach the server at its start, until ctx ends.
func attempt(ctx context.Context, url, namespace string) error {
	for {
		err := func() error {
			b, err := open(ctx, url, namespace, patience)
			if err != nil {
				return err
			}
			return errors.Join(flow(ctx, b), b.Close())
		}()
		if ctx.Err() != nil || !unreached(err) {
			return err
		}
	}
}

// cutRun runs the flow with one cut, demands that nothing is wrong at its end, and returns the requests that came through the tap. The
// cut is not reached when the flow is over before.
func cutRun(t *testing.T, w wire, s server, namespace string, c cut) (requests []string, reached bool) {
	t.Helper()
	watch, err := open(t.Context(), s.URL(), namespace, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := watch.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := newTap(t, w, s.Addr(), c)
	run := begin(t.Context(), p.url(), namespace)
	until(t, "the flow comes to its end", func() bool {
		if !reached && p.isCut() {
			reached = true
			if c.dead {
				// Nothing that its process still does has any effect. Another one goes on.
				run.end(t)
				run = begin(t.Context(), s.URL(), namespace)
			}
			if c.kill {
				s.Kill()
				s.Restart()
			}
		}
		return flowDone(t, watch)
	})
	flowWhole(t, watch)
	requests = p.seen()
	run.end(t)
	return requests, reached
}

// running is a process of the flow that runs.
type running struct {
	stop  context.CancelFunc
	ended chan error
}

func begin(ctx context.Context, url, namespace string) running {
	ctx, stop := context.WithCancel(ctx)
	r := running{stop, make(chan error, 1)}
	go func() { r.ended <- attempt(ctx, url, namespace) }()
	return r
}

// end stops it. That it cannot settle what it has in hand any more, because it was cut off, is no failure.
func (r running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.ended; err != nil && !unreached(err) && !errors.Is(err, context.Canceled) {
		t.Errorf("the flow ended with %v", err)
	}
}

// flowDone reports whether nothing is left to do, and something was done.
func flowDone(t *testing.T, b port.Backend) bool {
	groups, done := 0, int64(0)
	for info, err := range b.Inspect(t.Context(), "flow.*") {
		if err != nil {
			return false // the server was killed
		}
		for _, g := range info.Groups {
			groups++
			if g.Lag+g.Loaned+g.Delayed > 0 {
				return false
			}
		}
		if info.Topic.Name == firstHop.Name {
			done = info.Count
		}
	}
	return groups == 2 && done >= cutOrders
}

// flowWhole demands that each order took effect once in each hop, and that its failures were counted once.
func flowWhole(t *testing.T, b port.Backend) {
	t.Helper()
	var got []string
	entries, err := b.Read(t.Context(), port.Range{Topic: result.Name, Max: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var h hop
		err := decode(e.Message.Body, &h)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("order %d after %d failures", h.N, h.Attempts))
	}
	for letter, err := range (bus.Dead{Queue: b, Topic: firstHop.Name, Group: "first"}).List(t.Context(), bus.DeadFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s dead: %s", letter.ID, letter.Reason))
	}
	for _, g := range []string{"first", "second"} {
		for n := 1; n <= cutOrders; n++ {
			count, _, err := hopCounts.Get(t.Context(), b, g+"/"+strconv.Itoa(n))
			if err != nil {
				t.Fatal(err)
			}
			if want := 1; n == rejectedOrder && count != 0 || n != rejectedOrder && count != want {
				t.Errorf("order %d was counted %d times by group %s", n, count, g)
			}
		}
	}
	want := []string{"order 1 after 0 failures", "order 2 after 1 failures", "order-3 dead: this order is rejected"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("results: %q, want %q", got, want)
	}
}

// Nothing is lost or doubled, wherever in a flow its connection breaks: before a request has reached the server, or after the
// server has carried it out and before its answer has reached the client. And so where that was the end of the client, or the end
// of the server, which has what it acknowledged on disk.
func TestAConnectionThatIsCutAtAnyRequestOfAFlowLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			cutEverywhere(t, w)
		})
	}
}

func cutEverywhere(t *testing.T, w wire) {
	s := w.start(t, false)
	requests, _ := cutRun(t, w, s, "whole", cut{})
	t.Logf("the flow without a cut sends %d requests: %v", len(requests), requests)
	var mu sync.Mutex
	cuts, most := map[string]int{}, len(requests)+scale(4, 20) // a cut brings more requests
	t.Run("cut", func(t *testing.T) {
		for n := 1; n <= most; n++ {
			all := []cut{{at: n}, {at: n, after: true}, {at: n, dead: true}, {at: n, after: true, dead: true}}
			if long() || n%5 == 0 {
				all = append(all, cut{at: n, after: true, kill: true})
			}
			for _, c := range all {
				t.Run(fmt.Sprintf("%v", c), func(t *testing.T) {
					t.Parallel()
					s := s
					if c.kill {
						s = w.start(t, true)
					}
					requests, reached := cutRun(t, w, s, fmt.Sprintf("cut-%d-%v-%v", n, c.after, c.dead), c)
					if !reached {
						return
					}
					if t.Failed() {
						t.Logf("cut at %s, of %v", requests[n-1], requests)
					}
					mu.Lock()
					defer mu.Unlock()
					cuts[requests[n-1]]++
				})
			}
		}
	})
	t.Logf("cuts by command: %v", cuts)
	if cuts[w.step] == 0 {
		t.Error("no step was cut")
	}
}

// String names a cut for its test.
func (c cut) String() string {
	text := fmt.Sprintf("at request %d, which ", c.at)
	if c.after {
		text += "is carried out"
	} else {
		text += "does not arrive"
	}
	if c.dead {
		text += ", and the client dies"
	}
	if c.kill {
		text += ", and the server is killed"
	}
	return text
}
