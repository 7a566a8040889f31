//go:build unix

package testserver_test

import (
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

func TestSentinelsReplaceAMasterThatWasKilled(t *testing.T) {
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{})
	old := k.Master()
	if old != k.Servers[0] {
		t.Fatalf("the master is at %s, want %s", old.Addr(), k.Servers[0].Addr())
	}
	old.Kill()
	k.AwaitMaster(k.Servers[1])
	if got := k.Master(); got != k.Servers[1] {
		t.Fatalf("the master is at %s, want %s", got.Addr(), k.Servers[1].Addr())
	}
}

func TestAReplicaOfAClusterReplacesItsMaster(t *testing.T) {
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
	old := k.Master("orders")
	old.Kill()
	k.AwaitWhole()
	if got := k.Master("orders"); got == old {
		t.Fatal("the killed master still serves its slot")
	}
}

func TestASlotMovesWithItsKeys(t *testing.T) {
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
	from := k.Master("{orders}a")
	dial(t, from.Addr()).want("SET {orders}a 1", "+OK")
	k.MoveSlot("{orders}a")
	to := k.Master("{orders}a")
	if to == from {
		t.Fatal("the slot did not move")
	}
	dial(t, to.Addr()).want("GET {orders}a", "1")
}

func TestOthersComeThroughTheProxyOfAServer(t *testing.T) {
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{Proxied: true})
	old := k.Master()
	old.Proxy().Cut()
	k.AwaitMaster(k.Servers[1]) // the sentinels miss a master that runs
	old.Proxy().Restore()
	k.AwaitWhole()
	replica := old
	if k.Master() == old { // the machine was busy, and the sentinels missed the new master for a moment, too
		replica = k.Servers[1]
	}
	dial(t, replica.Addr()).want("SET a 1", "-READONLY You can't write against a read only replica.")
}

func TestClientsOfAClusterAreToldOfTheProxies(t *testing.T) {
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{Proxied: true})
	owner := k.Master("{orders}a")
	var other *testserver.Server
	for _, s := range k.Nodes[:3] {
		if s != owner {
			other = s
		}
	}
	c := dial(t, other.Addr())
	c.want("GET {orders}a", "-MOVED 105 "+owner.Proxy().Addr())
}
