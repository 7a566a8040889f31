package redis_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// behind opens a backend through a proxy, that gives up a silent server soon.
func behind(t *testing.T, s *testserver.Server) (*redis.Backend, *testserver.Proxy) {
	t.Helper()
	p := testserver.NewProxy(t, s.Addr())
	return open(t, redis.Config{URL: "redis://" + p.Addr(), Timeout: 200 * time.Millisecond}), p
}

// insist does it again until its outcome is known.
func insist(r raw, what string, do func() error) (err error) {
	r.t.Helper()
	r.eventually(what, func() bool {
		err = do()
		return !errors.Is(err, port.ErrUnavailable) && !errors.Is(err, port.ErrUncertain)
	})
	return err
}

func TestAServerThatGoesAndComesBackLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	const n = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			m := port.Batch{ID: strconv.Itoa(i), Messages: []port.Message{message("orders", strconv.Itoa(i))}}
			if err := insist(r, "a write", func() error { return b.Write(t.Context(), m) }); err != nil && !errors.Is(err, port.ErrDuplicate) {
				t.Error(err)
			}
		}
	})
	for range 3 {
		had := r.int("XLEN", "muster:log:{orders}")
		r.eventually("some were written", func() bool { return r.int("XLEN", "muster:log:{orders}") >= min(had+20, n) })
		s.Kill()
		_, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 1})
		wantError(t, "read of a server that is down", err, port.ErrUnavailable, s.Addr())
		s.Restart()
		r.eventually("it answers", func() bool { return r.ask("PING").Error() == nil })
	}
	wg.Wait()
	var want []string
	for i := range n {
		want = append(want, strconv.Itoa(i))
	}
	wantIDs(t, b, "orders", want...)
	seen := map[string]int{}
	for len(seen) < n {
		for _, d := range fetch(t, b, g, 100) {
			seen[d.Message.ID]++
			if seen[d.Message.ID] > 1 {
				t.Errorf("message %s was handed out twice", d.Message.ID)
			}
			if err := b.Settle(t.Context(), g, port.Settlement{Receipt: d.Receipt})[0]; err != nil {
				t.Error(err)
			}
		}
	}
}

func TestALostAnswerIsUncertainAndARepetitionSettlesIt(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	b, p := behind(t, s)
	g := group("orders", "c1")
	join(t, b, g)
	ctx := t.Context()
	batch := port.Batch{ID: "b1", Messages: []port.Message{message("orders", "1")}}
	exercise(t, b) // the server knows the scripts
	join(t, b, g)

	p.BlackHoleDown()
	wantError(t, "write", b.Write(ctx, batch), port.ErrUncertain, p.Addr())
	p.Restore()
	if err := insist(r, "the write again", func() error { return b.Write(ctx, batch) }); err != nil {
		t.Errorf("the write again: %v", err)
	}
	wantIDs(t, b, "orders", "1")

	write(t, b, message("orders.out", "first"))
	got := fetch(t, b, g, 1)
	emit := port.Settlement{Receipt: got[0].Receipt, Then: port.Batch{Messages: []port.Message{message("orders.out", "o")}}}
	p.BlackHoleDown()
	wantError(t, "settle", b.Settle(ctx, g, emit)[0], port.ErrUncertain, p.Addr())
	p.Restore()
	wantError(t, "the settlement again", insist(r, "the settlement again", func() error { return b.Settle(ctx, g, emit)[0] }), port.ErrStale)
	wantIDs(t, b, "orders.out", "first", "o")

	write(t, b, message("orders", "0"))
	p.BlackHoleDown()
	short, stop := context.WithTimeoutCause(ctx, 50*time.Millisecond, errors.New("too late"))
	defer stop()
	second := port.Batch{ID: "b2", Messages: []port.Message{message("orders", "2")}}
	err := b.Write(short, second)
	wantError(t, "write that is cut short", err, port.ErrUncertain, "too late")
	_, err = b.Read(ctx, port.Range{Topic: "orders", Max: 1})
	wantError(t, "read", err, port.ErrUnavailable, p.Addr())
	p.Cut()
	r.eventually("nothing can have happened", func() bool {
		err = b.Write(ctx, port.Batch{ID: "b3", Messages: []port.Message{message("orders", "3")}})
		return errors.Is(err, port.ErrUnavailable)
	})
	p.Restore()
	if err := insist(r, "the write that was cut short again", func() error { return b.Write(ctx, second) }); err != nil {
		t.Error(err)
	}
	write(t, b, message("orders", "4"))
	wantIDs(t, b, "orders", "1", "0", "2", "4")
}

