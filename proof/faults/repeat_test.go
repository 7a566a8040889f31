//go:build unix

package faults_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

func TestTwoProducersThatRetryTheSameIDAfterTheWindowHaveItHandledOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, testserver.RedisConfig{})
	// A short window; what the group remembers is long.
	if err := s.b.Declare(t.Context(), port.Topic{Name: inTopic, Window: 500 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	w := s.start(s.job())
	producers := []port.Backend{s.open(s.server.URL()), s.open(s.server.URL())}
	accepted := func() (n int) {
		var publishing sync.WaitGroup
		var mu sync.Mutex
		for _, b := range producers {
			publishing.Go(func() {
				_, err := in.PublishAll(t.Context(), b, bus.Out[order]{ID: "order-1", Payload: order{N: 1}})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					n++
				case !errors.Is(err, port.ErrDuplicate):
					t.Errorf("a producer's retry is answered %v", err)
				}
			})
		}
		publishing.Wait()
		return n
	}
	if n := accepted(); n != 1 {
		t.Errorf("%d of 2 producers with one ID at the same time were told that theirs was new, want 1", n)
	}
	w.await("it is handled", what("end"))
	for range 2 {
		until(t, "the window is over and the ID is taken for new", func() bool {
			n := accepted()
			if n > 1 {
				t.Errorf("%d producers were told that theirs was new, at one time", n)
			}
			return n > 0
		})
	}
	s.published = 1
	s.publish(order{}) // behind all of them
	until(t, "what came behind is handled", func() bool { return w.told("end") >= 2 })
	n := s.settle()
	if n.runs != 2 {
		t.Errorf("%d handler runs, want one for each of 2 IDs", n.runs)
	}
	n.whole(t)
}

func TestAMessageThatIsRedrivenWithinTheWindowTwiceIsHandledAnewEachTime(t *testing.T) {
	t.Parallel()
	s := newShop(t, testserver.RedisConfig{})
	broken := make(chan struct{}) // closed: mended
	var runs []int                // attempts, of each run
	handle := func(ctx context.Context, m bus.Message[order]) error {
		runs = append(runs, m.Attempt)
		select {
		case <-broken:
			bus.Emit(m, out, bill{m.Payload.N})
			bus.Save(m, counts, "1", bus.Version{}, 1)
			return nil
		default:
			return errors.New("the handler is broken")
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		g := bus.Group{Name: group, Workers: 1, Retry: retry.Backoff{Tries: 2, First: time.Millisecond}, Log: slog.New(slog.DiscardHandler)}
		if err := in.Subscribe(ctx, s.b, g, handle); err != nil {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer stop()
	s.publish(order{})
	dead := bus.Dead{Queue: s.b, Topic: inTopic, Group: group}
	isDead := func() bool { n, err := dead.Count(t.Context()); return err == nil && n == 1 && s.drained() }
	operators := []port.Backend{s.open(s.server.URL()), s.open(s.server.URL())}
	redrive := func() {
		t.Helper()
		var redriving sync.WaitGroup
		var mu sync.Mutex
		sum := 0
		for _, b := range operators {
			redriving.Go(func() {
				n, err := bus.Dead{Queue: b, Topic: inTopic, Group: group}.Redrive(t.Context(), bus.DeadFilter{})
				mu.Lock()
				defer mu.Unlock()
				if sum += n; err != nil {
					t.Error(err)
				}
			})
		}
		redriving.Wait()
		if sum != 1 {
			t.Errorf("two operators at once redrove %d messages, there is 1", sum)
		}
	}
	until(t, "the message is dead", isDead)
	redrive()
	until(t, "the message is dead again", isDead)
	close(broken)
	redrive()
	until(t, "the message is handled", func() bool { return s.emitted() == 1 })
	n := s.settle()
	stop()
	serving.Wait()
	if want := []int{0, 1, 0, 1, 0}; len(runs) != len(want) {
		t.Errorf("attempts of the runs: %v, want %v", runs, want)
	}
	n.whole(t)
}
