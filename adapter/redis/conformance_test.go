package redis_test

import (
	"testing"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// open is one process on a namespace of a server.
func open(t *testing.T, c redis.Config) *redis.Backend {
	t.Helper()
	b, err := redis.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestABackendOnRedisKeepsTheContract(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return open(t, redis.Config{URL: s.URL(), Namespace: namespace})
		},
		OpenClear: func(t *testing.T, namespace string) port.Backend {
			return open(t, redis.Config{URL: s.URL(), Namespace: namespace, AllowClear: true})
		},
	})
}
