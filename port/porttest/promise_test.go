package porttest

import (
	"slices"
	"testing"
)

// broken is an adapter that breaks one promise on purpose, and the cases that must find it out. More than those may.
type broken[S any] struct {
	how    string
	suite  S
	caught []string
}

// catchAll fails unless a sound adapter passes every promise, and each broken one is caught by name.
func catchAll[S any](t *testing.T, promises []promise[S], sound S, all []broken[S]) {
	t.Run("a sound adapter passes", func(t *testing.T) {
		for _, p := range promises {
			if found := p.try(t, sound); len(found) > 0 {
				t.Errorf("%s: %v", p.name, found)
			}
		}
	})
	seen := map[string]bool{}
	for _, b := range all {
		t.Run(b.how, func(t *testing.T) {
			for _, name := range b.caught {
				i := slices.IndexFunc(promises, func(p promise[S]) bool { return p.name == name })
				if i < 0 {
					t.Fatalf("there is no case %q", name)
				}
				seen[name] = true
				t.Run(name, func(t *testing.T) {
					if len(promises[i].try(t, b.suite)) == 0 {
						t.Errorf("an adapter that %s was not caught", b.how)
					}
				})
			}
		})
	}
	for _, p := range promises {
		if !seen[p.name] {
			t.Errorf("no broken adapter proves that the case %q can fail", p.name)
		}
	}
}

func TestACaseThatPanicsIsAFinding(t *testing.T) {
	p := promise[int]{keep: func(*exam, int) { panic("boom") }}
	if found := p.try(t, 0); len(found) != 1 {
		t.Errorf("found %v", found)
	}
}
