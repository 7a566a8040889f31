package redis

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// piping is a backend whose commands wait behind others that seem to be under way.
type piping struct {
	t      *testing.T
	b      *Backend
	server *testserver.Server
	way    *way
	work   sync.WaitGroup
}

func newPiping(t *testing.T) *piping {
	s := testserver.Redis(t, testserver.RedisConfig{})
	return &piping{t: t, b: opened(t, Config{URL: s.URL()}), server: s}
}

func opened(t *testing.T, c Config) *Backend {
	t.Helper()
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// hold has what is asked for from here on wait.
func (p *piping) hold(name string) {
	p.way = &way{name: name, straight: mostStraight}
	p.b.pipeline.mu.Lock()
	defer p.b.pipeline.mu.Unlock()
	p.b.pipeline.of[name] = p.way
}

// begin begins a call.
func (p *piping) begin(call func() error) *error {
	var answer error
	p.work.Go(func() { answer = call() })
	return &answer
}

func (p *piping) set(ctx context.Context, key string, value []byte) *error {
	return p.begin(func() error {
		_, err := p.b.Apply(ctx, port.Change{Key: key, Value: value})
		return err
	})
}

func (p *piping) get(ctx context.Context, keys ...string) *error {
	return p.begin(func() error {
		_, err := p.b.Get(ctx, keys...)
		return err
	})
}

func (p *piping) add(ctx context.Context, key string) *error {
	return p.begin(func() error {
		_, err := p.b.Add(ctx, key, 1, 0)
		return err
	})
}

// wait returns when so many go straight and so many wait.
func (p *piping) wait(straight, waiting int) {
	p.t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); runtime.Gosched() {
		p.b.pipeline.mu.Lock()
		done := p.way.straight == straight && len(p.way.waiting) == waiting
		p.b.pipeline.mu.Unlock()
		if done {
			return
		}
	}
	p.t.Fatalf("there are never %d calls that wait behind %d", waiting, straight)
}

func (p *piping) waiting(n int) {
	p.t.Helper()
	p.wait(mostStraight, n)
}

// resume ends what seemed to be under way, and waits for the answers.
func (p *piping) resume() {
	for range mostStraight {
		p.b.pipeline.leave(p.way)
	}
	p.work.Wait()
}

// value is what a key has, "" for nothing.
func (p *piping) value(key string) string {
	p.t.Helper()
	values, err := p.b.Get(p.t.Context(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(values[0].Bytes)
}

func TestACallIsTakenBackWhenItsCallerGivesUpBeforeItIsSent(t *testing.T) {
	p := newPiping(t)
	p.hold("")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	answers := []*error{
		p.set(ctx, "a/1", []byte("x")), p.get(ctx, "a/1"), p.get(ctx, "a/1", "a/2"), p.add(ctx, "a/2"),
		p.begin(func() error {
			_, err := p.b.Apply(ctx, port.Change{Key: "a/3", Value: []byte("x")}, port.Change{Key: "a/4", Value: []byte("x")})
			return err
		}),
	}
	p.waiting(len(answers))
	cancel(why)
	p.waiting(0)
	p.resume()
	for i, answer := range answers {
		if !errors.Is(*answer, why) || errors.Is(*answer, port.ErrUncertain) {
			t.Errorf("nothing happened, and call %d is answered with %v", i, *answer)
		}
	}
	for _, key := range []string{"a/1", "a/2", "a/3", "a/4"} {
		if got := p.value(key); got != "" {
			t.Errorf("key %s has %q", key, got)
		}
	}
}

func TestACallThatWasTakenIsCarriedOutAsItWasWhenItsCallerGivesUp(t *testing.T) {
	p := newPiping(t)
	p.hold("")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	value := []byte("value")
	read := p.get(ctx, "a/1")
	p.waiting(1)
	written := p.set(ctx, "a/1", value)
	p.waiting(2)
	p.way.sendings++
	list := p.b.pipeline.take(p.way, nil)
	cancel(why)
	p.work.Wait()
	if !errors.Is(*read, why) || errors.Is(*read, port.ErrUncertain) {
		t.Errorf("a read that nobody waits for is answered with %v", *read)
	}
	if !errors.Is(*written, why) || !errors.Is(*written, port.ErrUncertain) {
		t.Errorf("it may still happen, and the answer is %v", *written)
	}
	copy(value, "other")
	p.b.pipeline.send(list)
	p.b.pipeline.take(p.way, list)
	p.resume()
	if got := p.value("a/1"); got != "value" {
		t.Errorf("the value is %q", got)
	}
}

// tardy is a client whose caller leaves before a command is written.
type tardy struct {
	rueidis.Client
	leave func()
	late  func([]string) // is given what is still to be written
}

func (c tardy) Do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	c.leave()
	c.late(command.Commands())
	return rueidis.NewErrorResult(ctx.Err())
}

func (c tardy) DoMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	answers := make([]rueidis.RedisResult, len(commands))
	for i := range commands {
		answers[i] = c.Do(ctx, commands[i])
	}
	return answers
}

