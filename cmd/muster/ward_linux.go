package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since the machine was started, as all its processes see it. It goes on while the machine is suspended.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("the boot-time clock cannot be read: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// runGroup runs a command in a process group of its own, and kills what it leaves behind in the group before the group's number can
// be given to others. The kernel kills the command when this process dies.
func runGroup(program string, args []string, started chan<- int) (*os.ProcessState, error) {
	runtime.LockOSThread() // the kernel's promise is bound to the thread
	defer runtime.UnlockOSThread()
	//nolint:noctx // its group is stopped, not it alone
	c := exec.Command(program, args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	started <- c.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // Wait tells what is wrong
		}
	}
	killAll(c.Process.Pid)
	return wait(c)
}
