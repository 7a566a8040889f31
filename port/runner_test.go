package port_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestACommandThatNoRunnerTakesSaysWhatIsWrong(t *testing.T) {
	good := port.Command{Program: "go", Args: []string{"vet", ""}, Dir: t.TempDir(), Env: []string{"PATH", "A=", "B=x=y"}, Memory: 1, Require: port.Isolation{Memory: port.MemoryTotal}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(c *port.Command){
		"name is empty":               func(c *port.Command) { c.Program = "" },
		"zero byte":                   func(c *port.Command) { c.Program = "a\x00" },
		`directory "x" is not`:        func(c *port.Command) { c.Dir = "x" },
		"an argument has":             func(c *port.Command) { c.Args = []string{"\x00"} },
		"limit -1 is negative":        func(c *port.Command) { c.Memory = -1 },
		"scope 3 is unknown":          func(c *port.Command) { c.Require.Memory = 3 },
		"scope -1 is unknown":         func(c *port.Command) { c.Require.Memory = -1 },
		"requires a memory limit":     func(c *port.Command) { c.Memory = 0 },
		"name of a variable":          func(c *port.Command) { c.Env = []string{"=x"} },
		"name of a variable is":       func(c *port.Command) { c.Env = []string{""} },
		"or it has a zero byte":       func(c *port.Command) { c.Env = []string{"A=\x00"} },
		`variable "A" is there twice`: func(c *port.Command) { c.Env = []string{"A", "A=1"} },
	} {
		c := good
		spoil(&c)
		if err := c.Check(); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v, want one that says %q", err, says)
		}
	}
}

func TestIsolationNamesWhatIsMissing(t *testing.T) {
	all := port.Isolation{Network: true, Memory: port.MemoryTotal, Processes: true, Files: true}
	if m := all.Missing(all); len(m) != 0 {
		t.Errorf("everything misses %q", m)
	}
	if m := (port.Isolation{}).Missing(port.Isolation{}); len(m) != 0 {
		t.Errorf("nothing of nothing misses %q", m)
	}
	want := []string{"no network", "a memory limit total", "the end of every process", "no writing outside of the directory"}
	if m := (port.Isolation{Memory: port.MemoryPerProcess}).Missing(all); fmt.Sprint(m) != fmt.Sprint(want) {
		t.Errorf("missing are %q, want %q", m, want)
	}
	if m := all.Missing(port.Isolation{Memory: port.MemoryPerProcess}); len(m) != 0 {
		t.Errorf("a stronger limit misses %q", m)
	}
}

func TestARunSaysHowItEnded(t *testing.T) {
	for v, want := range map[fmt.Stringer]string{
		port.Exited: "exited", port.Signaled: "signaled", port.TimedOut: "timed out", port.Canceled: "canceled", port.Ending(9): "Ending(9)", port.Ending(-1): "Ending(-1)",
		port.MemoryUnlimited: "unlimited", port.MemoryPerProcess: "per process", port.MemoryTotal: "total", port.MemoryScope(9): "MemoryScope(9)",
	} {
		if v.String() != want {
			t.Errorf("%d prints %q, want %q", v, v, want)
		}
	}
	for _, r := range []port.Result{{Exit: 1}, {Ending: port.TimedOut}, {Ending: port.Signaled}} {
		if r.OK() {
			t.Errorf("%+v is OK", r)
		}
	}
	if !(port.Result{}).OK() {
		t.Error("an exit with 0 is not OK")
	}
}

func ExampleOutput() {
	fmt.Println(port.Output{Head: []byte("all of it")})
	fmt.Println(port.Output{Head: []byte("the start"), Tail: []byte("the end"), Dropped: 4096})
	// Output:
	// all of it
	// the start
	// [4096 bytes left out]
	// the end
}
