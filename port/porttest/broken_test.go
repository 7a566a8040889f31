package porttest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// flaw is a backend that is broken on purpose, and the case that must say so.
type flaw struct {
	does   string // what the backend does
	caught string // the name of the case
	says   string // part of what the case says
	bend   func() func(*bent)
}

// alone is a flaw whose processes share nothing but the backend.
func alone(bend func(*bent)) func() func(*bent) {
	return func() func(*bent) { return bend }
}

// bending is the reference with a flaw, or with none when bend is nil.
func bending(bend func() func(*bent)) Suite {
	s := suite(memory.Config{})
	ways := make(map[*testing.T]func(*bent)) // what the processes of one case share
	wrap := func(open func(*testing.T, string) port.Backend) func(*testing.T, string) port.Backend {
		return func(t *testing.T, namespace string) port.Backend {
			b := &bent{Backend: open(t, namespace)}
			if bend == nil {
				return b
			}
			if ways[t] == nil {
				ways[t] = bend()
			}
			ways[t](b)
			return b
		}
	}
	s.Open, s.OpenClear = wrap(s.Open), wrap(s.OpenClear)
	return s
}

func TestABackendWithoutAFlawPasses(t *testing.T) { Run(t, bending(nil)) }

func TestEachBrokenBackendIsCaughtByTheCaseThatIsMeantForIt(t *testing.T) {
	for _, f := range slices.Concat(queueFlaws(), settleFlaws(), stepFlaws(), kvFlaws(), leaseFlaws(), signalFlaws()) {
		t.Run(f.does, func(t *testing.T) {
			all := rules()
			i := slices.IndexFunc(all, func(r rule) bool { return r.name == f.caught })
			if i < 0 {
				t.Fatalf("there is no case %q", f.caught)
			}
			var failures []string
			synctest.Test(t, func(t *testing.T) {
				s := bending(f.bend)
				failures = all[i].try(t.Context(), house{t: t, open: s.Open, openClear: s.OpenClear, bubble: true})
			})
			if len(failures) == 0 {
				t.Fatalf("a backend that %s passes the case %q", f.does, f.caught)
			}
			if !strings.Contains(failures[0], f.says) {
				t.Fatalf("a backend that %s fails the case %q by\n\t%s\nand not by %q", f.does, f.caught, failures[0], f.says)
			}
		})
	}
}
