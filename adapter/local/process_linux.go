package local

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/musterhq/muster/port"
)

// ways are the ways to start a command, the most shut in first.
func ways(c port.Command, program string) []way {
	plain := way{program: program, args: c.Args}
	if c.Memory > 0 {
		if prlimit, err := exec.LookPath("prlimit"); err == nil {
			n := strconv.FormatInt(c.Memory, 10)
			plain.program = prlimit
			plain.args = slices.Concat([]string{"--as=" + n + ":" + n, "--", program}, c.Args)
			plain.gives.Memory = port.MemoryPerProcess
		}
	}
	var spaces uintptr
	shut := plain
	if c.Offline || c.Require.Network {
		spaces |= syscall.CLONE_NEWNET
		shut.gives.Network = true
	}
	if c.Require.Processes {
		spaces |= syscall.CLONE_NEWPID
		shut.gives.Processes = true
	}
	plain.attr = attr(0)
	if spaces == 0 {
		return []way{plain}
	}
	// As root at once; as anybody else inside a user namespace, in which the command is who it was.
	shut.refused = namespaceRefused
	own := shut
	shut.attr, own.attr = attr(spaces), attr(spaces|syscall.CLONE_NEWUSER)
	own.attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	own.attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	return []way{shut, own, plain}
}

func attr(spaces uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: spaces}
}

// namespaceRefused reports whether err is how clone(2) and unshare(2) say that there are no such namespaces for this user.
func namespaceRefused(err error) bool {
	return slices.ContainsFunc([]error{syscall.EPERM, syscall.EINVAL, syscall.ENOSPC, syscall.ENOSYS, syscall.EUSERS},
		func(refusal error) bool { return errors.Is(err, refusal) })
}

// killGroup kills the process group of a command that was not reaped yet, so that the group's number is its own.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // that there is nobody left is what is wanted
}

// reap waits for the end of a command, calls ended, and only then gives the process's number back.
func reap(cmd *exec.Cmd, ended func()) error {
	const waitPID = 1  // P_PID of waitid(2)
	var info [128]byte // siginfo_t, which is not looked at
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, waitPID, uintptr(cmd.Process.Pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			break
		}
	}
	ended()
	return cmd.Wait()
}

func signalName(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return state.String()
	}
	return status.Signal().String()
}
