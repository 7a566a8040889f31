//go:build !unix

package local

import (
	"os/exec"
	"syscall"
)

func groupAttr() *syscall.SysProcAttr { return nil }

// killGroup kills the command; there are no process groups.
func killGroup(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // that there is nobody left is what is wanted
}
