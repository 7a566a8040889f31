//go:build unix && !linux

package main

import (
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since the machine was started, as all its processes see it. It may stand still while the machine is suspended:
// then a command is stopped when the machine goes on, as late as its holder.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("the monotonic clock cannot be read: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// runGroup runs a command in a process group of its own, and kills what it leaves behind in the group.
func runGroup(program string, args []string, started chan<- int) (*os.ProcessState, error) {
	//nolint:noctx // its group is stopped, not it alone
	c := exec.Command(program, args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return nil, err
	}
	started <- c.Process.Pid
	state, err := wait(c)
	killAll(c.Process.Pid)
	return state, err
}
