//go:build unix

package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// masterSet is the name under which the sentinels know the master.
const masterSet = "muster"

// RedisSentinel is a master with one replica, and three sentinels that replace the master by the replica when it does not answer for
// a second.
type RedisSentinel struct {
	t         testing.TB
	Servers   []*Server // the master and the replica, as they were set up
	Sentinels []*Server
}

// NewRedisSentinel starts five servers, and returns when the replica follows and the sentinels know each other.
func NewRedisSentinel(t testing.TB, c RedisConfig) *RedisSentinel {
	t.Helper()
	if c.Password != "" || c.ReplicaOf != nil {
		t.Fatalf("testserver: servers behind sentinels have no password, and the replica is set up by itself")
	}
	c.Lines = append(append([]string(nil), c.Lines...), "repl-diskless-sync-delay 0")
	master := Redis(t, c)
	c.ReplicaOf = master
	k := &RedisSentinel{t: t, Servers: []*Server{master, Redis(t, c)}}
	await(t, "the replica follows its master", k.Servers[1].Addr(), has("master_link_status:up"), "INFO", "replication")
	path := serverBinary(t, "redis-server", "/usr/bin/redis-server", "/usr/local/bin/redis-server")
	for range 3 {
		k.Sentinels = append(k.Sentinels, start(t, sentinel{path, master.known()}, t.TempDir()))
	}
	for _, s := range k.Sentinels {
		await(t, "the sentinels know each other and the replica", s.Addr(), func(answer string) bool {
			return strings.Contains(answer, "slaves=1,sentinels=3")
		}, "INFO", "sentinel")
	}
	return k
}

// URL names the sentinels and the set that they watch.
func (k *RedisSentinel) URL() string {
	return fmt.Sprintf("redis://%s?addr=%s&addr=%s&master_set=%s", k.Sentinels[0].Addr(), k.Sentinels[1].Addr(), k.Sentinels[2].Addr(), masterSet)
}

// Master returns the server that the first sentinel takes for the master.
func (k *RedisSentinel) Master() *Server {
	k.t.Helper()
	info := must(k.t, k.Sentinels[0].Addr(), "INFO", "sentinel")
	for _, s := range k.Servers {
		if strings.Contains(info, "address="+s.known()+",") {
			return s
		}
	}
	k.t.Fatalf("testserver: the sentinels name no server of this test as the master: %s", info)
	return nil
}

// AwaitMaster returns when all sentinels take s for the master, and s does so itself.
func (k *RedisSentinel) AwaitMaster(s *Server) {
	k.t.Helper()
	for _, one := range k.Sentinels {
		await(k.t, "the sentinels agree on a new master", one.Addr(), func(answer string) bool {
			return strings.Contains(answer, "status=ok,address="+s.known()+",")
		}, "INFO", "sentinel")
	}
	await(k.t, "the new master is one", s.Addr(), has("role:master"), "INFO", "replication")
}

// AwaitWhole returns when the sentinels agree on a master that runs, and the other server, where it runs, follows it.
func (k *RedisSentinel) AwaitWhole() {
	k.t.Helper()
	await(k.t, "the sentinels agree on a master, and the other server follows it", k.Sentinels[0].Addr(), func(string) bool {
		// Asked anew each time: the master may change meanwhile.
		return slices.ContainsFunc(k.Servers, k.leads)
	}, "PING")
}

// leads reports whether all sentinels take s for the master, s does so itself, and the others that run follow.
func (k *RedisSentinel) leads(s *Server) bool {
	says := func(s *Server, section string, want ...string) bool {
		text, err := ask(context.Background(), s.Addr(), "INFO", section) // bounded by the connection's deadline
		return err == nil && !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(text, w) })
	}
	if s.Pid() == 0 || !says(s, "replication", "role:master\r\n") {
		return false
	}
	for _, one := range k.Sentinels {
		if !says(one, "sentinel", "status=ok,address="+s.known()+",") {
			return false
		}
	}
	for _, other := range k.Servers {
		if other != s && other.Pid() != 0 && !says(other, "replication", "role:slave\r\n", "master_link_status:up\r\n") {
			return false
		}
	}
	return true
}

type sentinel struct {
	path   string
	master string // its address
}

func (sentinel) name() string               { return "redis-sentinel" }
func (sentinel) stopSignal() syscall.Signal { return syscall.SIGTERM }
func (sentinel) url(addr string) string     { return "redis://" + addr }

// command writes the configuration, into which the sentinel writes what it learns, unless it is there from before.
func (s sentinel) command(dir string, port int) *exec.Cmd {
	file := filepath.Join(dir, "sentinel-"+strconv.Itoa(port)+".conf")
	if _, err := os.Stat(file); err != nil {
		host, master, _ := strings.Cut(s.master, ":")
		text := strings.Join([]string{
			"bind 127.0.0.1",
			"port " + strconv.Itoa(port),
			"dir " + dir,
			"daemonize no",
			fmt.Sprintf("sentinel monitor %s %s %s 2", masterSet, host, master),
			"sentinel down-after-milliseconds " + masterSet + " 1000",
			"sentinel failover-timeout " + masterSet + " 5000",
			"",
		}, "\n")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			file = err.Error() // the server names it when it cannot be read
		}
	}
	return exec.CommandContext(context.Background(), s.path, file, "--sentinel")
}

func (sentinel) ready(ctx context.Context, addr, dir string, pid int) error {
	return redis{}.ready(ctx, addr, dir, pid)
}
