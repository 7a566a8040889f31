package porttest

import (
	"sync"
	"testing"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// reference opens the memory backend: one store for each namespace and case, so that nothing of one bubble is touched by another.
type reference struct {
	conf   memory.Config
	mu     sync.Mutex
	stores map[string]*memory.Backend // by test and what all namespaces of a case begin with
}

func (r *reference) open(t *testing.T, c memory.Config) port.Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stores == nil {
		r.stores = make(map[string]*memory.Backend)
	}
	c.Families, c.Stepwise = r.conf.Families, r.conf.Stepwise
	key := t.Name() + c.Namespace[:16]
	root := r.stores[key]
	if root == nil {
		root = memory.New(c)
		r.stores[key] = root
	}
	b := root.Open(c)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

// suite proves the reference, opened with conf.
func suite(conf memory.Config) Suite {
	r := &reference{conf: conf}
	return Suite{
		Open: func(t *testing.T, namespace string) port.Backend {
			return r.open(t, memory.Config{Namespace: namespace})
		},
		OpenClear: func(t *testing.T, namespace string) port.Backend {
			return r.open(t, memory.Config{Namespace: namespace, AllowClear: true})
		},
		Bubble: true,
	}
}

func TestTheReferencePasses(t *testing.T) { Run(t, suite(memory.Config{})) }

func TestTheReferencePassesAsStrictAboutFamiliesAsABackendMayBe(t *testing.T) {
	Run(t, suite(memory.Config{Families: true}))
}

func TestTheReferencePassesStepByStep(t *testing.T) { Run(t, suite(memory.Config{Stepwise: true})) }
