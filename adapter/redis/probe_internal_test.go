package redis

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// A command that a script uses and Open does not try fails in the middle of a script where the access list forbids it.
func TestOpenTriesEveryCommandOfTheScriptsAndThePageNamesIt(t *testing.T) {
	probe, err := lua.ReadFile("lua/probe.lua")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "\nCommands: ")
	list, _, _ = strings.Cut(list, "\n\n")
	files, err := lua.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`(?:call|all|idAt)\('([A-Z]+)'`)
	for _, f := range files {
		text, err := lua.ReadFile("lua/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(probe), "'"+m[1]+"'") {
				t.Errorf("%s uses %s, which Open does not try", f.Name(), m[1])
			}
			if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(list) {
				t.Errorf("%s uses %s, which docs/redis.md does not name", f.Name(), m[1])
			}
		}
	}
}
