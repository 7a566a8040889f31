package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

type order struct {
	ID       string
	Customer string
	Cents    int
}

type shipment struct{ Order string }

var (
	orders   = bus.Topic[order]{Name: "orders.placed", Key: func(o order) string { return o.Customer }}
	shipped  = bus.Topic[shipment]{Name: "orders.shipped"}
	balances = bus.State[int]{Prefix: "orders/balance/"}
)

// subscription runs a Subscribe on the side until it is stopped.
type subscription struct {
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func subscribe[T any](t *testing.T, q port.Queue, topic bus.Topic[T], g bus.Group, h bus.Handler[T]) *subscription {
	return start(t, func(ctx context.Context) error { return topic.Subscribe(ctx, q, g, h) })
}

func start(t *testing.T, fn func(context.Context) error) *subscription {
	ctx, stop := context.WithCancel(t.Context())
	s := &subscription{t: t, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- fn(ctx) }()
	return s
}

// end stops it and expects a clean end.
func (s *subscription) end() {
	s.t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Errorf("the subscription ended with %v", err)
	}
}

func publish[T any](t *testing.T, q port.Queue, topic bus.Topic[T], v T) string {
	t.Helper()
	id, err := topic.Publish(t.Context(), q, v)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// group is what Inspect tells of one group.
func group(t *testing.T, q port.Queue, topic, name string) port.GroupInfo {
	t.Helper()
	for info, err := range q.Inspect(t.Context(), topic) {
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range info.Groups {
			if g.Name == name {
				return g
			}
		}
	}
	t.Fatalf("no group %q of topic %q", name, topic)
	return port.GroupInfo{}
}

// log is a list that handlers write to.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

func TestWhatIsEmittedAndSavedLeavesWithTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		tries := 0
		s := subscribe(t, b, orders, bus.Group{Name: "shipping"}, func(ctx context.Context, m bus.Message[order]) error {
			sum, was, err := balances.Get(ctx, b, m.Payload.Customer)
			if err != nil {
				return err
			}
			bus.Save(m, balances, m.Payload.Customer, was, sum+m.Payload.Cents)
			bus.Emit(m, shipped, shipment{m.Payload.ID})
			if tries++; tries == 1 {
				return errors.New("not this time")
			}
			return nil
		})
		id := publish(t, b, orders, order{"1", "ann", 500})
		<-time.After(time.Minute)
		s.end()
		sum, _, err := balances.Get(t.Context(), b, "ann")
		if sum != 500 || err != nil {
			t.Errorf("the balance is %d, %v", sum, err)
		}
		out, err := b.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 10})
		if len(out) != 1 || err != nil {
			t.Fatalf("%d messages came out, %v", len(out), err)
		}
		if out[0].Message.ID == id {
			t.Error("the emitted message has the id of its input")
		}
		if g := group(t, b, orders.Name, "shipping"); g.Lag+g.Loaned+g.Delayed != 0 {
			t.Errorf("left over: %+v", g)
		}
	})
}

// C3: an acknowledgement before the work, or after a swallowed error.
func TestAFailureIsNotAcknowledgedAndComesAgainWithTheSameIDUntilItIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var l log
		start := time.Now()
		s := subscribe(t, b, orders, bus.Group{Name: "billing"}, func(ctx context.Context, m bus.Message[order]) error {
			l.add("%s %d %q", m.ID, m.Attempt, m.LastError)
			return fmt.Errorf("failure %d", m.Attempt+1)
		})
		id := publish(t, b, orders, order{ID: "1"})
		<-time.After(time.Minute)
		s.end()
		lines := l.all()
		if len(lines) != 5 {
			t.Fatalf("handled %d times: %q", len(lines), lines)
		}
		for i, line := range lines {
			last := ""
			if i > 0 {
				last = fmt.Sprintf("failure %d", i)
			}
			if want := fmt.Sprintf("%s %d %q", id, i, last); line != want {
				t.Errorf("try %d: %s, want %s", i, line, want)
			}
		}
		dead := bus.Dead{Queue: b, Topic: orders.Name, Group: "billing"}
		d, err := dead.Show(t.Context(), id)
		if err != nil || d.Reason != "failure 5" || d.Attempts != 5 || d.Crashes != 0 {
			t.Errorf("dead letter %+v, %v", d, err)
		}
		if d.Last.Sub(start) < 1300*time.Millisecond {
			t.Errorf("died after %v, the waits alone are 1.5 s", d.Last.Sub(start))
		}
	})
}

