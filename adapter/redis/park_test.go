package redis_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// lone is a consumer to whom messages come one at a time.
type lone struct {
	t     *testing.T
	r     raw
	b     *redis.Backend
	other *redis.Backend
	g     port.Group
	n     int
}

func newLone(t *testing.T) *lone {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	l := &lone{t: t, r: direct(t, s), b: open(t, redis.Config{URL: s.URL()}), other: open(t, redis.Config{URL: s.URL()}), g: group("orders", "c1")}
	l.g.Loan = time.Hour
	join(t, l.other, l.g)
	return l
}

type fetchedBy struct {
	list []port.Delivery
	err  error
}

// fetch begins a fetch, and returns when its process is registered to be woken.
func (l *lone) fetch() <-chan fetchedBy {
	l.t.Helper()
	out := make(chan fetchedBy, 1)
	go func() {
		list, err := l.b.Fetch(l.t.Context(), l.g, 10)
		out <- fetchedBy{list, err}
	}()
	l.registered()
	return out
}

func (l *lone) registered() {
	l.t.Helper()
	l.r.eventually("the process is registered to be woken", func() bool {
		return l.r.int("HSTRLEN", "muster:topic:{orders}", "waiters") > 0
	})
}

// parked begins a fetch where the one before has left what it waits for.
func (l *lone) parked() <-chan fetchedBy {
	l.t.Helper()
	out := l.fetch()
	write(l.t, l.other, l.next())
	l.settle(l.got(out))
	return l.fetch()
}

func (l *lone) next() port.Message {
	l.n++
	return message("orders", strconv.Itoa(l.n))
}

// got is the one message that a fetch brings.
func (l *lone) got(out <-chan fetchedBy) port.Delivery {
	l.t.Helper()
	f := <-out
	if f.err != nil || len(f.list) != 1 {
		l.t.Fatalf("fetched %d messages: %v", len(f.list), f.err)
	}
	return f.list[0]
}

func (l *lone) settle(d port.Delivery) {
	l.t.Helper()
	if err := l.b.Settle(l.t.Context(), l.g, port.Settlement{Receipt: d.Receipt})[0]; err != nil {
		l.t.Fatal(err)
	}
}

// scripts counts those that ran since the server was last told to count anew.
func (l *lone) scripts() int {
	l.t.Helper()
	text, err := l.r.ask("INFO", "commandstats").ToString()
	if err != nil {
		l.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "cmdstat_evalsha:calls=")
	count, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(count)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

func TestAMessageThatComesAloneCostsOneScriptToFetchAndNoneToWaitFor(t *testing.T) {
	l := newLone(t)
	out := l.parked()
	l.r.do("CONFIG", "RESETSTAT")
	const n = 50
	for range n {
		write(t, l.other, l.next())
		l.got(out)
		out = l.fetch()
	}
	// One writes, one lends. A fetch that waited for long has looked by itself, which it does every two seconds.
	if got := l.scripts(); got < 2*n || got >= 2*n+n/2 {
		t.Errorf("%d scripts ran for %d messages, want %d", got, n, 2*n)
	}
}

func TestAFetchThatDidNotAskBeforeItWaitsIsWokenByWhatIsNotNew(t *testing.T) {
	for what, news := range map[string]func(l *lone, held port.Delivery){
		"one was handed back": func(l *lone, held port.Delivery) {
			if err := l.other.Settle(l.t.Context(), l.g, port.Settlement{Receipt: held.Receipt, Verdict: port.Release})[0]; err != nil {
				l.t.Fatal(err)
			}
		},
		"one is addressed to the group": func(l *lone, _ port.Delivery) {
			m := l.next()
			m.Group = l.g.Name
			write(l.t, l.other, m)
		},
		"one is delayed for a moment": func(l *lone, _ port.Delivery) {
			m := l.next()
			m.At = time.UnixMilli(l.r.now() + 20)
			write(l.t, l.other, m)
		},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLone(t)
			write(t, l.other, l.next())
			held := fetch(t, l.other, l.g, 1)[0]
			out := l.parked()
			news(l, held)
			l.settle(l.got(out))
		})
	}
}

// What happens while nobody fetches is heard by the process, and the next fetch asks at once.
func TestWhatComesWhileNobodyFetchesIsFoundByTheNextFetch(t *testing.T) {
	l := newLone(t)
	out := l.parked()
	write(t, l.other, l.next())
	l.settle(l.got(out))
	l.registered()
	write(t, l.other, l.next())
	l.r.eventually("the process was woken", func() bool {
		return l.r.int("HSTRLEN", "muster:topic:{orders}", "waiters") == 0
	})
	l.settle(l.got(l.fetchNow()))
}

// fetchNow begins a fetch.
func (l *lone) fetchNow() <-chan fetchedBy {
	out := make(chan fetchedBy, 1)
	go func() {
		list, err := l.b.Fetch(l.t.Context(), l.g, 10)
		out <- fetchedBy{list, err}
	}()
	return out
}

func TestWhatAFetchLeftForTheNextIsGoneWithItsBackend(t *testing.T) {
	l := newLone(t)
	out := l.parked()
	if err := l.b.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, "the fetch", (<-out).err, port.ErrClosed)
}
