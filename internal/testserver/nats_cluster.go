//go:build unix

package testserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// NATSCluster is three nats-servers that form one, each with JetStream.
type NATSCluster struct {
	t     testing.TB
	Nodes []*Server
}

// NewNATSCluster starts three servers of the program at path, which is nats-server 2.12 or newer, and returns when they have a leader and
// are current.
func NewNATSCluster(t testing.TB, path string) *NATSCluster {
	t.Helper()
	k := &NATSCluster{t: t}
	kinds := make([]natsServer, 3)
	var routes []string
	for i := range kinds {
		kinds[i] = natsServer{path: path, own: fmt.Sprintf("n%d", i+1), route: FreePort(t), monitor: FreePort(t)}
		routes = append(routes, "nats://"+local(kinds[i].route))
	}
	for _, kind := range kinds {
		kind.routes = routes
		k.Nodes = append(k.Nodes, start(t, kind, t.TempDir()))
	}
	k.AwaitWhole()
	return k
}

// URL names all servers.
func (k *NATSCluster) URL() string {
	var urls []string
	for _, s := range k.Nodes {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// AwaitWhole returns when every server answers, knows the leader of JetStream, and has all that its streams have.
func (k *NATSCluster) AwaitWhole() {
	k.t.Helper()
	for _, s := range k.Nodes {
		until(k.t, "the cluster is whole", func(ctx context.Context) error {
			var info struct {
				Meta struct {
					Leader string `json:"leader"`
					Size   int    `json:"cluster_size"`
				} `json:"meta_cluster"`
			}
			if err := monitor(ctx, s, "jsz", &info); err != nil {
				return err
			}
			if info.Meta.Leader == "" || info.Meta.Size != len(k.Nodes) {
				return fmt.Errorf("server %s knows leader %q of %d servers", s.natsName(), info.Meta.Leader, info.Meta.Size)
			}
			return monitor(ctx, s, "healthz", nil)
		})
	}
}

// Leader returns the running server that leads the stream, as all servers that run say.
func (k *NATSCluster) Leader(stream string) *Server {
	k.t.Helper()
	var leader *Server
	until(k.t, "stream "+stream+" has a leader", func(ctx context.Context) error {
		leader = nil
		for _, s := range k.Nodes {
			if s.Pid() == 0 {
				continue
			}
			name, err := leaderOf(ctx, s, stream)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(k.Nodes, func(s *Server) bool { return s.natsName() == name })
			if i < 0 || k.Nodes[i].Pid() == 0 || leader != nil && leader != k.Nodes[i] {
				return fmt.Errorf("server %s names %q", s.natsName(), name)
			}
			leader = k.Nodes[i]
		}
		return nil
	})
	return leader
}

// AwaitReaders returns when every running server answers itself who reads a stream, which those that do not lead it begin to do late.
func (k *NATSCluster) AwaitReaders(stream string) {
	k.t.Helper()
	subject := "$JS.API.DIRECT.GET." + stream
	for _, s := range k.Nodes {
		if s.Pid() == 0 {
			continue
		}
		until(k.t, "each server reads stream "+stream, func(ctx context.Context) error {
			var subs struct {
				List []struct {
					Subject string `json:"subject"`
				} `json:"subscriptions_list"`
			}
			if err := monitor(ctx, s, "subsz?subs=1&limit=10000&test="+url.QueryEscape(subject), &subs); err != nil {
				return err
			}
			for _, one := range subs.List {
				if one.Subject == subject {
					return nil
				}
			}
			return fmt.Errorf("server %s does not", s.natsName())
		})
	}
}

// leaderOf is who leads the stream as one server knows it.
func leaderOf(ctx context.Context, s *Server, stream string) (string, error) {
	var info struct {
		Accounts []struct {
			Streams []struct {
				Name    string `json:"name"`
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := monitor(ctx, s, "jsz?accounts=true&streams=true", &info); err != nil {
		return "", err
	}
	for _, a := range info.Accounts {
		for _, one := range a.Streams {
			if one.Name == stream {
				return one.Cluster.Leader, nil
			}
		}
	}
	return "", fmt.Errorf("server %s does not know stream %s", s.natsName(), stream)
}

type natsServer struct {
	path    string
	own     string // name
	route   int    // port for the other servers
	monitor int    // port for questions
	routes  []string
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (natsServer) name() string               { return "nats-server" }
func (natsServer) stopSignal() syscall.Signal { return syscall.SIGTERM }
func (natsServer) url(addr string) string     { return "nats://" + addr }

func (n natsServer) command(dir string, port int) *exec.Cmd {
	file := filepath.Join(dir, "nats-server.conf")
	text := fmt.Sprintf(`server_name: %s
listen: %q
http: %q
jetstream { store_dir: %q }
cluster { name: muster, listen: %q, routes: [ %s ] }
`, n.own, local(port), local(n.monitor), dir, local(n.route), strings.Join(n.routes, ", "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		file = err.Error() // the server names it when it cannot be read
	}
	return exec.CommandContext(context.Background(), n.path, "-c", file) // a Server ends it, or the death of the test process
}

// ready does not wait for the others: the first server that is started has none. It is the greeting of its clients that counts, which
// comes last.
func (n natsServer) ready(ctx context.Context, addr, _ string, _ int) (err error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	var info struct {
		Name string `json:"server_name"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		return err
	}
	if info.Name != n.own {
		return fmt.Errorf("server %s answers for %s at %s", info.Name, n.own, addr)
	}
	return nil
}

// natsName is the name by which the servers of a cluster know one.
func (s *Server) natsName() string {
	n, _ := s.kind.(natsServer)
	return n.own
}

// monitor asks a server of itself.
func monitor(ctx context.Context, s *Server, what string, answer any) error {
	n, _ := s.kind.(natsServer)
	return question(ctx, n.monitor, what, answer)
}

// question is answered within two seconds, or asked again.
func question(ctx context.Context, port int, what string, answer any) (err error) {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(port)+"/"+what, nil)
	if err != nil {
		return err
	}
	r.Close = true
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Body.Close()) }()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is answered by %s", what, a.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(a.Body).Decode(answer)
}
