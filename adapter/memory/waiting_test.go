package memory_test

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// crew is consumers that fetch at once, and what each was handed.
type crew struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	got  map[string]string // by message, who had it
	errs []error
}

// start has n consumers of the group fetch once, and returns when all of them wait.
func (c *crew) start(ctx context.Context, b *memory.Backend, g port.Group, n, limit int) {
	c.got = map[string]string{}
	for i := range n {
		mine := withConsumer(g, "c"+strconv.Itoa(i))
		c.wg.Go(func() {
			list, err := b.Fetch(ctx, mine, limit)
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, d := range list {
				c.got[d.Message.ID] = mine.Consumer
			}
			if err != nil {
				c.errs = append(c.errs, err)
			}
		})
	}
	synctest.Wait()
}

func (c *crew) has() map[string]string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.got)
}

func TestWaiting(t *testing.T) {
	bubble(t, "as many are woken as there is work, and the others go on waiting", func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := member("a", "g", "c")
		join(t, b, g)
		var c crew
		c.start(t.Context(), b, g, 4, 2)
		for _, step := range []struct {
			ids  []string
			busy int // consumers that have something after it
		}{{[]string{"1"}, 1}, {[]string{"2", "3", "4"}, 3}, {[]string{"5"}, 4}} {
			write(t, b, "a", step.ids...)
			busy := map[string]bool{}
			for _, who := range c.has() {
				busy[who] = true
			}
			want(t, "consumers that have something", len(busy), step.busy)
		}
		c.wg.Wait()
		want(t, "handed out", len(c.has()), 5)
	})

	bubble(t, "one that is cancelled when it was woken passes its work on", func(t *testing.T) {
		for range 50 {
			b := memory.New(memory.Config{})
			g := member("a", "g", "c")
			join(t, b, g)
			ctx, stop := context.WithCancelCause(t.Context())
			var first, second crew
			first.start(ctx, b, g, 1, 1)
			second.start(t.Context(), b, g, 1, 1)
			go stop(errFlood)
			write(t, b, "a", "1")
			synctest.Wait()
			want(t, "handed out", len(first.has())+len(second.has()), 1)
			for _, err := range first.errs {
				is(t, err, errFlood)
			}
			ok(t, b.Close())
			first.wg.Wait()
			second.wg.Wait()
			stop(nil)
		}
	})

	bubble(t, "a loan that runs out comes to one that waits, at that very time", func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := member("a", "g", "dead")
		join(t, b, g)
		write(t, b, "a", "1", "2")
		fetch(t, b, g, 2)
		start := time.Now()
		var c crew
		c.start(t.Context(), b, g, 3, 1)
		<-time.After(loan - 1)
		want(t, "handed out before", len(c.has()), 0)
		<-time.After(1)
		want(t, "handed out at the time", len(c.has()), 2)
		want(t, "time", time.Since(start), loan)
		<-time.After(loan)
		want(t, "the third took one of those that ran out again", len(c.errs), 0)
		c.wg.Wait()
	})

	bubble(t, "one that waits already hears of an earlier time: returned, delayed, lent for less", func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := member("a", "g", "c")
		join(t, b, g)
		write(t, b, "a", "long", "short", "again")
		long := g
		long.Loan = time.Hour
		fetch(t, b, long, 1)
		short := fetch(t, b, long, 1)[0]
		again := fetch(t, b, long, 1)[0]
		var c crew
		c.start(t.Context(), b, g, 3, 1)
		start := time.Now()
		g.Loan = 2 * time.Second
		ok(t, b.Extend(t.Context(), withConsumer(g, "c"), port.Hold{Receipt: short.Receipt})[0])
		ok(t, settle(t, b, g, port.Settlement{Receipt: again.Receipt, Verdict: port.Return, After: time.Second}))
		ok(t, b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "a", ID: "late", At: start.Add(500 * time.Millisecond)}}}))
		want(t, "at once", len(c.has()), 0)
		<-time.After(500 * time.Millisecond)
		want(t, "after 500 ms", c.has()["late"] != "", true)
		<-time.After(500 * time.Millisecond)
		want(t, "after 1 s", c.has()["again"] != "", true)
		<-time.After(time.Second)
		want(t, "after 2 s", c.has()["short"] != "", true)
		c.wg.Wait()
	})

	bubble(t, "what waits in a group passes its timer on when it leaves", func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := member("a", "g", "c")
		join(t, b, g)
		ctx, stop := context.WithCancel(t.Context())
		var first, second crew
		ok(t, b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "a", ID: "late", At: time.Now().Add(time.Hour)}}}))
		first.start(ctx, b, g, 1, 1)
		second.start(t.Context(), b, g, 1, 1)
		stop()
		first.wg.Wait()
		<-time.After(time.Hour)
		want(t, "handed to the one that is left", second.has()["late"], "c0")
	})

	bubble(t, "a delayed message comes to every group and reader when it is due, and not before", func(t *testing.T) {
		b := memory.New(memory.Config{})
		join(t, b, member("a", "g", "x"), member("a", "h", "x"))
		due := time.Now().Add(time.Hour)
		readers := make(chan []port.Stored, 2)
		for range 2 {
			go func() {
				list, err := b.Read(t.Context(), port.Range{Topic: "a", After: port.Latest, Max: 1, Wait: 2 * time.Hour})
				if err != nil {
					t.Error(err)
				}
				readers <- list
			}()
		}
		var g, h crew
		g.start(t.Context(), b, member("a", "g", "x"), 1, 1)
		h.start(t.Context(), b, member("a", "h", "x"), 1, 1)
		ok(t, b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "a", ID: "late", At: due}}}))
		want(t, "delayed", infoOf(t, b, "a").Delayed, 1)
		g.wg.Wait()
		h.wg.Wait()
		want(t, "time", time.Now().Equal(due), true)
		want(t, "group g", g.has()["late"], "c0")
		want(t, "group h", h.has()["late"], "c0")
		for range 2 {
			list := <-readers
			want(t, "time of the entry", list[0].At.Equal(due), true)
		}
	})

	bubble(t, "a Read that waits ends with nothing when its time is over", func(t *testing.T) {
		b := memory.New(memory.Config{})
		start := time.Now()
		list, err := b.Read(t.Context(), port.Range{Topic: "a", After: port.Latest, Max: 1, Wait: 1500 * time.Microsecond})
		ok(t, err)
		want(t, "entries", len(list), 0)
		want(t, "waited", time.Since(start), 2*time.Millisecond)
		ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, errFlood)
		defer stop()
		_, err = b.Read(ctx, port.Range{Topic: "a", Max: 1, Wait: time.Hour})
		is(t, err, errFlood)
	})

	bubble(t, "a Read that waits is told when its log is replaced by another", func(t *testing.T) {
		b := memory.New(memory.Config{})
		write(t, b, "a", "1")
		done := make(chan error)
		go func() {
			_, err := b.Read(t.Context(), port.Range{Topic: "a", After: port.Latest, Max: 1, Wait: time.Hour})
			done <- err
		}()
		synctest.Wait()
		ok(t, b.Drop(t.Context(), "a", ""))
		synctest.Wait()
		write(t, b, "a", "2")
		is(t, <-done, port.ErrGap)
	})

	bubble(t, "nothing is left waiting or listening by what has ended", func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := member("a", "g", "c")
		join(t, b, g)
		var c crew
		c.start(t.Context(), b, g, 5, 1)
		for _, err := range b.Extend(t.Context(), g) {
			t.Error(err)
		}
		ok(t, b.Close())
		c.wg.Wait()
		for _, err := range c.errs {
			is(t, err, port.ErrClosed)
		}
		want(t, "errors", len(c.errs), 5)
	})
}

