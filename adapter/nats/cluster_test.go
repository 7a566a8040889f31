//go:build unix

package nats_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// patient is long enough for an election on a machine that is busy with other tests.
const patient = 30 * time.Second

func TestABackendOnAClusterKeepsTheContract(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	var n atomic.Int64
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			s := k.Nodes[int(n.Add(1))%len(k.Nodes)] // one process at one server, the next at another
			return open(t, nats.Config{URL: s.URL(), Namespace: namespace, Timeout: patient})
		},
		Slack: 5 * time.Second, // three servers share the machine
	})
}

func TestNothingIsLostOrDoneTwiceWhenTheLeaderOfTheStreamIsStoppedOrKilled(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	b := &bout{t: t, url: k.URL(), writers: 4, each: 80}
	b.run(4, func(n int) {
		leader := k.Leader("muster_bout")
		before := b.done()
		if n%2 == 1 {
			leader.Pause()
			b.await("the others go on without a leader that stands still", before+1)
			leader.Resume()
		} else {
			leader.Kill()
			b.await("the others go on without a leader that was killed", before+1)
			leader.Restart()
		}
		k.AwaitWhole()
	})
}

func TestTermsNeverOverlapAndTokensOnlyGrowThroughStopsAndKillsOfTheLeaderOfTheStream(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	e := &election{t: t}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		b := open(t, nats.Config{URL: k.URL(), Namespace: "terms", Timeout: 2 * time.Second})
		wg.Go(func() { e.run(ctx, b, id) })
	}
	e.next(time.Now(), "")
	for n := range 4 {
		leader := k.Leader("muster_terms")
		if n%2 == 0 {
			leader.Pause()
			e.reigned(ctx)
			leader.Resume()
		} else {
			leader.Kill()
			e.reigned(ctx)
			leader.Restart()
		}
		k.AwaitWhole()
		e.next(time.Now(), "")
	}
	stop()
	wg.Wait()
	e.judge()
}

// reigned waits until one who led does not any more, and somebody leads.
func (e *election) reigned(ctx context.Context) {
	e.t.Helper()
	e.mu.Lock()
	terms := len(e.reigns)
	e.mu.Unlock()
	eventually(e.t, "a term after the one that was cut short", func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.reigns) > terms || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%d terms", terms)
	})
	e.next(time.Now(), "")
}

func TestTheClusterGoesOnWhileAServerStandsStillAndThatOneTellsNothingOfThePast(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	c := nats.Config{URL: k.Nodes[0].URL(), Timeout: patient}
	first := open(t, c)
	leader, slow := k.Leader("muster_muster"), k.Nodes[2]
	if slow == leader {
		slow = k.Nodes[1]
	}
	near, far := open(t, nats.Config{URL: leader.URL(), Timeout: patient}), open(t, nats.Config{URL: slow.URL(), Timeout: patient})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Hour}
	if err := first.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	k.AwaitReaders("muster_muster")
	for round := range 4 {
		want := strings.Repeat(fmt.Sprint(round), 10_000)
		slow.Pause()
		var settled port.Receipt
		// What it has to catch up with before it knows of the rest.
		for i := range 40 {
			ballast := port.Message{Topic: "ballast", ID: fmt.Sprintf("%d.%d", round, i), Body: make([]byte, 500_000)}
			if err := near.Write(ctx, port.Batch{Messages: []port.Message{ballast}}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			if _, err := near.Apply(ctx, port.Change{Key: "k", Value: []byte(want)}); err != nil {
				t.Fatal(err)
			}
			if err := near.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprintf("%d.%d", round, i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		list, err := near.Fetch(ctx, g, 50)
		if err != nil || len(list) != 50 {
			t.Fatalf("fetch: %d messages, %v", len(list), err)
		}
		settled = list[0].Receipt
		var wg sync.WaitGroup
		for range 50 { // as soon as that server goes on, and before it has heard what it missed
			wg.Go(func() {
				values, err := far.Get(ctx, "k")
				for errors.Is(err, port.ErrUnavailable) { // no answer in time, on a machine that is slow
					values, err = far.Get(ctx, "k")
				}
				if err != nil {
					t.Errorf("get through a server that was behind: %v", err)
				} else if got := string(values[0].Bytes); got != want {
					t.Errorf("a server that was behind tells %.20q, want %.20q", got, want)
				}
			})
		}
		slow.Resume()
		wg.Wait()
		// It was lent while that server stood still.
		if err := far.Settle(ctx, g, port.Settlement{Receipt: settled})[0]; err != nil {
			t.Fatalf("settlement through a server that was behind: %v", err)
		}
		if n := entries(t, far, "orders"); n != 50*(round+1) {
			t.Fatalf("read through a server that was behind: %d entries, want %d", n, 50*(round+1))
		}
	}
}

// entries counts what a topic has.
func entries(t *testing.T, b *nats.Backend, topic string) int {
	t.Helper()
	n := 0
	for r := (port.Range{Topic: topic, Max: 1000}); ; {
		list, err := b.Read(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return n
		}
		n += len(list)
		r.After = list[len(list)-1].Offset
	}
}

func TestAMinorityAnswersNothingAndTheClusterGoesOnWithAMajority(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	b := open(t, nats.Config{URL: k.Nodes[0].URL(), Timeout: 2 * time.Second})
	ctx := t.Context()
	eventually(t, "a key is written", func() error {
		_, err := b.Apply(ctx, port.Change{Key: "k", Value: []byte("1")})
		return err
	})
	k.AwaitReaders("muster_muster")
	k.Nodes[1].Kill()
	k.Nodes[2].Kill()
	if _, err := b.Get(ctx, "k"); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("get from a minority: %v, want ErrUnavailable", err)
	}
	if _, err := b.Apply(ctx, port.Change{Key: "k", Value: []byte("2")}); !errors.Is(err, port.ErrUncertain) && !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("apply at a minority: %v, want ErrUncertain or ErrUnavailable", err)
	}
	if err := b.Signal(ctx, "news", nil); !errors.Is(err, port.ErrUncertain) && !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("signal at a minority: %v, want ErrUncertain or ErrUnavailable", err)
	}
	if _, err := b.Listen(ctx, "news"); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("listen at a minority: %v, want ErrUnavailable", err)
	}
	k.Nodes[1].Restart()
	eventually(t, "two of three go on", func() error {
		_, err := b.Apply(ctx, port.Change{Key: "k", Value: []byte("3")})
		return err
	})
	values, err := b.Get(ctx, "k")
	if err != nil || string(values[0].Bytes) != "3" {
		t.Errorf("get from a majority: %q, %v; want 3", values[0].Bytes, err)
	}
}

