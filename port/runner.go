package port

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Runner runs one command at a time per call, and tells how far it was shut in.
type Runner interface {
	// Run starts c and waits for its end, or ends it when its time is over. A command that ran gives a Result and nil,
	// whatever its exit status. An error means that it did not start, and nothing happened: [ErrInvalid], [ErrNotFound]
	// (program or directory), [ErrUnsupported] (something in c.Require cannot be given), [ErrUnavailable]; or that ctx ended
	// while it ran: then the command is dead, the error matches [ErrUncertain] and wraps context.Cause, and the Result
	// holds what was seen of it.
	Run(ctx context.Context, c Command) (Result, error)
}

// Command is what to run and what it may use. No shell reads it.
type Command struct {
	Program string        // a name to be found in the runner's own PATH, an absolute path, or one from Dir on ("./bin/x")
	Args    []string      // without the program's name; default none
	Dir     string        // the working directory: absolute, and there
	Env     []string      // "NAME=value" sets, "NAME" hands on the runner's own if it has one; nothing else is seen; default none
	Stdin   []byte        // default empty
	Time    time.Duration // the longest it may run; default 10 min; negative: as long as ctx
	Memory  int64         // bytes that it may use, where the runner can limit them; default no limit
	Output  int           // bytes kept of each of stdout and stderr, first and last half; default 1 MiB; negative: all
	Offline bool          // run without any network, loopback included, where the runner can; default false
	Require Isolation     // what must be given, or nothing starts; default nothing
}

// Defaults of [Command].
const (
	DefaultRunTime   = 10 * time.Minute
	DefaultRunOutput = 1 << 20
)

// Isolation is how far a command is shut in: in Result what was really given, in Command what must be.
type Isolation struct {
	Network   bool        // no network at all, loopback included; required, it is Offline too
	Memory    MemoryScope // what the limit of Command.Memory is counted over
	Processes bool        // nothing that the command started outlives it, not even what left its process group
	Files     bool        // nothing outside of Command.Dir can be written
}

// MemoryScope says what a memory limit is counted over, weakest first.
type MemoryScope int

// What a memory limit is counted over.
const (
	MemoryUnlimited  MemoryScope = iota // there is no limit
	MemoryPerProcess                    // the address space of each process alone
	MemoryTotal                         // what all processes of the command use together
)

// String is "unlimited", "per process" or "total".
func (m MemoryScope) String() string {
	switch m {
	case MemoryUnlimited:
		return "unlimited"
	case MemoryPerProcess:
		return "per process"
	case MemoryTotal:
		return "total"
	default:
		return fmt.Sprintf("MemoryScope(%d)", int(m))
	}
}

// Missing names what need asks for and i does not give; it is empty when i is enough.
func (i Isolation) Missing(need Isolation) []string {
	var m []string
	if need.Network && !i.Network {
		m = append(m, "no network")
	}
	if need.Memory > i.Memory {
		m = append(m, "a memory limit "+need.Memory.String())
	}
	if need.Processes && !i.Processes {
		m = append(m, "the end of every process")
	}
	if need.Files && !i.Files {
		m = append(m, "no writing outside of the directory")
	}
	return m
}

// Ending says how a command came to its end.
type Ending int

// How a command came to its end.
const (
	Exited   Ending = iota // by itself, with a status
	Signaled               // by a signal that the runner did not send
	TimedOut               // the runner ended it after Command.Time
	Canceled               // the runner ended it because ctx ended
)

// String is "exited", "signaled", "timed out" or "canceled".
func (e Ending) String() string {
	names := []string{"exited", "signaled", "timed out", "canceled"}
	if e < 0 || int(e) >= len(names) {
		return fmt.Sprintf("Ending(%d)", int(e))
	}
	return names[e]
}

// Result is what came of a command.
type Result struct {
	Ending         Ending
	Exit           int    // the status; -1 unless Exited
	Signal         string // the name of the signal; "" unless Signaled
	Stdout, Stderr Output
	Time           time.Duration // from start to end
	Isolation      Isolation     // what was really given
	// Escaped: a process that the command started left its group, held on to the output and may still run. It is never
	// true where Isolation.Processes is.
	Escaped bool
}

// OK reports whether the command exited with status 0.
func (r Result) OK() bool { return r.Ending == Exited && r.Exit == 0 }

// Output is what a command wrote to one stream.
type Output struct {
	Head, Tail []byte // all of it is in Head unless Dropped is over 0
	Dropped    int64  // bytes between Head and Tail that were not kept
}

// String is the output, with a line in the place of what was not kept.
func (o Output) String() string {
	if o.Dropped == 0 {
		return string(o.Head) + string(o.Tail)
	}
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", o.Head, o.Dropped, o.Tail)
}

// Check answers [ErrInvalid] for a command that no runner takes.
func (c Command) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("command %s: %s: %w", brief(c.Program), fmt.Sprintf(format, args...), ErrInvalid)
	}
	switch {
	case c.Program == "" || strings.Contains(c.Program, "\x00"):
		return bad("the program's name is empty or has a zero byte")
	case !filepath.IsAbs(c.Dir):
		return bad("the directory %s is not absolute", brief(c.Dir))
	case slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, "\x00") }):
		return bad("an argument has a zero byte")
	case c.Memory < 0:
		return bad("the memory limit %d is negative; 0 is none", c.Memory)
	case c.Require.Memory < MemoryUnlimited || c.Require.Memory > MemoryTotal:
		return bad("the memory scope %d is unknown", int(c.Require.Memory))
	case c.Require.Memory != MemoryUnlimited && c.Memory == 0:
		return bad("it requires a memory limit and sets none")
	}
	seen := map[string]bool{}
	for _, e := range c.Env {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "" || strings.Contains(e, "\x00"):
			return bad("the name of a variable is empty or it has a zero byte")
		case seen[name]:
			return bad("the variable %s is there twice", brief(name))
		}
		seen[name] = true
	}
	return nil
}
