package main

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(serverVariable); ok {
		exit(serve(text))
	}
	os.Exit(m.Run())
}

func TestEveryContenderMovesItsMessages(t *testing.T) {
	for name, apart := range map[string]bool{"the server in this process": false, "the server in another process": true} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := compare(t.Context(), &out, 1, 100, apart); err != nil {
				t.Fatal(err)
			}
			for _, r := range races(1, apart) {
				for _, c := range r.in {
					if !strings.Contains(out.String(), "  "+c.Name+"\n") {
						t.Errorf("%s: no line for %s:\n%s", r.name, c.Name, out.String())
					}
				}
			}
		})
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ rounds, work int }{"no rounds": {0, 1}, "no work": {1, 0}} {
		if err := compare(t.Context(), new(strings.Builder), c.rounds, c.work, false); err == nil {
			t.Errorf("%s was not refused", name)
		}
	}
}
