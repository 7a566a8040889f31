package testserver

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent has the kernel kill the process when the thread that starts it ends. It is set after the change of user, which
// would clear it.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

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