func TestWhatIsWrittenAfterItsCallerHasLeftIsNotTheCallersMemory(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	b := opened(t, Config{URL: s.URL()})
	for name, call := range map[string]func(ctx context.Context, value []byte) error{
		"a change": func(ctx context.Context, v []byte) error {
			_, err := b.Apply(ctx, port.Change{Key: "k", Value: v})
			return err
		},
		"several changes": func(ctx context.Context, v []byte) error {
			_, err := b.Apply(ctx, port.Change{Key: "k", Value: v}, port.Change{Key: "l", Value: v})
			return err
		},
		"a claim": func(ctx context.Context, v []byte) error {
			_, err := b.Apply(ctx, port.Change{Key: "k", Value: v, If: port.Absent})
			return err
		},
		"a change with a condition": func(ctx context.Context, v []byte) error {
			_, err := b.Apply(ctx, port.Change{Key: "k", Value: v, Old: v, If: port.Equals})
			return err
		},
		"a signal": func(ctx context.Context, v []byte) error { return b.Signal(ctx, "c", v) },
	} {
		client := b.client
		var late []string
		ctx, cancel := context.WithCancel(t.Context())
		b.client = tardy{client, cancel, func(command []string) { late = append(late, command...) }}
		value := []byte("value")
		err := call(ctx, value)
		b.client = client
		copy(value, "other")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s is answered with %v", name, err)
		}
		if !slices.Contains(late, "value") || slices.Contains(late, "other") {
			t.Errorf("%s would be written as %q", name, late)
		}
	}
}

func TestCloseEndsTheCallsThatWait(t *testing.T) {
	p := newPiping(t)
	p.hold("")
	written := p.set(t.Context(), "a/1", []byte("x"))
	p.waiting(1)
	p.b.pipeline.mu.Lock()
	p.way.waiting = p.way.waiting[1:] // it was taken, and is never answered
	p.b.pipeline.mu.Unlock()
	read := p.get(t.Context(), "a/1")
	p.waiting(1)
	if err := p.b.Close(); err != nil {
		t.Fatal(err)
	}
	p.work.Wait()
	if !errors.Is(*written, port.ErrClosed) || !errors.Is(*read, port.ErrClosed) {
		t.Errorf("the answers are %v and %v", *written, *read)
	}
}

func TestWhatTheServerRefusesOfOneCallTakesNoOtherWithIt(t *testing.T) {
	p := newPiping(t)
	push := p.b.client.B().Rpush().Key(p.b.space.key("a/list")).Element("x").Build()
	if err := p.b.client.Do(t.Context(), push).Error(); err != nil {
		t.Fatal(err)
	}
	p.hold("")
	good := []*error{p.set(t.Context(), "a/1", []byte("x")), p.add(t.Context(), "a/2")}
	p.waiting(2)
	bad := []*error{p.get(t.Context(), "a/list"), p.get(t.Context(), "a/1", "a/list"), p.add(t.Context(), "a/list")}
	p.waiting(5)
	good = append(good, p.get(t.Context(), "a/1"), p.get(t.Context(), "a/1", "a/2"))
	p.waiting(7)
	flush := p.b.client.B().ScriptFlush().Build() // the server does not know what it is asked for, and is told
	if err := p.b.client.Do(t.Context(), flush).Error(); err != nil {
		t.Fatal(err)
	}
	p.resume()
	for i, answer := range good {
		if *answer != nil {
			t.Errorf("good call %d is answered with %v", i, *answer)
		}
	}
	for i, answer := range bad {
		if !errors.Is(*answer, port.ErrInvalid) {
			t.Errorf("bad call %d is answered with %v", i, *answer)
		}
	}
	if one, two := p.value("a/1"), p.value("a/2"); one != "x" || two != "1" {
		t.Errorf("the values are %q and %q", one, two)
	}
}

