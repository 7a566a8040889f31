package porttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

// RunnerSuite says how to open the runner that is to be proved. Commands of the cases need a POSIX sh with cat, dd, mkfifo, pwd,
// env and tail, which the runner finds in its PATH.
type RunnerSuite struct {
	Open func(t *testing.T) port.Runner

	patience time.Duration // how long what was killed may take to be gone; default 10 s
}

// Runner proves the runner that s opens, with one subtest for each case.
func Runner(t *testing.T, s RunnerSuite) { proveAll(t, s, runnerPromises()) }

func runnerPromises() []promise[RunnerSuite] {
	return []promise[RunnerSuite]{
		{"a command gets its arguments and standard input, and its output and status come back", "A command that ran gives a Result and nil, whatever its exit status.", runnerRuns},
		{"arguments are not read by a shell", "No shell reads it.", runnerQuotes},
		{"a command starts in its directory", "Dir: the working directory.", runnerDir},
		{"a command sees the environment that it was given and no other", "\"NAME=value\" sets, \"NAME\" hands on the runner's own if it has one; nothing else is seen.", runnerEnv},
		{"of a long output the head and the tail are kept, and the rest is counted", "Output: bytes kept of each of stdout and stderr, first and last half.", runnerOutput},
		{"a command is ended when its time is over", "Run ends it when its time is over.", runnerTime},
		{"a command is ended with its context", "The command is dead, the error matches ErrUncertain and wraps context.Cause.", runnerCancel},
		{"a call whose context has ended starts nothing", "A call returns as soon as its context ends, with an error that wraps context.Cause.", runnerEnded},
		{"what a command leaves behind in its group ends with it", "Escaped: a process that the command started left its group.", runnerLeft},
		{"a signal is told as a signal", "Signaled: by a signal that the runner did not send.", runnerSignal},
		{"what is wrong with a command is said before it starts", "ErrInvalid, ErrNotFound (program or directory): it did not start, and nothing happened.", runnerInvalid},
		{"what is required is given, or nothing starts", "ErrUnsupported: something in c.Require cannot be given; it did not start.", runnerRequire},
		{"what is reported as isolation holds", "Isolation is, in Result, what was really given.", runnerReport},
		{"many may run at once", "Everything is safe for use by many goroutines at once.", runnerCrowd},
	}
}

// sh is a command that runs a script in dir.
func sh(dir, script string, args ...string) port.Command {
	return port.Command{Program: "sh", Args: append([]string{"-c", script, "sh"}, args...), Dir: dir, Env: []string{"PATH"}}
}

func (s RunnerSuite) run(e *exam, c port.Command) port.Result {
	res, err := s.Open(e.t).Run(e.ctx, c)
	e.must(err, "Run")
	return res
}

// good runs c and fails unless it exits with 0.
func (s RunnerSuite) good(e *exam, c port.Command) port.Result {
	res := s.run(e, c)
	e.check(res.OK(), "the command ended as %v with status %d, stderr %q", res.Ending, res.Exit, res.Stderr)
	return res
}

func runnerRuns(e *exam, s RunnerSuite) {
	c := sh(e.t.TempDir(), `cat; printf '%s,' "$@"; echo oops >&2; exit 3`, "a", "b c", "")
	c.Stdin = []byte("in\n")
	res := s.run(e, c)
	e.check(res.Ending == port.Exited && res.Exit == 3 && !res.OK(), "the command ended as %v with status %d, want exited with 3", res.Ending, res.Exit)
	e.check(res.Stdout.String() == "in\na,b c,,", "stdout is %q", res.Stdout)
	e.check(res.Stderr.String() == "oops\n", "stderr is %q", res.Stderr)
	e.check(res.Time > 0, "the time is %v", res.Time)
	s.good(e, sh(c.Dir, "exit 0"))
	big := sh(c.Dir, "exit 0") // does not read it
	big.Stdin = make([]byte, 1<<20)
	s.good(e, big)
}

func runnerQuotes(e *exam, s RunnerSuite) {
	arg := "$HOME `id` ; exit 9 * \n \"'"
	res := s.good(e, sh(e.t.TempDir(), `printf %s "$1"`, arg))
	e.check(res.Stdout.String() == arg, "the argument arrived as %q", res.Stdout)
}

func runnerDir(e *exam, s RunnerSuite) {
	dir := e.t.TempDir()
	e.must(os.WriteFile(filepath.Join(dir, "mark"), []byte("here"), 0o600), "write")
	res := s.good(e, sh(dir, "cat mark; echo made > made"))
	e.check(res.Stdout.String() == "here", "the file in the directory reads %q", res.Stdout)
	made, err := os.ReadFile(filepath.Join(dir, "made"))
	e.must(err, "read what the command made")
	e.bytes(made, []byte("made\n"), "what the command made")
	e.must(os.WriteFile(filepath.Join(dir, "prog"), []byte("#!/bin/sh\necho own\n"), 0o600), "write")
	e.must(os.Chmod(filepath.Join(dir, "prog"), 0o700), "chmod")
	res = s.good(e, port.Command{Program: "./prog", Dir: dir})
	e.check(res.Stdout.String() == "own\n", "a program in the directory said %q", res.Stdout)
}

