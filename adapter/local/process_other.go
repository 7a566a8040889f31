//go:build !linux

package local

import (
	"os"
	"os/exec"

	"github.com/musterhq/muster/port"
)

// ways is the one way to start a command: shut in by nothing.
func ways(c port.Command, program string) []way {
	return []way{{program: program, args: c.Args, attr: groupAttr()}}
}

// reap waits for the end of a command and calls ended.
func reap(cmd *exec.Cmd, ended func()) error {
	err := cmd.Wait()
	ended()
	return err
}

func signalName(state *os.ProcessState) string { return state.String() }
