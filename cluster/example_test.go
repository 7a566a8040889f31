package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

func ExampleLead() {
	b := memory.New(memory.Config{})
	c := cluster.Candidate{Election: "billing", ID: "a", Log: slog.New(slog.DiscardHandler)}
	err := cluster.Lead(context.Background(), b, c, func(ctx context.Context, t cluster.Term) error {
		leader, err := cluster.Leader(ctx, b, "billing")
		if err != nil {
			return err
		}
		fmt.Println(leader.Holder, "leads", leader.Name)
		return t.Guard(func() error { // what acts on the outside asks before and after
			fmt.Println("bill")
			return nil
		})
	})
	fmt.Println(err)
	// Output:
	// a leads billing
	// bill
	// <nil>
}

func ExampleLock() {
	b := memory.New(memory.Config{})
	err := cluster.Lock(context.Background(), b, cluster.Hold{Name: "report"}, func(ctx context.Context, t cluster.Term) error {
		// The backend refuses this change when somebody with a larger token was there before.
		done, err := b.Apply(ctx, port.Change{Key: "report/last", Value: []byte("today"), Fence: t.Fence()})
		if err != nil {
			return err
		}
		fmt.Println(done[0].Done)
		return done[0].Err
	})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleReadLock() {
	b := memory.New(memory.Config{})
	catalogue := cluster.Hold{Name: "catalogue", TTL: 10 * time.Second, Fair: true}
	ctx := context.Background()
	err := cluster.ReadLock(ctx, b, catalogue, func(ctx context.Context, one cluster.Term) error {
		return cluster.ReadLock(ctx, b, catalogue, func(ctx context.Context, two cluster.Term) error {
			fmt.Println("two read:", one.Token == two.Token)
			err := cluster.TryLock(ctx, b, catalogue, func(context.Context, cluster.Term) error { return nil })
			fmt.Println("nobody writes:", errors.Is(err, port.ErrHeld))
			return nil
		})
	})
	fmt.Println(err)
	// Output:
	// two read: true
	// nobody writes: true
	// <nil>
}

func ExampleSemaphore() {
	b := memory.New(memory.Config{})
	err := cluster.Semaphore(context.Background(), b, cluster.Hold{Name: "upload", Slots: 3}, func(context.Context, cluster.Term) error {
		fmt.Println("one of three")
		return nil
	})
	fmt.Println(err)
	// Output:
	// one of three
	// <nil>
}

func ExampleWatch() {
	b := memory.New(memory.Config{})
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	events, err := cluster.Watch(ctx, b)
	if err != nil {
		fmt.Println(err)
		return
	}
	joined, leave := context.WithCancel(ctx)
	defer leave()
	left := make(chan error, 1)
	go func() {
		left <- cluster.Join(joined, b, cluster.Member{ID: "a", Meta: map[string]string{"zone": "eu"}, Log: log})
	}()
	for e, err := range events {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(e.Member.ID, e.Change, e.Member.Meta)
		if e.Change == cluster.Left {
			break
		}
		leave()
	}
	fmt.Println(<-left)
	// Output:
	// a joined map[zone:eu]
	// a left map[zone:eu]
	// <nil>
}

// A resource of one's own is fenced by comparing tokens where the effect happens: here by a handler of HTTP.
func ExampleGate() {
	var gate cluster.Gate
	resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fence, err := cluster.ParseFence(r.Header.Get(cluster.FenceHeader))
		if err == nil {
			err = gate.Admit(fence)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusPreconditionFailed)
			return
		}
		_, _ = io.WriteString(w, "done\n")
	}))
	defer resource.Close()

	for _, token := range []uint64{7, 8, 7} { // the third comes from a leader that was paused and does not know better
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, resource.URL, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		r.Header.Set(cluster.FenceHeader, cluster.FormatFence(port.Fence{Name: "lead.billing", Token: token})) // of Term.Fence()
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(token, answer.Status)
		if err := answer.Body.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// 7 200 OK
	// 8 200 OK
	// 7 412 Precondition Failed
}

func ExampleFenceCondition() {
	fmt.Println("UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND " + cluster.FenceCondition("fence", "$2"))
	// Output:
	// UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND (fence IS NULL OR fence <= $2)
}

func ExampleNewShared() {
	b := memory.New(memory.Config{})
	leases := cluster.NewShared(b) // one for the process, given to all calls
	for _, name := range []string{"x", "y"} {
		err := cluster.TryLock(context.Background(), leases, cluster.Hold{Name: name}, func(_ context.Context, t cluster.Term) error {
			fmt.Println(t.Name, t.Held())
			return nil
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// x true
	// y true
}
