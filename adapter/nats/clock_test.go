//go:build unix

package nats_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestWhatIsReturnedAtOnceDoesNotWaitForAProcessThatKnowsTheTimeBadly(t *testing.T) {
	s := newProcess(t)
	proxy := testserver.NewProxy(t, s.addr())
	proxy.Slow(200 * time.Millisecond)
	far := open(t, nats.Config{URL: "nats://" + proxy.Addr()}) // its bounds of the server's time are as wide as its way is long
	proxy.Restore()
	near := open(t, nats.Config{URL: s.url()})
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	if err := near.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := near.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	list, err := near.Fetch(t.Context(), g, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.Settle(t.Context(), g, port.Settlement{Receipt: list[0].Receipt, Verdict: port.Return})[0]; err != nil {
		t.Fatal(err)
	}
	for info, err := range far.Inspect(t.Context(), "orders") {
		if err != nil {
			t.Fatal(err)
		}
		if one := info.Groups[0]; one.Lag != 1 || one.Delayed != 0 {
			t.Errorf("what was returned at once: lag %d and delayed %d, want 1 and 0", one.Lag, one.Delayed)
		}
	}
}