func TestAFetchWhoseContextEndsOnTheWayHandsBackWhatItGot(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	p := testserver.NewProxy(t, s.Addr())
	b := open(t, redis.Config{URL: "redis://" + p.Addr()})
	other := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	exercise(t, b) // the server knows the scripts
	join(t, b, g)
	write(t, other, message("orders", "1"))
	p.BlackHoleDown()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { _, err = b.Fetch(ctx, g, 1) })
	r.eventually("it is on loan", func() bool { return r.int("ZCARD", "muster:loans:{orders}:g") == 1 })
	cancel(why)
	wg.Wait()
	wantError(t, "fetch", err, why)
	p.Restore()
	got := fetch(t, other, group("orders", "c2"), 1) // its loan lasts an hour
	if len(got) != 1 || got[0].Lost != 0 || got[0].Attempt != 0 {
		t.Errorf("fetched %+v", got)
	}
}

func TestScriptsThatAreFlushedAndConnectionsThatAreKilledCostNothing(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r.do("SCRIPT", "FLUSH")
			if i%10 == 9 {
				r.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			}
			r.pause(time.Millisecond)
		}
	})
	const n = 200
	seen := map[string]int{}
	for i := range n {
		id := strconv.Itoa(i)
		batch := port.Batch{ID: id, Messages: []port.Message{message("orders", id)}}
		if err := insist(r, "a write", func() error { return b.Write(t.Context(), batch) }); err != nil && !errors.Is(err, port.ErrDuplicate) {
			t.Fatal(err)
		}
	}
	quick := g
	quick.Loan = 50 * time.Millisecond // an answer that was lost comes again when it has ended
	for len(seen) < n {
		var got []port.Delivery
		err := insist(r, "a fetch", func() (err error) { got, err = b.Fetch(t.Context(), quick, 20); return err })
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range got {
			then := port.Batch{Messages: []port.Message{message("orders.out", d.Message.ID)}}
			err := insist(r, "a settlement", func() error { return b.Settle(t.Context(), quick, port.Settlement{Receipt: d.Receipt, Then: then})[0] })
			if _, whole := errors.AsType[*port.DuplicateError](err); err == nil || whole || errors.Is(err, port.ErrStale) {
				seen[d.Message.ID]++
				continue
			}
			t.Fatal(err)
		}
	}
	stop()
	wg.Wait()
	r.eventually("all is settled", func() bool {
		return r.int("EXISTS", "muster:state:{orders}:g", "muster:loans:{orders}:g", "muster:lent:{orders}:g") == 0
	})
	var out []string
	if err := insist(r, "a look", func() error { out = ids(t, b, "orders.out"); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	if got := len(slices.Compact(slices.Clone(out))); len(out) != n || got != n {
		t.Errorf("%d outputs, %d of them different; want %d", len(out), got, n)
	}
}

func TestARestartedServerIsToldAgainWhatItMayHaveLost(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(map[bool]string{true: "by the backend's client", false: "by the caller's client"}[own], func(t *testing.T) {
			s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
			r := direct(t, s)
			c := redis.Config{URL: s.URL()}
			if !own {
				c = redis.Config{Client: r.c}
			}
			b := open(t, c)
			topic := port.Topic{Name: "orders", MaxCount: 7}
			limit := func() (n int64) {
				for info, err := range b.Inspect(t.Context(), "*") {
					if err == nil && info.Topic.Name == "orders" {
						n = info.Topic.MaxCount
					}
				}
				return n
			}
			for range 2 {
				r.eventually("the limit is set", func() bool {
					return b.Declare(t.Context(), topic) == nil && limit() == 7
				})
				s.Kill()
				s.Restart()
			}
		})
	}
}

