package redis_test

import (
	"testing"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

func suite(url string) porttest.Suite {
	return porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return open(t, redis.Config{URL: url, Namespace: namespace})
		},
		OpenClear: func(t *testing.T, namespace string) port.Backend {
			return open(t, redis.Config{URL: url, Namespace: namespace, AllowClear: true})
		},
	}
}

func TestABackendBehindSentinelsKeepsTheContract(t *testing.T) {
	porttest.Run(t, suite(testserver.NewRedisSentinel(t, testserver.RedisConfig{}).URL()))
}

func TestABackendOnAClusterKeepsTheContract(t *testing.T) {
	porttest.Run(t, suite(testserver.NewRedisCluster(t, testserver.RedisConfig{}).URL()))
}
