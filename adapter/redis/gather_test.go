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
	line *line
	work sync.WaitGroup
}

// newGathering has these keys of the server hold what they should not.
func newGathering(t *testing.T, spoilt ...string) *gathering {
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
	for _, key := range spoilt {
		if err := b.client.Do(t.Context(), b.client.B().Set().Key(key).Value("x").Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	g := &gathering{t: t, b: b, line: &line{family: "orders", running: mostWriting}}
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
	var answer error
	g.work.Go(func() { answer = g.b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: topic, ID: id}}}) })
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

func TestAStepThatTheServerRefusesDoesNotTakeOthersWithIt(t *testing.T) {
	g := newGathering(t, space{defaultNamespace + ":"}.topicHash("orders.bad"))
	good := g.write(t.Context(), "orders.made", "good")
	bad := g.write(t.Context(), "orders.bad", "bad")
	g.gathered(2)
	g.resume()
	if *good != nil || !errors.Is(*bad, port.ErrInvalid) {
		t.Errorf("the good step is answered with %v, the bad one with %v", *good, *bad)
	}
	if n := g.ids("orders.made")["good"]; n != 1 {
		t.Errorf("the good message is there %d times", n)
	}
}