func TestEverySignalThatWasAcknowledgedIsHeardOrAGapIsTold(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	c := nats.Config{URL: k.URL(), Timeout: 5 * time.Second}
	ears, mouth := open(t, c), open(t, c)
	ctx := t.Context()
	seq, err := ears.Listen(ctx, "news.*", "end")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 1)
	sent := make(chan int, 1)
	go func() { heard <- inOrder(seq, sent) }()
	n := 0
	say := func(times int) {
		for range times {
			if mouth.Signal(ctx, "news.all", []byte(strconv.Itoa(n))) == nil {
				n++
			} // else it may have been heard all the same: the next one has the same number
		}
	}
	say(200)
	leader := k.Leader("muster_muster")
	leader.Kill()
	for before := n; n == before && ctx.Err() == nil; {
		say(1)
	}
	leader.Restart()
	say(200)
	sent <- n
	eventually(t, "the end is signalled", func() error { return mouth.Signal(ctx, "end", nil) })
	if err := <-heard; err != nil {
		t.Error(err)
	}
}

// inOrder hears numbers up to the channel "end", and fails where one is missing and no gap was told at its place.
func inOrder(seq iter.Seq2[port.Signal, error], sent <-chan int) error {
	next, gap := 0, false
	for s, err := range seq {
		if errors.Is(err, port.ErrGap) {
			gap = true
			continue
		}
		if err != nil {
			return err
		}
		if s.Channel == "end" {
			break
		}
		n, err := strconv.Atoi(string(s.Payload))
		if err != nil {
			return err
		}
		if n > next && !gap {
			return fmt.Errorf("signal %d came where %d was next, and no gap was told", n, next)
		}
		next, gap = n+1, false
	}
	if n := <-sent; next < n && !gap {
		return fmt.Errorf("the signals from %d to %d are missing, and no gap was told", next, n)
	}
	return nil
}

func TestReplicasThatAClusterCannotHaveAreRefused(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	one := nats.Config{URL: k.URL(), Namespace: "one", Replicas: 1, Timeout: patient}
	b := open(t, one)
	if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	for _, refused := range []struct {
		c    nats.Config
		want string
	}{
		{nats.Config{URL: k.URL(), Namespace: "one", Timeout: patient}, "has 1 replicas, and 3 are wanted"},
		{nats.Config{URL: k.URL(), Namespace: "five", Replicas: 5, Timeout: time.Second}, "no 5 servers"},
		{nats.Config{URL: newProcess(t).url(), Namespace: "three", Replicas: 3, Timeout: time.Second}, "no 3 servers"},
	} {
		_, err := nats.Open(t.Context(), refused.c)
		if !errors.Is(err, port.ErrUnsupported) || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("open of %v with %d replicas: %v, want ErrUnsupported and %q", refused.c, refused.c.Replicas, err, refused.want)
		}
	}
}
