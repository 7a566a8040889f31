package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/port"
)

// process is a command that was started, and the ends of its pipes that are held here.
type process struct {
	cmd                   *exec.Cmd
	began                 time.Time
	isolation             port.Isolation
	stdin, stdout, stderr *os.File
}

// way is one way to start a command.
type way struct {
	program string
	args    []string
	attr    *syscall.SysProcAttr
	gives   port.Isolation
	refused func(error) bool // tells that the machine does not allow this way, and that nothing started; nil: it always does
}

// start starts the command as far shut in as it asks for, or less where that is not required.
func start(c port.Command, program string) (*process, error) {
	var refusals []error
	for _, w := range ways(c, program) {
		if len(w.gives.Missing(c.Require)) > 0 {
			continue
		}
		p, err := w.start(c)
		if err == nil {
			return p, nil
		}
		if w.refused == nil || !w.refused(err) {
			return nil, fmt.Errorf("local: start %q in %q: %w: %w", c.Program, c.Dir, startSentinel(err), err)
		}
		refusals = append(refusals, err)
	}
	err := fmt.Errorf("local: run %q: it requires %s, which this machine does not give: %w",
		c.Program, strings.Join(port.Isolation{}.Missing(c.Require), " and "), port.ErrUnsupported)
	if len(refusals) > 0 {
		err = fmt.Errorf("%w: %w", err, errors.Join(refusals...))
	}
	return nil, err
}

func startSentinel(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist): // such as the interpreter that a script names
		return port.ErrNotFound
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.E2BIG), errors.Is(err, fs.ErrPermission):
		return port.ErrInvalid
	default:
		return port.ErrUnavailable
	}
}

func (w way) start(c port.Command) (*process, error) {
	//nolint:noctx // exec.CommandContext kills the command alone; finish kills its group
	cmd := exec.Command(w.program, w.args...)
	p := &process{cmd: cmd, isolation: w.gives}
	p.cmd.Dir, p.cmd.Env, p.cmd.SysProcAttr = c.Dir, environ(c.Env), w.attr
	var pipes [3][2]*os.File
	var err error
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			break
		}
	}
	if err == nil {
		p.stdin, p.stdout, p.stderr = pipes[0][1], pipes[1][0], pipes[2][0]
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0][0], pipes[1][1], pipes[2][1]
		p.began = time.Now()
		err = p.cmd.Start()
	}
	for i, pair := range pipes {
		for j, f := range pair {
			theirs := (i == 0) == (j == 0)
			if f != nil && (theirs || err != nil) {
				_ = f.Close() // of a pipe, this end is of no more use, and nothing was written to it
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// environ is what a command sees.
func environ(allow []string) []string {
	env := []string{}
	for _, e := range allow {
		if strings.Contains(e, "=") {
			env = append(env, e)
		} else if v, ok := os.LookupEnv(e); ok {
			env = append(env, e+"="+v)
		}
	}
	return env
}
