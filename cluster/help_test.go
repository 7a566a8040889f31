package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

const ms = time.Millisecond

var errNet = errors.New("the network is down")

// quiet logs nothing.
var quiet = slog.New(slog.DiscardHandler)

// counter counts the operations of one handle by name.
type counter struct {
	mu    sync.Mutex
	count map[string]int
	fault func(memory.Op) memory.Fault
}

func (c *counter) ask(op memory.Op) memory.Fault {
	c.mu.Lock()
	if op.Point == memory.Before {
		if c.count == nil {
			c.count = map[string]int{}
		}
		c.count[op.Name]++
	}
	fault := c.fault
	c.mu.Unlock()
	if fault != nil {
		return fault(op)
	}
	return memory.Fault{}
}

func (c *counter) set(fault func(memory.Op) memory.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

func (c *counter) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[name]
}

func (c *counter) all() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, n := range c.count {
		sum += n
	}
	return sum
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = nil
}

// watched is another handle on b's store whose operations are counted and can be made to fail.
func watched(b *memory.Backend) (*memory.Backend, *counter) {
	c := &counter{}
	return b.Open(memory.Config{Fault: c.ask}), c
}

// down is a fault for every operation of one of these names, or of all names where none is given.
func down(names ...string) func(memory.Op) memory.Fault {
	return func(op memory.Op) memory.Fault {
		if op.Point == memory.Before && (len(names) == 0 || slices.Contains(names, op.Name)) {
			return memory.Fault{Err: errNet}
		}
		return memory.Fault{}
	}
}

// bubble runs a test in virtual time, with a store.
func bubble(t *testing.T, fn func(t *testing.T, b *memory.Backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, memory.New(memory.Config{})) })
}

// lines collects what happens, in order, from several goroutines.
type lines struct {
	mu    sync.Mutex
	start time.Time
	all   []string
}

func newLines() *lines { return &lines{start: time.Now()} }

func (l *lines) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
}

// at is add with the time since the beginning in front.
func (l *lines) at(format string, args ...any) {
	l.add("%v "+format, append([]any{time.Since(l.start).Round(ms)}, args...)...)
}

func (l *lines) want(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.all, want) {
		t.Errorf("happened:\n%q\nwant:\n%q", l.all, want)
	}
}

// background runs fn beside the test, which waits for it at the end.
func background(t *testing.T, fn func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { fn(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// holders are the leases that are held, as name=owner.
func holders(t *testing.T, l port.Leases, prefix string) []string {
	t.Helper()
	held, err := l.Holders(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, h := range held {
		all = append(all, h.Name+"="+h.Owner)
	}
	return all
}

// never fails the test that runs it.
func never(t *testing.T) func(context.Context, Term) error {
	return func(_ context.Context, term Term) error {
		t.Errorf("ran with %+v", term)
		return nil
	}
}

// seeded is chance that a seed decides, for several goroutines.
func seeded(seed uint64) func() float64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64()
	}
}

// logger is a log whose messages are lines.
func (l *lines) logger() *slog.Logger { return slog.New(lineHandler{l}) }

type lineHandler struct{ lines *lines }

func (lineHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	h.lines.add("%s", r.Message)
	return nil
}

func (h lineHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h lineHandler) WithGroup(string) slog.Handler      { return h }