func runnerEnv(e *exam, s RunnerSuite) {
	c := port.Command{Program: "env", Dir: e.t.TempDir(), Env: []string{"PORTTEST_A=1 =2", "PORTTEST_EMPTY=", "PORTTEST_NOT_THERE", "PATH"}}
	seen := map[string]string{}
	for line := range strings.Lines(s.good(e, c).Stdout.String()) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		seen[name] = value
	}
	e.check(seen["PATH"] != "", "PATH was not handed on")
	delete(seen, "PATH")
	want := map[string]string{"PORTTEST_A": "1 =2", "PORTTEST_EMPTY": ""}
	e.check(fmt.Sprint(seen) == fmt.Sprint(want), "besides PATH the command saw %v, want %v", seen, want)
	c.Env = nil
	c.Args = nil
	res := s.good(e, c)
	e.check(res.Stdout.String() == "", "without an environment the command saw %q", res.Stdout)
}

func runnerOutput(e *exam, s RunnerSuite) {
	c := sh(e.t.TempDir(), `printf first; dd if=/dev/zero bs=1024 count=1024 2>/dev/null; printf last; printf short >&2`)
	c.Output = 100
	res := s.good(e, c)
	o := res.Stdout
	e.check(len(o.Head)+len(o.Tail) == 100 && o.Dropped == 1<<20+9-100, "of %d bytes and a limit of 100, %d and %d are kept and %d dropped", 1<<20+9, len(o.Head), len(o.Tail), o.Dropped)
	e.check(strings.HasPrefix(string(o.Head), "first\x00") && strings.HasSuffix(string(o.Tail), "\x00last"), "head %q and tail %q", o.Head, o.Tail)
	e.check(res.Stderr.String() == "short" && res.Stderr.Dropped == 0, "stderr is %q, %d dropped", res.Stderr, res.Stderr.Dropped)
	for _, n := range []int{5, 10, 11} {
		c := sh(c.Dir, `printf 0123456789`)
		c.Output = n
		o := s.good(e, c).Stdout
		e.check(o.Dropped == int64(max(0, 10-n)) && len(o.Head)+len(o.Tail) == min(10, n), "of 10 bytes and a limit of %d: %+v", n, o)
	}
	c.Output = -1
	o = s.good(e, c).Stdout
	e.check(len(o.Head) == 1<<20+9 && o.Dropped == 0, "without a limit %d bytes are kept and %d dropped", len(o.Head), o.Dropped)
}

func runnerTime(e *exam, s RunnerSuite) {
	c := sh(e.t.TempDir(), `echo before; tail -f /dev/null; echo after`)
	c.Time = 100 * time.Millisecond
	res := s.run(e, c)
	e.check(res.Ending == port.TimedOut && res.Exit == -1 && !res.OK(), "the command ended as %v with status %d", res.Ending, res.Exit)
	e.check(!strings.Contains(res.Stdout.String(), "after"), "the command went on: %q", res.Stdout)
	e.check(res.Time >= c.Time, "the command ran for %v of at most %v, and timed out", res.Time, c.Time)
}

func runnerCancel(e *exam, s RunnerSuite) {
	dir := e.t.TempDir()
	s.good(e, sh(dir, "mkfifo fifo"))
	ctx, cancel := context.WithCancelCause(e.ctx)
	var res port.Result
	var err error
	r := s.Open(e.t)
	e.crowd(2, func(i int) {
		if i == 0 {
			res, err = r.Run(ctx, sh(dir, `echo seen; echo up > fifo; tail -f /dev/null`))
			return
		}
		_, err := os.ReadFile(filepath.Join(dir, "fifo")) // until the command has come so far
		e.must(err, "read the fifo")
		cancel(errEnough)
	})
	e.is(err, errEnough, "Run whose context ended")
	e.is(err, port.ErrUncertain, "Run whose context ended")
	e.check(res.Ending == port.Canceled && res.Exit == -1, "the command ended as %v with status %d", res.Ending, res.Exit)
	e.check(res.Stdout.String() == "seen\n", "what was seen of it is %q", res.Stdout)
}

func runnerEnded(e *exam, s RunnerSuite) {
	dir := e.t.TempDir()
	_, err := s.Open(e.t).Run(e.ended(), sh(dir, "echo > started"))
	e.is(err, errEnough, "Run under an ended context")
	e.untouched(dir)
}

// untouched fails when something was made in dir.
func (e *exam) untouched(dir string) {
	names, err := os.ReadDir(dir)
	e.must(err, "read the directory")
	e.check(len(names) == 0, "the command started: it made %v", names)
}

