//go:build unix

package nats_test

import (
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// embedded is one process on a namespace of the server of a directory: the first has the server, the others join it.
func embedded(t *testing.T, c nats.EmbeddedConfig) *nats.Backend {
	t.Helper()
	b, err := nats.Embedded(t.Context(), c)
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

func TestAnEmbeddedBackendKeepsTheContract(t *testing.T) {
	dir := t.TempDir()
	embedded(t, nats.EmbeddedConfig{Dir: dir})
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return embedded(t, nats.EmbeddedConfig{Dir: dir, Namespace: namespace})
		},
		OpenClear: func(t *testing.T, namespace string) port.Backend {
			return embedded(t, nats.EmbeddedConfig{Dir: dir, Namespace: namespace, AllowClear: true})
		},
	})
}

func TestABackendOnAServerKeepsTheContract(t *testing.T) {
	s := newProcess(t)
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return open(t, nats.Config{URL: s.url(), Namespace: namespace})
		},
	})
}

func TestABackendOnAClusterKeepsTheContract(t *testing.T) {
	urls := servers(t, 3)
	var n atomic.Int64
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return open(t, nats.Config{URL: urls[int(n.Add(1))%len(urls)], Namespace: namespace})
		},
	})
}

// servers starts n servers that form one, and returns their addresses for clients.
func servers(t *testing.T, n int) []string {
	t.Helper()
	var routes []*url.URL
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var urls []string
	list := make([]*server.Server, n)
	for i := range list {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "muster", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = s
		go s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
	}
	for _, s := range list {
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("a server of the cluster is not ready")
		}
		urls = append(urls, s.ClientURL())
	}
	eventually(t, "the cluster has a leader", func() error {
		for _, s := range list {
			if !s.JetStreamIsCurrent() {
				return fmt.Errorf("server %s is not current", s.Name())
			}
		}
		return nil
	})
	return urls
}
