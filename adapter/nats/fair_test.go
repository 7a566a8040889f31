//go:build unix

package nats_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// Processes near the server work on a group without a rest. One that is far from it, so that each of its rounds takes longer than
// several of theirs, gets through all the same.
func TestAProcessThatIsSlowGetsThroughAgainstThoseThatAreNot(t *testing.T) {
	s := newProcess(t)
	proxy := testserver.NewProxy(t, s.addr())
	proxy.Slow(2 * time.Millisecond)
	far := open(t, nats.Config{URL: "nats://" + proxy.Addr()})
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "far", Loan: time.Hour}
	if err := far.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	for p := range 3 {
		near := open(t, nats.Config{URL: s.url()})
		for w := range 4 {
			mine := g
			mine.Consumer = fmt.Sprintf("near-%d-%d", p, w)
			working.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					id := fmt.Sprintf("%d.%d.%d", p, w, n)
					err := near.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: id}, {Topic: "orders", ID: id + " more"}}})
					list, ferr := near.Fetch(ctx, mine, 1)
					if ctx.Err() == nil && (err != nil || ferr != nil) {
						t.Errorf("near: %v, %v", err, ferr)
						return
					}
					for _, d := range list {
						if err := near.Settle(ctx, mine, port.Settlement{Receipt: d.Receipt})[0]; err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	var longest time.Duration
	for n := range 20 {
		from := time.Now()
		list, err := far.Fetch(t.Context(), g, 1)
		if err != nil {
			t.Fatalf("fetch %d: %v", n, err)
		}
		if err := far.Settle(t.Context(), g, port.Settlement{Receipt: list[0].Receipt})[0]; err != nil {
			t.Fatalf("settlement %d: %v", n, err)
		}
		longest = max(longest, time.Since(from))
	}
	t.Logf("the longest fetch and settlement of 20 took %v", longest)
}
