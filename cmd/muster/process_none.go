//go:build !unix

package main

import (
	"os/exec"
	"syscall"
)

// hasGroups tells that there are no process groups.
const hasGroups = false

func guardAttr() *syscall.SysProcAttr   { return nil }
func commandAttr() *syscall.SysProcAttr { return nil }

// terminateGroup ends the command at once: it cannot be asked.
func terminateGroup(cmd *exec.Cmd) { killGroup(cmd) }

// killGroup kills the command alone; that it has ended is what is wanted.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// killNumber is not called, as there is no guard.
func killNumber(int) {}

// reap waits for the end of a command and calls ended.
func reap(cmd *exec.Cmd, ended func()) error {
	err := cmd.Wait()
	ended()
	return err
}

// living cannot be told: a process counts as alive until its time is over.
func living(int) bool { return true }
