//go:build unix

package caches_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/port"
)

const (
	nodes   = 5
	writers = 2 // of a node
	all     = nodes * writers
)

// job is what a node process is told to do.
type job struct {
	URL     string
	Node    int
	History string        // what the file begins with that it writes down in what it read and wrote
	Bound   time.Duration // of its cache
	Keys    int           // that it reads and writes
	Patient time.Duration // of a read that the store does not answer
	Load    bool          // instead: loads one key, 1,000 times at once, when it is told to
	One     bool          // with OneLoader
}

// nodeMain is main of a node process. It ends in good order at SIGTERM, and with its parent, whose end of the pipe then closes.
func nodeMain(text string) int {
	var j job
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (j job) run(ctx context.Context) error {
	var b *redis.Backend
	var err error
	for {
		b, err = redis.Open(ctx, redis.Config{URL: j.URL, Timeout: time.Second})
		if err == nil || ctx.Err() != nil {
			break
		}
		<-time.After(20 * time.Millisecond) // the link is broken just now
	}
	if err != nil {
		return nil //nolint:nilerr // it was told to end before it could begin
	}
	c := cache.New(b, "proof", cache.Config[int]{
		Bound: j.Bound, Node: fmt.Sprint("node", j.Node), Audit: 20 * time.Millisecond, OneLoader: j.One,
	})
	var wg sync.WaitGroup
	follow := make(chan error, 1)
	wg.Go(func() { follow <- c.Follow(ctx) })
	if j.Load {
		err = j.load(ctx, b, c)
	} else {
		err = j.work(ctx, c)
	}
	wg.Wait()
	return errors.Join(err, <-follow, b.Close())
}

// load waits for a word and then loads one key 1,000 times at once, 200 ms each.
func (j job) load(ctx context.Context, b port.KV, c *cache.Cache[int]) error {
	for !c.Hears() { // with the beginning of Follow, everything near is dropped, and who comes then does not join who came before
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Println("ready")
	if !bufio.NewScanner(os.Stdin).Scan() {
		return errors.New("nobody said go")
	}
	errs := make(chan error)
	for range 1000 {
		go func() {
			v, err := c.Load(ctx, "k", func(ctx context.Context, _ string) (int, error) {
				<-time.After(200 * time.Millisecond)
				_, err := b.Add(ctx, "loads", 1, 0)
				return 7, err
			})
			if err == nil && v != 7 {
				err = fmt.Errorf("loaded %d", v)
			}
			errs <- err
		}()
	}
	var all error
	for range 1000 {
		all = errors.Join(all, <-errs)
	}
	if all == nil {
		fmt.Println("done")
	}
	<-ctx.Done()
	return all
}

// history is the file of a process. What is not flushed when it is killed is lost, which makes the checker miss something and never err.
type history struct {
	mu  sync.Mutex
	out *bufio.Writer
	err error
}

func (h *history) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.out, format, args...)
	h.err = errors.Join(h.err, err)
}

func (h *history) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = errors.Join(h.err, h.out.Flush())
}

// work writes and reads until ctx ends.
func (j job) work(ctx context.Context, c *cache.Cache[int]) error {
	file, err := os.Create(fmt.Sprint(j.History, "-", os.Getpid()))
	if err != nil {
		return err
	}
	h := &history{out: bufio.NewWriter(file)}
	var reads atomic.Int64
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() { j.write(ctx, c, h, writer) })
	}
	for range 2 {
		wg.Go(func() { j.read(ctx, c, h, &reads) })
	}
	wg.Go(func() { // ends the process with its parent
		if !bufio.NewScanner(os.Stdin).Scan() && ctx.Err() == nil {
			os.Exit(3)
		}
	})
	fmt.Println("ready")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		s := counters(ctx, c)
		h.add("s %d %d %d %d %d %d .\n", reads.Swap(0), s.Misses, s.Audited, s.Behind, s.Staleness, s.Gaps)
		h.flush()
	}
	// Readers and writers end with ctx; who waits at standard input does not, and ends with the process.
	h.flush()
	return errors.Join(h.err, file.Close())
}

// write gives keys that nobody else writes growing values.
func (j job) write(ctx context.Context, c *cache.Cache[int], h *history, writer int) {
	own := j.Node*writers + writer
	for ctx.Err() == nil {
		key := fmt.Sprint(rand.IntN(j.Keys/all)*all + own)
		if rand.IntN(2) == 0 {
			key = fmt.Sprint(rand.IntN(2)*all + own) // some are hot
		}
		value, err := next(ctx, c, key)
		if err == nil {
			err = c.Set(ctx, key, value)
		}
		if err == nil {
			h.add("w %s %d %d .\n", key, value, time.Now().UnixNano())
		}
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

// next is a value over what the key has: the time, which the next process on the same keys goes on with.
func next(ctx context.Context, c *cache.Cache[int], key string) (int, error) {
	v, err := c.Get(ctx, key)
	if err != nil && !errors.Is(err, port.ErrNotFound) {
		return 0, err
	}
	return max(v+1, int(time.Now().UnixMicro())), nil
}

func (j job) read(ctx context.Context, c *cache.Cache[int], h *history, reads *atomic.Int64) {
	for ctx.Err() == nil {
		for range 10 {
			key := fmt.Sprint(rand.IntN(j.Keys))
			if rand.IntN(2) == 0 {
				key = fmt.Sprint(rand.IntN(2 * all))
			}
			limit, stop := context.WithTimeout(ctx, j.Patient)
			began := time.Now().UnixNano()
			v, err := c.Get(limit, key)
			stop()
			reads.Add(1)
			if err == nil || errors.Is(err, port.ErrNotFound) {
				h.add("r %s %d %d .\n", key, v, began)
			}
		}
		<-time.After(time.Duration(rand.IntN(10)) * time.Millisecond)
	}
}

// counters is what the cache knows by itself, without asking the server.
func counters(ctx context.Context, c *cache.Cache[int]) cache.Status {
	ended, stop := context.WithCancel(ctx)
	stop()
	s, _ := c.Status(ended) // it cannot ask: that is the purpose
	return s
}
