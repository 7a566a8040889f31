package testserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent has the kernel kill the process when the thread that starts it ends. It is set after the change of user, which
// would clear it.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// reserve keeps a free port of the loopback from being given to anybody who does not ask for it, until it is freed: a socket is
// bound to it that never listens. Who asks for it by number can listen on it, and while nobody does connections are refused.
func reserve() (addr string, free func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	bind := func() (string, error) {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
			return "", err
		}
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return "", err
		}
		own, err := syscall.Getsockname(fd)
		if err != nil {
			return "", err
		}
		in4, ok := own.(*syscall.SockaddrInet4)
		if !ok {
			return "", fmt.Errorf("a socket bound to 127.0.0.1 has an address of type %T", own)
		}
		return fmt.Sprintf("127.0.0.1:%d", in4.Port), nil
	}
	if addr, err = bind(); err != nil {
		return "", nil, errors.Join(err, syscall.Close(fd))
	}
	return addr, func() error { return syscall.Close(fd) }, nil
}

// deafen ends the listening of a socket that is about to be closed: a process that is being started has its copy for a moment, with
// which it would listen on.
func deafen(l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("a listener of type %T cannot be deafened", l)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var deaf error
	err = raw.Control(func(fd uintptr) { deaf = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	return errors.Join(err, deaf)
}

// children returns the processes that a process has started and that have not ended.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return nil // it is gone, and they with it
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// awaitDeath returns when a process that was killed has ended. Its parent is frozen, so it stays there as a zombie.
func awaitDeath(pid int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(stopTime)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil // it is gone
		}
		// The state follows the name, which stands in parentheses and may contain some: proc(5).
		_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		if strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X") {
			return nil
		}
		select {
		case <-tooLong:
			return fmt.Errorf("process %d was killed and is still there after %v", pid, stopTime)
		case <-tick.C:
		}
	}
}
