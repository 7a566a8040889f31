package main

import (
	"strings"
	"testing"
)

// BenchmarkRedis has each contender of each suite do a little, so that a change that breaks one is seen. Figures that are compared
// come from the program.
func BenchmarkRedis(b *testing.B) {
	for b.Loop() {
		var out strings.Builder
		err := compare(b.Context(), &out, options{rounds: 1, share: 100, quartets: 2, server: "redis-server", fsync: "off"})
		if err != nil {
			b.Fatal(err)
		}
		b.Log(out.String())
	}
}

func TestTheTablesSetMusterBesideWhatIsWrittenByHand(t *testing.T) {
	for suite, unit := range map[string]string{
		"publish1": "per second", "backlog": "per second", "hop": "per second", "compare": "per second",
		"once-storm": "per second", "lock64": "per second", "latency": "p50 ms", "idle": "p50 ms",
	} {
		var out strings.Builder
		o := options{rounds: 1, share: 500, quartets: 1, only: suite, who: "rueidis-tuned,rueidis-script,muster", server: "redis-server", fsync: "no"}
		if err := compare(t.Context(), &out, o); err != nil {
			t.Fatalf("%s: %v", suite, err)
		}
		for _, word := range []string{"Redis ", suite + ": ", unit, "1.00", "  muster"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%s: %q is missing in\n%s", suite, word, out.String())
			}
		}
	}
}

func TestSingleCallsAreSetBesideTheDirectClientsWithAControl(t *testing.T) {
	var out strings.Builder
	if err := compare(t.Context(), &out, options{rounds: 1, share: 1, quartets: 1, only: "pairs", server: "redis-server", fsync: "off"}); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"get", "set", "compare", "publish", "lock"} {
		if strings.Count(out.String(), "\n"+op+": ") != 2 {
			t.Errorf("%s is not there with its control:\n%s", op, out.String())
		}
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	good := options{rounds: 1, share: 1, quartets: 1, server: "redis-server", fsync: "off"}
	for name, spoil := range map[string]func(*options){
		"no rounds":                  func(o *options) { o.rounds = 0 },
		"no share":                   func(o *options) { o.share = 0 },
		"a suite that there is not":  func(o *options) { o.only = "publish1,kafka" },
		"a server that there is not": func(o *options) { o.server = "no-such-server" },
	} {
		o := good
		spoil(&o)
		if err := compare(t.Context(), new(strings.Builder), o); err == nil {
			t.Errorf("%s was not refused", name)
		}
	}
}
