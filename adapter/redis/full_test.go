package redis_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// Writers that meet the limit together trim for each other, and a janitor for them all: none may take a topic for full because
// somebody else was faster.
func TestATopicThatNobodyHoldsIsNeverFull(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b := open(t, redis.Config{URL: s.URL()})
	if err := b.Declare(t.Context(), port.Topic{Name: "orders", MaxCount: 10}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 2 {
		other := open(t, redis.Config{URL: s.URL()})
		wg.Go(func() {
			for i := range 300 {
				m := message("orders", strconv.Itoa(w)+"-"+strconv.Itoa(i))
				if err := other.Write(t.Context(), port.Batch{Messages: []port.Message{m}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
