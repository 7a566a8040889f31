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

// The answer to a fetch that was given up comes later than its caller waits for it, and the process closes at once: what the fetch has
// lent is free again all the same, long before its loan ends.
func TestAProcessThatClosesHandsBackWhatAFetchThatWasGivenUpHasLent(t *testing.T) {
	const slow = 1200 * time.Millisecond // longer than a fetch waits for what it hands back
	s := newProcess(t)
	near := open(t, nats.Config{URL: s.url()})
	proxy := testserver.NewProxy(t, s.addr())
	far, err := nats.Open(t.Context(), nats.Config{URL: "nats://" + proxy.Addr(), Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "far", Loan: time.Hour}
	if err := far.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := far.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	stands := func() port.GroupInfo {
		t.Helper()
		for info, err := range near.Inspect(t.Context(), "orders") {
			if err != nil {
				t.Fatal(err)
			}
			return info.Groups[0]
		}
		return port.GroupInfo{}
	}
	proxy.Slow(slow)
	ctx, stop := context.WithCancel(t.Context())
	var fetching sync.WaitGroup
	fetching.Go(func() {
		if list, err := far.Fetch(ctx, g, 1); err == nil {
			t.Errorf("fetched %v: this test shows nothing", list)
		}
	})
	eventually(t, "the server has lent the message, and its answer is on its way", func() error {
		if g := stands(); g.Loaned == 0 {
			return fmt.Errorf("the group stands at %+v", g)
		}
		return nil
	})
	stop()
	fetching.Wait()
	if err := far.Close(); err != nil {
		t.Error(err)
	}
	if g := stands(); g.Loaned != 0 || g.Lag+g.Delayed != 1 {
		t.Errorf("after Close the group stands at %+v, want nothing on loan and 1 message to come", g)
	}
}
