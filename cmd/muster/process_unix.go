//go:build unix

package main

import (
	"errors"
	"os/exec"
	"syscall"
)

// hasGroups tells that there are process groups.
const hasGroups = true

// guardAttr takes the guard out of the worker's session: what ends that at a terminal does not end it.
func guardAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// That there is nobody left to be signalled is what is wanted.
func terminateGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
func killGroup(cmd *exec.Cmd)      { killNumber(cmd.Process.Pid) }
func killNumber(group int)         { _ = syscall.Kill(-group, syscall.SIGKILL) }

// living reports whether there is a process with the number, also one of another user.
func living(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
