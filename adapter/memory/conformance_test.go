package memory_test

import (
	"sync"
	"testing"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

func TestTheAtomicBackendKeepsTheContract(t *testing.T) { conform(t, memory.Config{}) }

func TestTheStepwiseBackendKeepsTheContract(t *testing.T) {
	conform(t, memory.Config{Stepwise: true})
}

func TestTheBackendOfFamiliesKeepsTheContract(t *testing.T) {
	conform(t, memory.Config{Families: true})
}

func conform(t *testing.T, conf memory.Config) {
	// Each namespace has a store of its own, made inside the bubble of its case.
	var mu sync.Mutex
	stores := map[string]*memory.Backend{}
	open := func(t *testing.T, c memory.Config) port.Backend {
		mu.Lock()
		defer mu.Unlock()
		b := stores[c.Namespace]
		if b == nil {
			b = memory.New(c)
			stores[c.Namespace] = b
		} else {
			b = b.Open(c)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return b
	}
	porttest.Run(t, porttest.Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			c := conf
			c.Namespace = namespace
			return open(t, c)
		},
		OpenClear: func(t *testing.T, namespace string) port.Backend {
			c := conf
			c.Namespace, c.AllowClear = namespace, true
			return open(t, c)
		},
		Bubble: true,
	})
}
