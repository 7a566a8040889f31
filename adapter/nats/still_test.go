//go:build unix

package nats_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// standStill stops the server, and returns when all its threads stand still.
func standStill(p *process) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	var how syscall.WaitStatus
	if _, err := syscall.Wait4(p.cmd.Process.Pid, &how, syscall.WUNTRACED, nil); err != nil || !how.Stopped() {
		p.t.Fatalf("the server was to be stopped, and its state is %v, %v", how, err)
	}
}

// goOn lets it go on.
func goOn(p *process) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
}

func TestAServerThatStandsStillIsToldWithinTheTimeoutAndDoublesNothing(t *testing.T) {
	const timeout = 300 * time.Millisecond
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url(), Timeout: timeout})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Hour}
	others := g
	others.Name = "others" // what a fetch that was given up has lent stays out for an hour: nobody else waits for it
	if err := errors.Join(b.Join(ctx, g), b.Join(ctx, others)); err != nil {
		t.Fatal(err)
	}
	const rounds = 3
	for round := range rounds {
		// What is known of the log and of the group, so that each call is one write.
		if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprintf("before-%d", round)}}}); err != nil {
			t.Fatal(err)
		}
		list, err := b.Fetch(ctx, g, 1)
		if err != nil {
			t.Fatal(err)
		}
		settlement := port.Settlement{Receipt: list[0].Receipt, Then: port.Batch{Messages: []port.Message{{Topic: "results", ID: fmt.Sprint(round)}}}}
		step := port.Batch{ID: fmt.Sprint(round), Messages: []port.Message{{Topic: "orders", ID: fmt.Sprintf("step-%d", round)}}}
		standStill(s)
		var calls sync.WaitGroup
		for what, call := range map[string]func() error{
			"write":  func() error { return b.Write(ctx, step) },
			"settle": func() error { return b.Settle(ctx, g, settlement)[0] },
			"fetch":  func() error { _, err := b.Fetch(ctx, others, 1); return err },
			"get":    func() error { _, err := b.Get(ctx, "k"); return err },
			"acquire": func() error {
				_, err := b.Acquire(ctx, port.Lease{Name: "l", Owner: "o", Nonce: fmt.Sprint(round)}, time.Minute)
				return err
			},
			"signal": func() error { return b.Signal(ctx, "news", nil) },
		} {
			calls.Go(func() {
				if err := call(); !errors.Is(err, port.ErrUnavailable) && !errors.Is(err, port.ErrUncertain) {
					t.Errorf("%s while the server stands still: %v, want ErrUnavailable or ErrUncertain", what, err)
				}
			})
		}
		calls.Wait() // it goes on only when each of them has its answer
		goOn(s)
		eventually(t, "the step is repeated", func() error { return b.Write(ctx, step) })
		eventually(t, "the settlement is repeated", func() error {
			if err := b.Settle(ctx, g, settlement)[0]; !errors.Is(err, port.ErrStale) {
				return err // stale: the first one was carried out after all
			}
			return nil
		})
	}
	for topic, want := range map[string]int{"orders": 2 * rounds, "results": rounds} {
		seen := map[string]int{}
		list, err := b.Read(ctx, port.Range{Topic: topic, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if seen[e.Message.ID]++; seen[e.Message.ID] > 1 {
				t.Errorf("message %s of topic %s is there twice", e.Message.ID, topic)
			}
		}
		if len(list) != want {
			t.Errorf("topic %s has %d messages, want %d", topic, len(list), want)
		}
	}
}

func TestWhoWaitsWhenTheStreamIsDeletedIsToldAndDoesNotWaitForEver(t *testing.T) {
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url(), Namespace: "gone"})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if list, err := b.Fetch(ctx, g, 1); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("a fetch that waits when the stream is deleted: %v, %v, want ErrUnavailable", list, err)
		}
	})
	waiting.Go(func() {
		if list, err := b.Read(ctx, port.Range{Topic: "orders", Max: 1, Wait: time.Hour}); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("a read that waits when the stream is deleted: %v, %v, want ErrUnavailable", list, err)
		}
	})
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Request("$JS.API.STREAM.DELETE.muster_gone", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
}
