//go:build unix

package porttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

// launcher is a sound runner that gives no isolation, save for its fault. Output goes through files, so that nobody can hold it.
type launcher struct {
	t     *testing.T
	fault string
}

func (l launcher) Run(ctx context.Context, c port.Command) (port.Result, error) {
	if err := c.Check(); err != nil {
		return l.refuse(err)
	}
	if ctx.Err() != nil && l.fault != "starts under an ended context" {
		return port.Result{}, context.Cause(ctx)
	}
	if m := (port.Isolation{}).Missing(c.Require); len(m) > 0 && l.fault != "starts without what is required" {
		return port.Result{}, fmt.Errorf("%v: %w", m, port.ErrUnsupported)
	}
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return l.refuse(errors.Join(err, port.ErrInvalid))
	}
	if strings.HasPrefix(c.Program, "./") {
		c.Program = filepath.Join(c.Dir, c.Program)
	}
	program, err := exec.LookPath(c.Program)
	if err != nil {
		return l.refuse(errors.Join(err, port.ErrNotFound))
	}
	return l.launch(ctx, program, c)
}

func (l launcher) refuse(err error) (port.Result, error) {
	if errors.Is(err, fs.ErrNotExist) {
		err = port.ErrNotFound
	}
	if l.fault == "blames itself for a wrong command" {
		err = port.ErrUnavailable
	}
	return port.Result{}, err
}

func (l launcher) launch(ctx context.Context, program string, c port.Command) (port.Result, error) {
	if c.Time == 0 {
		c.Time = port.DefaultRunTime
	}
	began := time.Now()
	run, stop := context.WithTimeout(ctx, c.Time)
	defer stop()
	if l.fault == "starts under an ended context" {
		run = context.WithoutCancel(ctx)
	}
	cmd := exec.Command(program, c.Args...)
	if l.fault == "lets a shell read the arguments" && len(c.Args) > 3 {
		cmd = exec.Command("sh", "-c", `eval printf %s "`+c.Args[3]+`"`)
	}
	cmd.Dir, cmd.Env = c.Dir, l.environ(c.Env)
	if l.fault == "starts in the folder above" {
		cmd.Dir = filepath.Dir(c.Dir)
	}
	if l.fault != "forgets standard input" {
		cmd.Stdin = l.file(c.Stdin)
	}
	stdout, stderr := l.file(nil), l.file(nil)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return port.Result{}, errors.Join(err, port.ErrUnavailable)
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	unwatch := context.AfterFunc(run, kill)
	err := cmd.Wait()
	unwatch()
	if l.fault == "leaves the group alone" {
		l.t.Cleanup(kill)
	} else {
		kill()
	}
	if _, ok := errors.AsType[*exec.ExitError](err); !ok && err != nil {
		return port.Result{}, err
	}
	res := port.Result{Exit: -1, Time: time.Since(began), Stdout: l.kept(stdout, c.Output), Stderr: l.kept(stderr, c.Output)}
	return l.verdict(ctx, run, c, cmd.ProcessState, res)
}

func (l launcher) verdict(ctx, run context.Context, c port.Command, state *os.ProcessState, res port.Result) (port.Result, error) {
	if l.fault == "pretends to limit memory" && c.Memory > 0 {
		res.Isolation.Memory = port.MemoryPerProcess
	}
	res.Escaped = l.fault == "takes the killed for escaped"
	switch {
	case state.Exited():
		res.Exit = state.ExitCode()
		if res.Exit != 0 && l.fault == "takes a status for an error" {
			return res, errors.New("exit status")
		}
	case ctx.Err() != nil:
		res.Ending = port.Canceled
		if l.fault == "takes a cancellation for a result" {
			return res, nil
		}
		return res, fmt.Errorf("%w: %w", port.ErrUncertain, context.Cause(ctx))
	case run.Err() != nil && l.fault != "takes its own kill for another's":
		res.Ending = port.TimedOut
	default:
		res.Ending, res.Signal = port.Signaled, state.String()
		if l.fault == "takes a signal for a status" {
			res.Ending, res.Exit, res.Signal = port.Exited, 137, ""
		}
	}
	return res, nil
}

func (l launcher) environ(allow []string) []string {
	env := []string{}
	if l.fault == "hands on its whole environment" {
		env = os.Environ()
	}
	for _, e := range allow {
		if v, ok := os.LookupEnv(e); ok {
			e += "=" + v
		}
		if strings.Contains(e, "=") {
			env = append(env, e)
		}
	}
	return env
}

// file is a temporary file that holds body.
func (l launcher) file(body []byte) *os.File {
	f, err := os.CreateTemp(l.t.TempDir(), "")
	if err == nil {
		l.t.Cleanup(func() {
			if err := f.Close(); err != nil {
				l.t.Error(err)
			}
		})
		_, err = f.Write(body)
	}
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		panic(err)
	}
	return f
}

func (l launcher) kept(f *os.File, limit int) port.Output {
	b, err := os.ReadFile(f.Name())
	if err != nil {
		panic(err)
	}
	if limit == 0 {
		limit = port.DefaultRunOutput
	}
	if limit < 0 || len(b) <= limit {
		return port.Output{Head: b}
	}
	o := port.Output{Head: b[:limit-limit/2], Tail: b[len(b)-limit/2:], Dropped: int64(len(b) - limit)}
	if l.fault == "keeps the head alone" {
		o = port.Output{Head: b[:limit], Dropped: o.Dropped}
	}
	return o
}

func TestBrokenRunnersAreCaught(t *testing.T) {
	suite := func(fault string) RunnerSuite {
		s := RunnerSuite{Open: func(t *testing.T) port.Runner { return launcher{t, fault} }}
		if fault == "leaves the group alone" {
			s.patience = 20 * time.Millisecond
		}
		return s
	}
	one := func(fault string, caught ...string) broken[RunnerSuite] {
		return broken[RunnerSuite]{fault, suite(fault), caught}
	}
	const left = "what a command leaves behind in its group ends with it"
	catchAll(t, runnerPromises(), suite(""), []broken[RunnerSuite]{
		one("takes a status for an error", "a command gets its arguments and standard input, and its output and status come back"),
		one("lets a shell read the arguments", "arguments are not read by a shell"),
		one("starts in the folder above", "a command starts in its directory"),
		one("hands on its whole environment", "a command sees the environment that it was given and no other"),
		one("keeps the head alone", "of a long output the head and the tail are kept, and the rest is counted"),
		one("takes its own kill for another's", "a command is ended when its time is over"),
		one("takes a cancellation for a result", "a command is ended with its context"),
		one("starts under an ended context", "a call whose context has ended starts nothing"),
		one("leaves the group alone", left),
		one("takes the killed for escaped", left),
		one("takes a signal for a status", "a signal is told as a signal"),
		one("blames itself for a wrong command", "what is wrong with a command is said before it starts"),
		one("starts without what is required", "what is required is given, or nothing starts"),
		one("pretends to limit memory", "what is reported as isolation holds"),
		one("forgets standard input", "many may run at once"),
	})
}