func runnerLeft(e *exam, s RunnerSuite) {
	dir := e.t.TempDir()
	s.good(e, sh(dir, "mkfifo fifo"))
	// Every process of the command holds the fifo open: who reads its end has seen all of them die.
	f, err := os.OpenFile(filepath.Join(dir, "fifo"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	e.must(err, "open the fifo")
	e.t.Cleanup(func() {
		if err := f.Close(); err != nil {
			e.t.Error(err)
		}
	})
	res := s.good(e, sh(dir, `exec 3>fifo; tail -f /dev/null & (tail -f /dev/null >/dev/null 2>&1 &) ; echo up >&3; exit 0`))
	e.check(!res.Escaped, "what never left its group is reported as escaped")
	e.must(f.SetReadDeadline(time.Now().Add(cmp.Or(s.patience, 10*time.Second))), "deadline")
	got, err := io.ReadAll(f)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.fatalf("a process in the background outlived its command")
	}
	e.must(err, "read the fifo")
	e.bytes(got, []byte("up\n"), "what the command wrote")
}

func runnerSignal(e *exam, s RunnerSuite) {
	res := s.run(e, sh(e.t.TempDir(), `kill -9 $$`))
	e.check(res.Ending == port.Signaled && res.Exit == -1 && res.Signal != "", "the command ended as %v, signal %q, status %d", res.Ending, res.Signal, res.Exit)
}

func runnerInvalid(e *exam, s RunnerSuite) {
	r, dir := s.Open(e.t), e.t.TempDir()
	file := filepath.Join(dir, "file")
	e.must(os.WriteFile(file, nil, 0o600), "write")
	good := sh(dir, "echo > started")
	for want, spoil := range map[error][]func(c *port.Command){
		port.ErrInvalid: {
			func(c *port.Command) { c.Program = "" },
			func(c *port.Command) { c.Dir = "" },
			func(c *port.Command) { c.Dir = "relative" },
			func(c *port.Command) { c.Dir = file },
			func(c *port.Command) { c.Args = []string{"a\x00"} },
			func(c *port.Command) { c.Env = []string{"A=1", "A=2"} },
			func(c *port.Command) { c.Env = []string{"=1"} },
			func(c *port.Command) { c.Memory = -1 },
			func(c *port.Command) { c.Require.Memory = port.MemoryPerProcess },
		},
		port.ErrNotFound: {
			func(c *port.Command) { c.Program = "no-such-program-anywhere" },
			func(c *port.Command) { c.Program = "./no-such-program" },
			func(c *port.Command) { c.Program = filepath.Join(dir, "none") },
			func(c *port.Command) { c.Dir = filepath.Join(dir, "none") },
		},
	} {
		for i, spoil := range spoil {
			c := good
			spoil(&c)
			_, err := r.Run(e.ctx, c)
			e.is(err, want, fmt.Sprintf("Run of bad command %d", i))
		}
	}
	e.must(os.Remove(file), "remove")
	e.untouched(dir)
}

func runnerRequire(e *exam, s RunnerSuite) {
	for _, need := range []port.Isolation{
		{Network: true},
		{Memory: port.MemoryPerProcess},
		{Memory: port.MemoryTotal},
		{Processes: true},
		{Files: true},
		{Network: true, Memory: port.MemoryTotal, Processes: true, Files: true},
	} {
		dir := e.t.TempDir()
		c := sh(dir, "echo > started")
		c.Memory = 1 << 30
		c.Require = need
		res, err := s.Open(e.t).Run(e.ctx, c)
		if err == nil {
			missing := res.Isolation.Missing(need)
			e.check(len(missing) == 0, "%v was required, the command ran without it: %+v", missing, res.Isolation)
			continue
		}
		e.is(err, port.ErrUnsupported, fmt.Sprintf("Run that requires %+v", need))
		e.untouched(dir)
	}
}

func runnerReport(e *exam, s RunnerSuite) {
	c := sh(e.t.TempDir(), `cat /proc/net/dev`)
	c.Offline = true
	if res := s.run(e, c); res.Isolation.Network {
		for line := range strings.Lines(res.Stdout.String()) {
			name, _, found := strings.Cut(strings.TrimSpace(line), ":")
			e.check(!found || name == "lo", "no network is reported, and the command sees the interface %s", name)
		}
	}
	hungry := sh(c.Dir, `dd if=/dev/zero of=/dev/null bs=128M count=1`)
	s.good(e, hungry)
	hungry.Memory = 64 << 20
	res := s.run(e, hungry)
	e.check(res.Isolation.Memory == port.MemoryUnlimited || !res.OK(), "a memory limit %v is reported, and a command used twice as much", res.Isolation.Memory)
	plain := s.good(e, sh(c.Dir, "exit 0"))
	e.check(!plain.Isolation.Network && plain.Isolation.Memory == port.MemoryUnlimited, "nothing was asked for, and reported is %+v", plain.Isolation)
}

func runnerCrowd(e *exam, s RunnerSuite) {
	r, dir := s.Open(e.t), e.t.TempDir()
	e.crowd(8, func(i int) {
		c := sh(dir, `cat; echo "$1"`, fmt.Sprint(i))
		c.Stdin = fmt.Appendf(nil, "in %d ", i)
		res, err := r.Run(e.ctx, c)
		e.must(err, "Run beside others")
		e.check(res.Stdout.String() == fmt.Sprintf("in %d %d\n", i, i), "command %d printed %q", i, res.Stdout)
	})
}