func TestRejectedMessagesDieAtOnceAndPutOffOnesDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		laters := 0
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(ctx context.Context, m bus.Message[order]) error {
			if m.Payload.ID == "bad" {
				return bus.Reject(errors.New("no such product"))
			}
			if laters++; laters <= 20 {
				return bus.Later(time.Second, nil)
			}
			if m.Attempt != 0 {
				t.Errorf("putting off counted %d failures", m.Attempt)
			}
			return nil
		})
		bad := publish(t, b, orders, order{ID: "bad"})
		publish(t, b, orders, order{ID: "good"})
		<-time.After(time.Minute)
		s.end()
		if laters != 21 {
			t.Errorf("put off and handled %d times", laters)
		}
		dead := bus.Dead{Queue: b, Topic: orders.Name, Group: "g"}
		if d, err := dead.Show(t.Context(), bad); err != nil || d.Attempts != 1 || d.Reason != "no such product" {
			t.Errorf("%+v, %v", d, err)
		}
		if n, err := dead.Count(t.Context()); n != 1 || err != nil {
			t.Errorf("%d dead, %v", n, err)
		}
	})
}

func TestMessagesOfOneKeyAreHandledOneAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var l log
		running := map[string]int{}
		var mu sync.Mutex
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(ctx context.Context, m bus.Message[order]) error {
			mu.Lock()
			if running[m.Key]++; running[m.Key] > 1 {
				t.Errorf("two of key %s at once", m.Key)
			}
			mu.Unlock()
			<-time.After(10 * time.Millisecond)
			l.add("%s", m.Payload.Customer+m.Payload.ID)
			mu.Lock()
			running[m.Key]--
			mu.Unlock()
			return nil
		})
		for i := range 20 {
			for _, c := range []string{"ann", "bob", "cas"} {
				publish(t, b, orders, order{fmt.Sprintf("%02d", i), c, 1})
			}
		}
		<-time.After(10 * time.Second)
		s.end()
		last := map[string]string{}
		for _, line := range l.all() {
			if who := line[:3]; line <= last[who] {
				t.Errorf("%s after %s", line, last[who])
			} else {
				last[who] = line
			}
		}
		if len(l.all()) != 60 {
			t.Errorf("%d handled", len(l.all()))
		}
	})
}

func TestAFailureHoldsBackTheLaterOnesOfItsKeyUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var l log
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(ctx context.Context, m bus.Message[order]) error {
			l.add("%s/%d", m.Payload.ID, m.Attempt)
			if m.Payload.ID == "1" && m.Attempt < 2 {
				return errors.New("no")
			}
			return nil
		})
		if _, err := orders.PublishAll(t.Context(), b, bus.Out[order]{Payload: order{"1", "ann", 1}},
			bus.Out[order]{Payload: order{"2", "ann", 1}}, bus.Out[order]{Payload: order{"3", "ann", 1}}); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Second)
		s.end()
		if got, want := fmt.Sprint(l.all()), "[1/0 1/1 1/2 2/0 3/0]"; got != want {
			t.Errorf("handled %s, want %s", got, want)
		}
	})
}

func TestARedriveReachesTheFailingGroupAloneAndMoreThanOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var failing, other log
		broken := true
		s1 := subscribe(t, b, orders, bus.Group{Name: "failing"}, func(ctx context.Context, m bus.Message[order]) error {
			failing.add("%s/%d", m.ID, m.Attempt)
			if broken {
				return bus.Reject(errors.New("broken"))
			}
			return nil
		})
		s2 := subscribe(t, b, orders, bus.Group{Name: "other"}, func(ctx context.Context, m bus.Message[order]) error {
			other.add("%s", m.ID)
			return nil
		})
		synctest.Wait()
		id := publish(t, b, orders, order{"1", "ann", 1})
		dead := bus.Dead{Queue: b, Topic: orders.Name, Group: "failing"}
		for round := range 3 {
			synctest.Wait()
			broken = round < 2
			if n, err := dead.Redrive(t.Context(), bus.DeadFilter{}); n != 1 || err != nil {
				t.Fatalf("round %d: redrove %d, %v", round, n, err)
			}
		}
		synctest.Wait()
		if n, err := dead.Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d still dead, %v", n, err)
		}
		s1.end()
		s2.end()
		if got := failing.all(); len(got) != 4 || got[3] != id+"/0" {
			t.Errorf("the failing group handled %q", got)
		}
		if got := other.all(); len(got) != 1 {
			t.Errorf("the other group handled %q", got)
		}
	})
}

