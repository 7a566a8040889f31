//go:build unix

package testserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// slots is how many hash slots a cluster of Redis has, masters how many masters one of these has.
const (
	slots   = 16384
	masters = 3
)

// RedisCluster is a cluster of three masters with one replica each.
type RedisCluster struct {
	t     testing.TB
	Nodes []*Server // three masters, then the replica of each, as they were set up
}

// NewRedisCluster starts six servers and joins them, and returns when all slots are served and every replica follows. A master that
// does not answer for a second is replaced by its replica.
func NewRedisCluster(t testing.TB, c RedisConfig) *RedisCluster {
	t.Helper()
	if c.Password != "" || c.ReplicaOf != nil {
		t.Fatalf("testserver: a cluster has no password, and its replicas are set up by itself")
	}
	k := &RedisCluster{t: t}
	buses := make([]string, 2*masters)
	for i := range buses {
		// The port of the cluster's own links would be 10,000 above the other and may not exist.
		buses[i] = strconv.Itoa(FreePort(t))
		one := c
		one.Lines = append(slices.Clone(c.Lines), "cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1000",
			"cluster-port "+buses[i], "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0")
		k.Nodes = append(k.Nodes, Redis(t, one))
	}
	first := k.Nodes[0].Addr()
	for i, s := range k.Nodes {
		if i < masters {
			from, to := i*slots/masters, (i+1)*slots/masters
			command := []string{"CLUSTER", "ADDSLOTS"}
			for slot := from; slot < to; slot++ {
				command = append(command, strconv.Itoa(slot))
			}
			must(t, s.Addr(), command...)
			must(t, s.Addr(), "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		}
		if i > 0 {
			must(t, first, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(s.port), buses[i])
		}
	}
	for _, s := range k.Nodes {
		await(t, "six nodes know each other", s.Addr(), has(fmt.Sprintf("cluster_known_nodes:%d", len(k.Nodes))), "CLUSTER", "INFO")
	}
	for i, s := range k.Nodes[masters:] {
		id := must(t, k.Nodes[i].Addr(), "CLUSTER", "MYID")
		await(t, "a replica takes its master", s.Addr(), func(answer string) bool { return answer == "OK" }, "CLUSTER", "REPLICATE", id)
	}
	k.AwaitWhole()
	return k
}

// URL names the first three servers: a client asks any of them for the others.
func (k *RedisCluster) URL() string {
	return "redis://" + k.Nodes[0].known() + "?addr=" + k.Nodes[1].known() + "&addr=" + k.Nodes[2].known()
}

// AwaitWhole returns when every running node serves all slots, as many masters run as were set up, and the other nodes that run follow
// one: where a master was killed, another has taken its place.
func (k *RedisCluster) AwaitWhole() {
	k.t.Helper()
	until(k.t, "the cluster is whole", func(ctx context.Context) error {
		running := 0
		for _, s := range k.Nodes {
			if s.Pid() == 0 {
				continue
			}
			if err := says(ctx, s, "CLUSTER INFO", "cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d", slots)); err != nil {
				return err
			}
			if says(ctx, s, "INFO replication", "role:master") == nil {
				running++
			} else if err := says(ctx, s, "INFO replication", "role:slave", "master_link_status:up"); err != nil {
				return err
			}
		}
		if running != masters {
			return fmt.Errorf("%d masters run, not %d", running, masters)
		}
		return nil
	})
}

// says tells what of these lines the answer of s to a command does not have.
func says(ctx context.Context, s *Server, command string, want ...string) error {
	text, err := ask(ctx, s.Addr(), strings.Fields(command)...)
	if err != nil {
		return err
	}
	for _, line := range want {
		if !has(line)(text) {
			return fmt.Errorf("%s at %s does not say %s: %q", command, s.Addr(), line, text)
		}
	}
	return nil
}

// Master returns the running server that serves the slot of this key, once one does.
func (k *RedisCluster) Master(key string) *Server {
	k.t.Helper()
	var master *Server
	until(k.t, "a node of the cluster serves key "+key, func(ctx context.Context) error {
		errs := []error{fmt.Errorf("none of %d does", len(k.Nodes))}
		for _, s := range k.Nodes {
			if s.Pid() == 0 {
				continue
			}
			err := says(ctx, s, "INFO replication", "role:master")
			if err == nil {
				if _, err = ask(ctx, s.Addr(), "EXISTS", key); err == nil {
					master = s // others answer MOVED
					return nil
				}
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return master
}

// MoveSlot moves the slot of this key, with all that is in it, to another master, key by key, while clients use it.
func (k *RedisCluster) MoveSlot(key string) {
	k.t.Helper()
	from := k.Master(key)
	var to *Server
	for _, s := range k.Nodes {
		if s != from && s.Pid() != 0 && has("role:master")(must(k.t, s.Addr(), "INFO", "replication")) {
			to = s
		}
	}
	if to == nil {
		k.t.Fatalf("testserver: the cluster has no other master to move a slot to")
	}
	slot := must(k.t, from.Addr(), "CLUSTER", "KEYSLOT", key)
	source, target := must(k.t, from.Addr(), "CLUSTER", "MYID"), must(k.t, to.Addr(), "CLUSTER", "MYID")
	must(k.t, to.Addr(), "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
	must(k.t, from.Addr(), "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
	for {
		count := must(k.t, from.Addr(), "CLUSTER", "COUNTKEYSINSLOT", slot)
		if count == "0" {
			break
		}
		names, err := lines(k.t.Context(), from.Addr(), "CLUSTER", "GETKEYSINSLOT", slot, "100")
		if err != nil {
			k.t.Fatalf("testserver: keys of slot %s at %s: %v", slot, from.Addr(), err)
		}
		for _, name := range names {
			must(k.t, from.Addr(), "MIGRATE", "127.0.0.1", strconv.Itoa(to.port), name, "0", "5000")
		}
	}
	must(k.t, to.Addr(), "CLUSTER", "SETSLOT", slot, "NODE", target)
	must(k.t, from.Addr(), "CLUSTER", "SETSLOT", slot, "NODE", target)
	k.awaitEpoch(to)
}

// awaitEpoch returns when every running node knows of the epoch that s has: one that did not would take the same for the next slot, and
// two nodes could claim it.
func (k *RedisCluster) awaitEpoch(s *Server) {
	k.t.Helper()
	want := epoch(must(k.t, s.Addr(), "CLUSTER", "INFO"), "cluster_my_epoch")
	for _, other := range k.Nodes {
		if other.Pid() == 0 {
			continue
		}
		await(k.t, "all nodes know of the move", other.Addr(), func(answer string) bool {
			return epoch(answer, "cluster_current_epoch") >= want
		}, "CLUSTER", "INFO")
	}
}

// epoch is a number of CLUSTER INFO, or 0.
func epoch(info, name string) int {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return 0
}
