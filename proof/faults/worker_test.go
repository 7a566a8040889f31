//go:build unix

package faults_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// The topics, and what goes through them. All that a step touches is of the family orders.
const (
	inTopic  = "orders.in"
	outTopic = "orders.out"
	group    = "billing"
)

// order is a message to be handled.
type order struct {
	N       int
	Account int  // whose balance it adds 1 to; 0: none
	Poison  bool // its handling kills the process
}

// bill is what handling an order emits.
type bill struct{ N int }

var (
	in = bus.Topic[order]{Name: inTopic}
	// Without a window: a bill that is emitted twice is there twice.
	out      = bus.Topic[bill]{Name: outTopic, Keep: port.Topic{Window: -1, MaxAge: -1}}
	counts   = bus.State[int]{Prefix: "orders/count/"}   // how often an order took effect
	balances = bus.State[int]{Prefix: "orders/balance/"} // of an account
)

// job is what a worker process is told to do.
type job struct {
	URL, Namespace string
	Answer         time.Duration // how long to wait for the server's answer; default the adapter's
	Workers        int
	Ahead          int
	Loan, Grace    time.Duration
	Remember       time.Duration
	Crashes        int
	Work           time.Duration // each handling takes that long
	Shut           bool          // each handling waits until the process is told to open, whatever its context says
	Raw            bool          // no bus: it does at the port what it is told, on one message
}

// event is what a worker process tells of itself, one JSON object a line.
type event struct {
	What    string // ready; begin, end of a handling; lost: its context ended because its loan passed on; fetched, extended, settled; stopped
	N       int    // of the order
	Attempt int
	Crashes int
	Lost    int
	Text    string // an error
	At      int64  // Unix nanoseconds
	Stats   port.Stats
}

// worker is a worker process, from the inside.
type worker struct {
	job  job
	b    port.Backend
	open chan struct{} // closed when handlings need not wait any more
	told chan string   // further commands

	mu sync.Mutex
}

// workerMain is main of a worker process. It stops in good order at SIGTERM, and dies with its parent, whose end of the pipe
// then closes.
func workerMain(text string) int {
	w := &worker{open: make(chan struct{}), told: make(chan string)}
	if err := json.Unmarshal([]byte(text), &w.job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if !w.job.Shut {
		close(w.open)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go w.listen()
	if err := w.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (w *worker) listen() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "open" {
			close(w.open)
		} else {
			w.told <- lines.Text()
		}
	}
	os.Exit(3)
}

func (w *worker) say(e event) {
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(3)
	}
}

func (w *worker) run(ctx context.Context) (err error) {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	for {
		w.b, err = open(ctx, w.job.URL, w.job.Namespace, w.job.Answer)
		if !errors.Is(err, port.ErrUnavailable) || ctx.Err() != nil {
			break
		}
		<-time.After(50 * time.Millisecond) // the server is away
	}
	if err != nil {
		return err
	}
	w.say(event{What: "ready"})
	if w.job.Raw {
		err = w.raw(ctx)
	} else {
		err = w.subscribe(ctx)
	}
	stats, serr := w.b.Stats(context.WithoutCancel(ctx))
	w.say(event{What: "stopped", Stats: stats, Text: name(err)})
	return errors.Join(err, serr, w.b.Close())
}

// subscribe begins again while the server cannot be reached at the beginning. Later on the bus waits for it.
func (w *worker) subscribe(ctx context.Context) error {
	for {
		err := in.Subscribe(ctx, w.b, w.group(), w.handle)
		if ctx.Err() != nil || !unreached(err) {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (w *worker) group() bus.Group {
	return bus.Group{
		Name: group, Workers: w.job.Workers, Ahead: w.job.Ahead, Loan: w.job.Loan, Grace: w.job.Grace, Remember: w.job.Remember,
		Crashes: w.job.Crashes, Retry: retry.Backoff{Tries: -1, First: 20 * time.Millisecond, Max: 500 * time.Millisecond},
	}
}

// handle adds one to the order's count and to its account, and emits a bill: one step with the acknowledgement.
func (w *worker) handle(ctx context.Context, m bus.Message[order]) error {
	o := m.Payload
	w.say(event{What: "begin", N: o.N, Attempt: m.Attempt, Crashes: m.Crashes})
	if o.Poison {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	lost := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), port.ErrLost) {
			w.say(event{What: "lost", N: o.N})
		}
	})
	defer lost()
	<-w.open
	if w.job.Work > 0 {
		<-time.After(w.job.Work)
	}
	id := strconv.Itoa(o.N)
	read := context.WithoutCancel(ctx) // a zombie does not heed its context, so that the store has to
	count, was, err := counts.Get(read, w.b, id)
	if err != nil {
		return err
	}
	bus.Save(m, counts, id, was, count+1)
	if o.Account > 0 {
		account := strconv.Itoa(o.Account)
		balance, had, err := balances.Get(read, w.b, account)
		if err != nil {
			return err
		}
		bus.Save(m, balances, account, had, balance+1)
	}
	bus.Emit(m, out, bill{o.N})
	w.say(event{What: "end", N: o.N})
	return nil
}

// name is the sentinel in an error, for people to read and tests to compare.
func name(err error) string {
	for _, sentinel := range []error{port.ErrStale, port.ErrLost, port.ErrUncertain, port.ErrUnavailable, port.ErrClosed} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
