package hold

import (
	"sync/atomic"
	"time"
)

// Clock reads the clocks of the machine. The zero value is ready for use, in a synctest bubble too, where it follows the
// bubble's time.
//
// Go's monotonic clock stands still while the machine is suspended, so a Clock also reads the wall clock and, on Linux,
// for how long the machine was suspended since it started (CLOCK_BOOTTIME less CLOCK_MONOTONIC: a difference that a
// bubble does not touch, and that is constant but for suspensions).
type Clock struct {
	Jump *Jump // moves the readings, for tests; default none
}

// Now reads all clocks.
func (c Clock) Now() Instant {
	i := c.glance()
	i.asleep = readAsleep()
	if c.Jump != nil {
		i.asleep = i.asleep.plus(time.Duration(c.Jump.asleep.Load()))
	}
	return i
}

// Since returns how much time has passed since i: the most that any clock says.
func (c Clock) Since(i Instant) time.Duration { return c.Now().Sub(i) }

// Glance is Since by the clocks that are read without a system call, for what is decided again by all: it misses a suspension of the machine
// after which the wall clock was set back.
func (c Clock) Glance(i Instant) time.Duration { return c.glance().Sub(i) }

// glance reads the clocks that are read without a system call: all but that of suspensions.
func (c Clock) glance() Instant {
	i := Instant{at: time.Now()}
	if c.Jump != nil {
		i.at = i.at.Add(time.Duration(c.Jump.all.Load()))
		i.wall = time.Duration(c.Jump.wall.Load())
	}
	return i
}

// Instant is a moment as all clocks show it. The zero Instant is long ago.
type Instant struct {
	at     time.Time     // wall and monotonic
	wall   time.Duration // what a Jump adds to the wall clock alone
	asleep span          // how long the machine was suspended until then
}

// Time returns the moment in wall time, for people.
func (i Instant) Time() time.Time { return i.at }

// Sub returns how much time passed from earlier to i: the most that any clock says, and never less than the monotonic
// clock says. A clock that was set back says nothing; one that was set forward makes it more.
func (i Instant) Sub(earlier Instant) time.Duration {
	mono := i.at.Sub(earlier.at)
	wall := i.at.Round(0).Sub(earlier.at.Round(0)) + i.wall - earlier.wall
	return max(mono, wall, mono+i.asleep.since(earlier.asleep))
}

// awake is i without the clock of suspensions, as glance would have read it.
func (i Instant) awake() Instant {
	i.asleep = span{}
	return i
}

// span is a duration that was read between two moments, and lies between low and high. The zero span was not read.
type span struct{ low, high time.Duration }

func (s span) plus(d time.Duration) span { return span{s.low + d, s.high + d} }

// since returns the most by which s can exceed earlier, if it provably exceeds it at all, and 0 otherwise.
func (s span) since(earlier span) time.Duration {
	if s.low <= earlier.high {
		return 0
	}
	return s.high - earlier.low
}

// Jump moves the readings of a Clock while it runs, so that tests can stop a process or a machine without doing so. Timers
// do not see it, as the timers of a stopped process do not. It is safe for concurrent use.
type Jump struct{ all, wall, asleep atomic.Int64 }

// Stopped is what a process sees that was stopped for d (SIGSTOP): all clocks went on.
func (j *Jump) Stopped(d time.Duration) { j.all.Add(int64(d)) }

// Suspended is what a machine sees that was suspended for d: the monotonic clock stood still.
func (j *Jump) Suspended(d time.Duration) {
	j.asleep.Add(int64(d))
	j.wall.Add(int64(d))
}

// WallSet is what a machine sees whose wall clock was set forward by d; less than zero sets it back.
func (j *Jump) WallSet(d time.Duration) { j.wall.Add(int64(d)) }
