package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestOpenTellsThatItsContextHasEndedAndNotThatSomethingWasClosed(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.Pause()
	defer s.Resume()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err = redis.Open(ctx, redis.Config{Client: c})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, port.ErrClosed) {
		t.Errorf("the server is silent, and Open under a ctx that ended answers %v", err)
	}
}
