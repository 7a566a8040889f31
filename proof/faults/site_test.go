//go:build unix

package faults_test

import (
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// site is where a shop stands: the servers, and how another takes the place of the one that has the orders.
type site struct {
	url string
	// master is the server that has the orders.
	master func() *testserver.Server
	// replaced returns when another server has the orders that this one had.
	replaced func(old *testserver.Server)
	// whole returns when all servers that run have found to each other.
	whole func()
	// move gives the orders to another server, with all that there is of them; nil: cannot be done.
	move func()
}

// alone is one server.
func alone(t *testing.T, c testserver.RedisConfig) site {
	t.Helper()
	s := testserver.Redis(t, c)
	return site{url: s.URL(), master: func() *testserver.Server { return s }}
}

// behindSentinels is a master with a replica, watched by three sentinels. All that others have to do with the two servers goes through
// proxies: what cuts the master off from its clients cuts it off from its replica and from the sentinels as well.
func behindSentinels(t *testing.T) site {
	t.Helper()
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{Proxied: true})
	return site{
		url:    k.URL(),
		master: k.Master,
		replaced: func(old *testserver.Server) {
			for _, s := range k.Servers {
				if s != old {
					k.AwaitMaster(s)
				}
			}
		},
		whole: k.AwaitWhole,
	}
}

// inACluster is three masters with a replica each. Clients and replicas come through proxies, the servers' gossip does not.
func inACluster(t *testing.T) site {
	t.Helper()
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{Proxied: true})
	return site{
		url:      k.URL(),
		master:   func() *testserver.Server { return k.Master(inTopic[:6]) },
		replaced: func(*testserver.Server) { k.AwaitWhole() },
		whole:    k.AwaitWhole,
		move:     func() { k.MoveSlot(inTopic[:6]) },
	}
}

// sites are those where a replica may take over.
var sites = []struct {
	name  string
	start func(*testing.T) site
}{
	{"behind sentinels", behindSentinels},
	{"in a cluster", inACluster},
}
