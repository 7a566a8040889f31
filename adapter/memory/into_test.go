package memory_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// A Fetch that found only what is remembered waits on with the memory that it was given, and then finds more than it first expected.
func TestAFetchThatWaitsOnHasRoomForMoreThanItExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := memory.New(memory.Config{})
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		write := func(ids ...string) {
			t.Helper()
			var step port.Batch
			for _, id := range ids {
				step.Messages = append(step.Messages, port.Message{Topic: "orders", ID: id})
			}
			must(b.Write(ctx, step))
		}
		g := port.Group{Topic: "orders", Name: "g", Consumer: "c", Loan: time.Minute, Remember: time.Hour}
		must(b.Declare(ctx, port.Topic{Name: "orders", Window: -1}))
		must(b.Join(ctx, g))
		write("twice")
		first, err := b.Fetch(ctx, g, 1)
		must(err)
		must(b.Settle(ctx, g, port.Settlement{Receipt: first[0].Receipt})[0])
		write("twice")
		g.Into = make([]port.Delivery, 0, 64)
		var got []port.Delivery
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err = b.Fetch(ctx, g, 64)
		}()
		synctest.Wait()
		var more []string
		for i := range 40 {
			more = append(more, strconv.Itoa(i))
		}
		write(more...)
		<-done
		must(err)
		if len(got) != len(more) {
			t.Errorf("%d messages, want %d", len(got), len(more))
		}
		must(b.Close())
	})
}
