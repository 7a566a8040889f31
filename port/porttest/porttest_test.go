package porttest

import (
	"slices"
	"strings"
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

func TestEveryTrapOfThePortHasACaseAndEveryCaseARule(t *testing.T) {
	// Known mistakes in message buses and coordinators that concern a backend, by their numbers.
	traps := []string{"C1", "C2", "C4", "C6", "C10", "C11", "C13", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21", "C22", "C23", "C25"}
	names := make(map[string]bool)
	for _, r := range rules() {
		if names[r.name] {
			t.Errorf("there are two cases %q", r.name)
		}
		names[r.name] = true
		if r.text == "" || r.run == nil {
			t.Errorf("case %q has no rule", r.name)
		}
	}
	for _, trap := range traps {
		if !slices.ContainsFunc(rules(), func(r rule) bool { return strings.HasPrefix(r.name, trap+" ") }) {
			t.Errorf("no case is named for trap %s", trap)
		}
	}
}

func TestAFailureTellsItsPlaceAndEndsTheCase(t *testing.T) {
	h := house{t: t, open: suite(memory.Config{}).Open}
	for what, run := range map[string]func(*trial){
		"fatalf":              func(t *trial) { t.fatalf("wrong") },
		"a helper":            func(t *trial) { t.is(nil, "wrong", port.ErrGap) },
		"a panic":             func(*trial) { panic("wrong") },
		"a goroutine beside":  func(t *trial) { t.spawn(func() { t.fatalf("wrong") })() },
		"a panic beside":      func(t *trial) { t.spawn(func() { panic("wrong") })() },
		"one of many beside":  func(t *trial) { t.crowd(3, func(i int) { t.check(i != 1, "wrong") }) },
		"one nobody waits on": func(t *trial) { t.spawn(func() { t.fatalf("wrong") }) },
	} {
		r := rule{name: what, run: func(t *trial) {
			run(t)
			if what != "one nobody waits on" {
				t.note("the case went on")
			}
		}}
		found := r.try(t.Context(), h)
		if len(found) != 1 || !strings.Contains(found[0], "wrong") || !strings.Contains(found[0], "porttest_test.go:") {
			t.Errorf("%s: found %q", what, found)
		}
	}
}

func TestCasesRunInRealTimeToo(t *testing.T) {
	s := suite(memory.Config{})
	s.Bubble = false
	s.run(t, kvRules())
}