// C4: an in-flight message that never comes back.
func TestTheMessagesOfADeadWorkerComeBackAndPoisonDiesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		var done log
		crash := func() *memory.Backend {
			var b *memory.Backend
			var cut atomic.Bool
			b = store.Open(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Cut: cut.Load()} }})
			err := orders.Subscribe(t.Context(), b, bus.Group{Name: "g", Workers: 4}, func(ctx context.Context, m bus.Message[order]) error {
				if m.Payload.ID == "poison" {
					cut.Store(true)
					<-ctx.Done()
					return ctx.Err()
				}
				if cut.Load() {
					<-ctx.Done()
					return ctx.Err()
				}
				done.add("%s", m.Payload.ID)
				return nil
			})
			if !errors.Is(err, port.ErrClosed) {
				t.Errorf("the crashed worker ended with %v", err)
			}
			return b
		}
		for i := range 10 {
			id := fmt.Sprint(i)
			if i == 5 {
				id = "poison"
			}
			publish(t, store, orders, order{ID: id})
		}
		for range 6 {
			crash()
		}
		s := subscribe(t, store, orders, bus.Group{Name: "g"}, func(ctx context.Context, m bus.Message[order]) error {
			done.add("%s", m.Payload.ID)
			return nil
		})
		<-time.After(5 * time.Minute)
		s.end()
		dead := bus.Dead{Queue: store, Topic: orders.Name, Group: "g"}
		n := 0
		for d, err := range dead.List(t.Context(), bus.DeadFilter{}) {
			n++
			if err != nil || d.Crashes != 5 {
				t.Errorf("%+v, %v", d, err)
			}
		}
		if n != 1 {
			t.Errorf("%d dead letters, want the poison alone", n)
		}
		seen := map[string]bool{}
		for _, id := range done.all() {
			seen[id] = true
		}
		if len(seen) != 9 || seen["poison"] {
			t.Errorf("handled %v", seen)
		}
	})
}

func TestUnderLoadTheConsumerDoesNotCostOneCallForEachMessage(t *testing.T) {
	const n = 5000
	calls := 0
	var mu sync.Mutex
	store := memory.New(memory.Config{})
	b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
		if op.Point == memory.Before {
			mu.Lock()
			calls++
			mu.Unlock()
		}
		return memory.Fault{}
	}})
	outs := make([]bus.Out[order], n)
	if ids, err := orders.PublishAll(t.Context(), store, outs...); err != nil || len(ids) != n {
		t.Fatal(err)
	}
	var handled sync.WaitGroup
	handled.Add(n)
	s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(ctx context.Context, m bus.Message[order]) error {
		handled.Done()
		return nil
	})
	handled.Wait()
	s.end()
	mu.Lock()
	defer mu.Unlock()
	if calls > n/2 {
		t.Errorf("%d calls for %d messages", calls, n)
	}
	t.Logf("%d calls for %d messages", calls, n)
}

func TestAContextThatEndedBeforeTheStartIsACleanEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	b := memory.New(memory.Config{})
	kept := bus.Topic[order]{Name: "orders.kept", Keep: port.Topic{MaxAge: time.Hour}}
	for _, topic := range []bus.Topic[order]{orders, kept} {
		if err := topic.Subscribe(ctx, b, bus.Group{Name: "g"}, func(context.Context, bus.Message[order]) error { return nil }); err != nil {
			t.Errorf("topic %q: %v", topic.Name, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := orders.Subscribe(ctx, b, bus.Group{Name: "g"}, func(context.Context, bus.Message[order]) error { return nil }); !errors.Is(err, port.ErrClosed) {
		t.Errorf("a closed backend: %v", err)
	}
}
