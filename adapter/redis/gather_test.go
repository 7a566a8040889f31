package redis

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// gathering is a backend whose steps gather behind scripts that seem to be under way.
type gathering struct {
	t    *testing.T
	b    *Backend
	line *line[*writing]
	work sync.WaitGroup
}

func newGathering(t *testing.T) *gathering {
	s := testserver.Redis(t, testserver.RedisConfig{})
	b, err := Open(t.Context(), Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &gathering{t: t, b: b, line: &line[*writing]{family: "orders", running: mostWriting}}
	if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders.made", ID: "0"}}}); err != nil {
		t.Fatal(err)
	}
	b.gather.mu.Lock()
	defer b.gather.mu.Unlock()
	b.gather.of[g.line.family] = g.line
	return g
}

// write begins a step of one message.
func (g *gathering) write(ctx context.Context, topic, id string) *error {
	return g.step(ctx, port.Batch{Messages: []port.Message{{Topic: topic, ID: id}}})
}

// step begins a step.
func (g *gathering) step(ctx context.Context, b port.Batch) *error {
	var answer error
	g.work.Go(func() { answer = g.b.Write(ctx, b) })
	return &answer
}

// gathered waits until so many steps wait.
func (g *gathering) gathered(n int) {
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); runtime.Gosched() {
		g.b.gather.mu.Lock()
		waiting := len(g.line.waiting)
		g.b.gather.mu.Unlock()
		if waiting == n {
			return
		}
	}
	g.t.Fatalf("there are never %d steps that wait", n)
}

// resume ends what seemed to be under way, and waits for the answers.
func (g *gathering) resume() {
	for range mostWriting {
		g.b.gather.next(g.line)
	}
	g.work.Wait()
}

func (g *gathering) ids(topic string) map[string]int {
	stored, err := g.b.Read(g.t.Context(), port.Range{Topic: topic, Max: 500})
	if err != nil {
		g.t.Fatal(err)
	}
	ids := map[string]int{}
	for _, s := range stored {
		ids[s.Message.ID]++
	}
	return ids
}

func TestStepsThatGatherAreAnsweredEachByItself(t *testing.T) {
	g := newGathering(t)
	answers := make([]*error, 100)
	for i := range answers {
		answers[i] = g.write(t.Context(), "orders.made", strconv.Itoa(i)) // 0 is known
	}
	g.gathered(len(answers))
	g.resume()
	stored := g.ids("orders.made")
	for i, answer := range answers {
		dup, known := errors.AsType[*port.DuplicateError](*answer)
		if i == 0 && (!known || len(dup.IDs) != 1 || dup.IDs[0] != "0") || i > 0 && *answer != nil {
			t.Errorf("step %d is answered with %v", i, *answer)
		}
		if n := stored[strconv.Itoa(i)]; n != 1 {
			t.Errorf("message %d is there %d times", i, n)
		}
	}
}

func TestAStepIsTakenBackWhenItsCallerGivesUpBeforeItIsSent(t *testing.T) {
	g := newGathering(t)
	ctx, cancel := context.WithCancel(t.Context())
	answer := g.write(ctx, "orders.made", "given up")
	g.gathered(1)
	cancel()
	g.gathered(0)
	g.resume()
	if !errors.Is(*answer, context.Canceled) || errors.Is(*answer, port.ErrUncertain) {
		t.Errorf("nothing happened, and the answer is %v", *answer)
	}
	if n := g.ids("orders.made")["given up"]; n != 0 {
		t.Errorf("the message is there %d times", n)
	}
}

func TestAStepThatWasTakenIsCarriedOutAsItWasWhenItsCallerGivesUp(t *testing.T) {
	g := newGathering(t)
	ctx, cancel := context.WithCancel(t.Context())
	batch := port.Batch{
		Messages: []port.Message{{Topic: "orders.made", ID: "taken", Body: []byte("body")}},
		Changes:  []port.Change{{Key: "orders.state", Value: []byte("value")}},
	}
	answer := g.step(ctx, batch)
	g.gathered(1)
	list := g.b.gather.take(g.line, nil)
	cancel()
	g.work.Wait()
	if !errors.Is(*answer, port.ErrUncertain) || !errors.Is(*answer, context.Canceled) {
		t.Errorf("it may still happen, and the answer is %v", *answer)
	}
	copy(batch.Messages[0].Body, "none")
	copy(batch.Changes[0].Value, "other")
	batch.Messages[0], batch.Changes[0] = port.Message{Topic: "orders.other", ID: "other"}, port.Change{Key: "orders.other"}
	g.b.gather.send(t.Context(), "orders", list)
	stored, err := g.b.Read(t.Context(), port.Range{Topic: "orders.made", Max: 500})
	if err != nil {
		t.Fatal(err)
	}
	if m := stored[len(stored)-1].Message; m.ID != "taken" || string(m.Body) != "body" {
		t.Errorf("the message is %q, %q", m.ID, m.Body)
	}
	values, err := g.b.Get(t.Context(), "orders.state")
	if err != nil {
		t.Fatal(err)
	}
	if string(values[0].Bytes) != "value" {
		t.Errorf("the value is %q", values[0].Bytes)
	}
}

func TestCloseAnswersTheStepsThatWait(t *testing.T) {
	g := newGathering(t)
	one, other := g.write(t.Context(), "orders.made", "one"), g.write(t.Context(), "orders.made", "other")
	g.gathered(2)
	g.b.gather.mu.Lock()
	g.line.waiting = g.line.waiting[1:] // one was taken, and is never answered
	g.b.gather.mu.Unlock()
	if err := g.b.Close(); err != nil {
		t.Fatal(err)
	}
	g.work.Wait()
	if !errors.Is(*one, port.ErrClosed) || !errors.Is(*other, port.ErrClosed) {
		t.Errorf("the answers are %v and %v", *one, *other)
	}
}