func TestAScriptThatHoldsUpTheServerIsToldAndNothingHappens(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", Lines: []string{"lua-time-limit 20"}})
	r := direct(t, s)
	other := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	var wg sync.WaitGroup
	wg.Go(func() {
		if other.ask("EVAL", "while true do end", "0").Error() == nil {
			t.Error("a script without an end has ended")
		}
	})
	var err error
	r.eventually("the server is held up", func() bool {
		err = b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}})
		return err != nil
	})
	wantError(t, "write", err, port.ErrUnavailable, s.Addr(), "a script of somebody runs too long on the server")
	r.do("SCRIPT", "KILL")
	wg.Wait()
	if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}}); err != nil && !errors.Is(err, port.ErrDuplicate) {
		t.Error(err)
	}
	wantIDs(t, b, "orders", "1")
}

func TestAListenerIsToldOfEveryGapAndHearsAgain(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b, p := behind(t, s)
	other := open(t, redis.Config{URL: s.URL()})
	r := direct(t, s)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	signals, err := b.Listen(ctx, "news")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		for s, err := range signals {
			switch {
			case errors.Is(err, port.ErrGap):
				heard <- "gap"
			case err != nil:
				t.Error(err)
			default:
				heard <- string(s.Payload)
			}
		}
	})
	signal := func(text string) {
		t.Helper()
		if err := other.Signal(t.Context(), "news", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	next := func() string {
		select {
		case s := <-heard:
			return s
		case <-time.After(time.Minute):
			t.Fatal("nothing is heard for a minute")
			return ""
		}
	}
	subscribed := func() bool {
		n, err := r.ask("PUBSUB", "NUMPAT").AsInt64()
		return err == nil && n == 1
	}
	signal("1")
	if got := next(); got != "1" {
		t.Fatalf("heard %q", got)
	}
	for range 3 {
		p.Cut()
		if got := next(); got != "gap" {
			t.Fatalf("heard %q when the connection broke", got)
		}
		r.eventually("nobody listens", func() bool { return r.int("PUBSUB", "NUMPAT") == 0 })
		signal("missed")
		p.Restore()
		r.eventually("it listens again", subscribed)
		signal("2")
		if got := next(); got != "gap" {
			t.Fatalf("heard %q; what was signalled meanwhile is missing and it does not say so", got)
		}
		if got := next(); got != "2" {
			t.Fatalf("heard %q after the gap", got)
		}
	}
	stop()
	wg.Wait()
	close(heard)
	for s := range heard {
		t.Errorf("heard %q besides", s)
	}
}

func TestAnIDIsKnownWhenTheServersClockHasGoneBack(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	write(t, b, message("orders", "1"))
	if err := b.Settle(t.Context(), g, port.Settlement{Receipt: fetch(t, b, g, 1)[0].Receipt})[0]; err != nil {
		t.Fatal(err)
	}
	// As if it had been written in a width of time that is still to come: in the set behind the current one.
	for _, kind := range []string{"known:{orders}:", "done:{orders}:g:"} {
		for i := range 3 {
			if key := "muster:" + kind; r.int("EXISTS", key+strconv.Itoa(i)) == 1 {
				r.do("RENAME", key+strconv.Itoa(i), key+strconv.Itoa((i+1)%3))
				break
			}
		}
	}
	err := b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}})
	wantError(t, "write again", err, port.ErrDuplicate)
	again := message("orders", "1")
	again.Group = "g"
	write(t, b, again, message("orders", "2"))
	if got := fetch(t, b, g, 2); len(got) != 1 || got[0].Message.ID != "2" {
		t.Errorf("fetched %v", got)
	}
}

func TestACallOfWhichSomeWasDoneIsNotSaidToHaveDoneNothing(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	r.do("ACL", "SETUSER", "half", "on", ">secret", "+@all", "allchannels", "~muster:probe", "~muster:kv:{a}*", "~muster:fences:*")
	b := open(t, redis.Config{URL: "redis://half:secret@" + s.Addr()})
	a, c := port.Change{Key: "a/1", Value: []byte("v")}, port.Change{Key: "c/1", Value: []byte("v")}
	for _, condition := range []port.If{port.Always, port.Absent} {
		a.If, c.If = condition, condition
		_, err := b.Apply(t.Context(), a, c)
		wantError(t, "apply", err, port.ErrUncertain, "the first 1 of the call were done")
		if errors.Is(err, port.ErrUnavailable) {
			t.Errorf("apply: %v", err)
		}
		_, err = b.Apply(t.Context(), c)
		wantError(t, "apply", err, port.ErrUnavailable)
		r.do("DEL", "muster:kv:{a}/1")
	}
}