func TestManyCallersReadWhatTheyWrote(t *testing.T) {
	p := newPiping(t)
	p.hold("")
	const callers, rounds = 64, 50
	for c := range callers {
		p.work.Go(func() {
			key, count := "a/"+strconv.Itoa(c), "n/"+strconv.Itoa(c)
			var old []byte
			value := make([]byte, 16)
			for i := range rounds {
				value = append(value[:0], strconv.Itoa(c)+"."+strconv.Itoa(i)...) // the same memory again
				change := port.Change{Key: key, Value: value}
				if i%2 == 1 {
					change.If, change.Old = port.Equals, old
				}
				done, err := p.b.Apply(t.Context(), change)
				if err != nil || !done[0].Done {
					t.Errorf("change %d of caller %d: %+v, %v", i, c, done, err)
					return
				}
				n, err := p.b.Add(t.Context(), count, 1, 0)
				if err != nil || n != int64(i+1) {
					t.Errorf("sum %d of caller %d is %d, %v", i+1, c, n, err)
				}
				values, err := p.b.Get(t.Context(), []string{key, count}[:1+i%2]...)
				if err != nil || !bytes.Equal(values[0].Bytes, value) {
					t.Errorf("caller %d wrote %s and reads %+v, %v", c, value, values, err)
					return
				}
				old = values[0].Bytes
			}
		})
	}
	p.waiting(callers)
	p.resume()
	if err := p.b.Close(); err != nil {
		t.Error(err)
	}
	if w := p.way; w.straight != 0 || w.sendings != 0 || w.sent != 0 || len(w.waiting) != 0 {
		t.Errorf("there is still under way %+v", *w)
	}
}

func TestEveryCallIsAnsweredWhenTheServerIsKilled(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	proxy := testserver.NewProxy(t, s.Addr())
	p := &piping{t: t, b: opened(t, Config{URL: "redis://" + proxy.Addr()}), server: s}
	p.hold("")
	p.resume()
	proxy.BlackHoleDown()
	const callers = 64
	var answers []*error
	for c := range callers {
		key := "a/" + strconv.Itoa(c)
		if c%2 == 0 {
			answers = append(answers, p.set(t.Context(), key, []byte("x")))
		} else {
			answers = append(answers, p.get(t.Context(), key))
		}
	}
	p.wait(mostStraight, callers-mostStraight)
	s.Kill()
	proxy.Cut()
	p.work.Wait()
	for i, answer := range answers {
		if !errors.Is(*answer, port.ErrUnavailable) && (i%2 == 1 || !errors.Is(*answer, port.ErrUncertain)) {
			t.Errorf("call %d is answered with %v", i, *answer)
		}
	}
	s.Restart()
	proxy.Restore()
}

func TestASendingTakesItsShareAndNoMore(t *testing.T) {
	b := &Backend{client: tardy{}}
	b.ctx, b.cancel = context.WithCancel(t.Context())
	b.cancel() // nothing is begun
	of := func(commands, size int) *request {
		r := &request{}
		for range commands {
			r.commands = append(r.commands, rueidis.Builder{}.Arbitrary(string(make([]byte, size))).Build())
		}
		return r
	}
	for name, c := range map[string]struct {
		waiting []*request
		sent    int
		want    int
	}{
		"few go together":               {slices.Repeat([]*request{of(1, 1)}, leastSent), 0, leastSent},
		"many are divided":              {slices.Repeat([]*request{of(1, 1)}, 64), 0, 64 / mostSendings},
		"by all that there are":         {slices.Repeat([]*request{of(1, 1)}, 64), 36, 25},
		"one that is large goes alone":  {[]*request{of(1, mostTogether+1), of(1, 1)}, 0, 1},
		"one that is large has to wait": {[]*request{of(1, 1), of(1, mostTogether), of(1, 1)}, 0, 1},
		"so has one of many commands":   {[]*request{of(1, 1), of(mostGathered, 1), of(1, 1)}, 0, 1},
	} {
		p := &pipeline{b: b}
		w := &way{sendings: mostSendings, sent: c.sent, waiting: c.waiting}
		if got := len(p.take(w, nil)); got != c.want || w.sent != c.sent+got || len(w.waiting) != len(c.waiting)-got {
			t.Errorf("%s: %d are taken, %d are sent, %d wait; want %d", name, got, w.sent, len(w.waiting), c.want)
		}
	}
}

// scattered is a client of one server that says it is one of a cluster.
type scattered struct{ rueidis.Client }

func (scattered) Mode() rueidis.ClientMode { return rueidis.ClientModeCluster }

func TestInAClusterNoFamilyWaitsForAnother(t *testing.T) {
	p := newPiping(t)
	p.b.client = scattered{p.b.client}
	p.hold("a")
	waits := p.get(t.Context(), "a/1", "a/2")
	p.waiting(1)
	if got := p.value("b/1"); got != "" {
		t.Errorf("the value is %q", got)
	}
	for _, keys := range [][]string{{"b/1", "b/2"}, {"a/1", "b/1"}} {
		if _, err := p.b.Get(t.Context(), keys...); err != nil {
			t.Error(err)
		}
	}
	p.waiting(1)
	p.resume()
	if *waits != nil {
		t.Error(*waits)
	}
	if err := p.b.Close(); err != nil {
		t.Error(err)
	}
	if n := len(p.b.pipeline.of); n != 0 {
		t.Errorf("%d families are still under way", n)
	}
}
