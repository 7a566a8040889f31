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
	master func() server
	// replaced returns when another server has the orders that this one had.
	replaced func(old server)
	// whole returns when all servers that run have found to each other.
	whole func()
	// disturb is a fault that is the server's own.
	disturb func(*shop)
	// move gives the orders to another server, with all that there is of them; nil: cannot be done.
	move func()
}

// server is a server process.
type server interface {
	Addr() string
	URL() string
	Kill()    // kill -9
	Restart() // on its data
	Pause()   // SIGSTOP
	Resume()
}

// alone is one Redis server.
func alone(t *testing.T, c testserver.RedisConfig) site {
	t.Helper()
	s := testserver.Redis(t, c)
	return site{url: s.URL(), master: func() server { return s }, disturb: func(s *shop) {
		s.admin("SCRIPT", "FLUSH")
		s.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	}}
}

// aloneOnNATS is one nats-server, which syncs every write.
func aloneOnNATS(t *testing.T) site {
	t.Helper()
	s := newNATS(t, true)
	return site{url: s.URL(), master: func() server { return s }, disturb: func(shop *shop) {
		s.Pause()
		lasting(shop.t, 2*loan)
		s.Resume()
	}}
}

// everywhere runs a test in a shop at each server that stands alone.
func everywhere(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Parallel()
	for _, at := range []struct {
		name  string
		start func(*testing.T) site
	}{
		{"Redis", func(t *testing.T) site { return alone(t, testserver.RedisConfig{}) }},
		{"NATS", aloneOnNATS},
	} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			test(t, newShopAt(t, at.start(t)))
		})
	}
}

// behindSentinels is a master with a replica, watched by three sentinels. All that others have to do with the two servers goes through
// proxies: what cuts the master off from its clients cuts it off from its replica and from the sentinels as well.
func behindSentinels(t *testing.T) site {
	t.Helper()
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{Proxied: true})
	return site{
		url:    k.URL(),
		master: func() server { return k.Master() },
		replaced: func(old server) {
			for _, s := range k.Servers {
				if server(s) != old {
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
		master:   func() server { return k.Master(inTopic[:6]) },
		replaced: func(server) { k.AwaitWhole() },
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
