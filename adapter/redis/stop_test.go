package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// A worker that stops in good order ends its Fetch and closes its backend at once. What the server was handing out at that moment
// must not wait for the end of a loan.
func TestAFetchThatIsEndedHasHandedBackWhatItWasGivenWhenItReturns(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	p := testserver.NewProxy(t, s.Addr())
	watch := open(t, redis.Config{URL: s.URL()})
	b := open(t, redis.Config{URL: "redis://" + p.Addr()})
	g := port.Group{Topic: "orders", Name: "billing", Consumer: "leaver", Loan: time.Hour}
	if err := watch.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := watch.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}, {Topic: "orders", ID: "2"}}}); err != nil {
		t.Fatal(err)
	}
	first, err := b.Fetch(t.Context(), g, 1) // from here on the server knows the script
	if err == nil {
		err = b.Settle(t.Context(), g, port.Settlement{Receipt: first[0].Receipt})[0]
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p.BlackHoleDown()
	ended := make(chan error, 1)
	go func() {
		_, err := b.Fetch(ctx, g, 1)
		ended <- err
	}()
	for loaned(t, watch) == 0 {
		<-time.After(time.Millisecond)
	}
	stop()
	p.Slow(20 * time.Millisecond) // the answer comes, some time after ctx has ended
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the fetch was ended by its ctx and answers %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := loaned(t, watch); n > 0 {
		t.Fatalf("%d messages are on loan to a consumer that never saw them", n)
	}
	g.Consumer = "heir"
	ds, err := watch.Fetch(t.Context(), g, 1)
	if err != nil {
		t.Fatal(err)
	}
	if ds[0].Lost > 0 || ds[0].Attempt > 0 {
		t.Errorf("it comes again with lost %d, attempt %d: handing back counts nothing", ds[0].Lost, ds[0].Attempt)
	}
}

func loaned(t *testing.T, b *redis.Backend) int64 {
	t.Helper()
	for info, err := range b.Inspect(t.Context(), "orders") {
		if err != nil {
			t.Fatal(err)
		}
		return info.Groups[0].Loaned
	}
	return 0
}
