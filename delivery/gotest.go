package delivery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/musterhq/muster/port"
)

// Tests is what go test told of the tests that ran, subtests counted.
type Tests struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// testEvent is a line of go test -json (cmd/test2json).
type testEvent struct {
	Action, Package, Test, Output string
}

// readTests counts the tests in the output of go test -json, and gathers what was said by those that failed and by what belongs to
// no test, such as a build that failed. A line that is no event is what something wrote past the tests.
func readTests(out port.Output) (Tests, string) {
	var t Tests
	said := map[string]*strings.Builder{}
	var order []string
	tell := func(key, text string) {
		if said[key] == nil {
			said[key] = new(strings.Builder)
			order = append(order, key)
		}
		said[key].WriteString(text)
	}
	passed := map[string]bool{}
	for _, part := range [][]byte{out.Head, out.Tail} {
		for line := range bytes.Lines(part) {
			var e testEvent
			if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
				tell("", string(line))
				continue
			}
			key := e.Test
			if key != "" {
				key = e.Package + " " + e.Test
			}
			switch {
			case e.Output != "":
				tell(key, e.Output)
			case e.Test == "":
			case e.Action == "pass":
				t.Passed++
				passed[key] = true
			case e.Action == "fail":
				t.Failed++
			case e.Action == "skip":
				t.Skipped++
				passed[key] = true
			}
		}
	}
	var b strings.Builder
	for _, key := range order {
		if !passed[key] {
			b.WriteString(said[key].String())
		}
	}
	if out.Dropped > 0 {
		fmt.Fprintf(&b, "\n[%d bytes of the tests' output were not read]\n", out.Dropped)
	}
	return t, b.String()
}
