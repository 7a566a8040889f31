package redis_test

import (
	"fmt"
	"strings"
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

func TestWhoListensToAClusterDoesSoAtTheNodeThatPublishes(t *testing.T) {
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
	for i := range 4 {
		namespace := fmt.Sprint("space", i)
		b := open(t, redis.Config{URL: k.URL(), Namespace: namespace})
		if _, err := b.Listen(t.Context(), "news"); err != nil {
			t.Fatal(err)
		}
		home := k.Master(namespace + ":families").Addr()
		for _, s := range k.Nodes {
			names, err := direct(t, s).ask("PUBSUB", "CHANNELS", namespace+":wake:*").AsStrSlice()
			if err != nil {
				t.Fatal(err)
			}
			if (len(names) == 1) != (s.Addr() == home) {
				t.Errorf("%s has %q to listen for namespace %s, whose signals are published at %s", s.Addr(), strings.Join(names, " "), namespace, home)
			}
		}
	}
}
