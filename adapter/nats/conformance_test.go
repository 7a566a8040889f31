//go:build unix

package nats_test

import (
	"testing"

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
