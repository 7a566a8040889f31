//go:build unix

package nats_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// patient is long enough for an election on a machine that is busy with other tests.
const patient = 30 * time.Second

func TestABackendOnAClusterKeepsTheContract(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	var n atomic.Int64
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			s := k.Nodes[int(n.Add(1))%len(k.Nodes)] // one process at one server, the next at another
			return open(t, nats.Config{URL: s.URL(), Namespace: namespace, Timeout: patient})
		},
	})
}
