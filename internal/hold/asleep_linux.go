package hold

import (
	"syscall"
	"time"
	"unsafe"
)

// The clocks of clock_gettime(2).
const (
	clockMonotonic = 1
	clockBoottime  = 7
)

// readAsleep returns for how long the machine was suspended since it started. The boot-time clock is read between two
// readings of the monotonic one, which bound the difference; the tightest of three tries counts, because the thread may
// lose its processor in between.
func readAsleep() span {
	var best span
	for i := range 3 {
		before, ok1 := readClock(clockMonotonic)
		boot, ok2 := readClock(clockBoottime)
		after, ok3 := readClock(clockMonotonic)
		if !ok1 || !ok2 || !ok3 {
			return span{} // a sandbox without these clocks: the wall clock is what is left
		}
		s := span{low: boot - after, high: boot - before}
		if i == 0 || s.high-s.low < best.high-best.low {
			best = s
		}
		if best.high-best.low < 100*time.Microsecond {
			break
		}
	}
	return best
}

func readClock(id uintptr) (time.Duration, bool) {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano()), errno == 0
}