func withConsumer(g port.Group, consumer string) port.Group {
	g.Consumer = consumer
	return g
}

func TestManyProducersAndConsumersLoseAndDoubleNothing(t *testing.T) {
	for name, conf := range map[string]memory.Config{"atomic": {}, "stepwise": {Stepwise: true}} {
		t.Run(name, func(t *testing.T) {
			const producers, consumers, each = 8, 8, 250
			store := memory.New(conf)
			g := member("in", "g", "")
			g.Loan = time.Hour
			join(t, store, g)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			for p := range producers {
				wg.Go(func() {
					b := store.Open(conf)
					for i := range each {
						m := port.Message{Topic: "in", ID: strconv.Itoa(p) + "-" + strconv.Itoa(i)}
						if err := b.Write(ctx, port.Batch{Messages: []port.Message{m}}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for c := range consumers {
				wg.Go(func() {
					b, mine := store.Open(conf), withConsumer(g, "c"+strconv.Itoa(c))
					for {
						list, err := b.Fetch(ctx, mine, 1+c)
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Error(err)
							}
							return
						}
						work := make([]port.Settlement, 0, len(list))
						for _, d := range list {
							work = append(work, port.Settlement{Receipt: d.Receipt, Then: port.Batch{
								Messages: []port.Message{{Topic: "out", ID: d.Message.ID}},
								Changes:  []port.Change{{Key: d.Message.ID, If: port.Absent}},
							}})
						}
						for _, err := range b.Settle(t.Context(), mine, work...) {
							if err != nil {
								t.Error(err)
							}
						}
						if n := len(logOf(t, b, "out")); n == producers*each || infoOf(t, b, "out").Count == producers*each {
							stop()
						}
					}
				})
			}
			wg.Wait()
			info := infoOf(t, store, "out")
			want(t, "results", info.Count, producers*each)
			in := infoOf(t, store, "in").Groups[0]
			want(t, "left", in.Lag+in.Loaned+in.Delayed, 0)
		})
	}
}
