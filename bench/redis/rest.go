package main

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// exactly rests for 1 ms, and at most a tenth of that longer. time.Sleep does not: a Go process that has nothing to do waits for its sockets,
// and how long is rounded to whole milliseconds, so that such a sleep lasts up to 2 ms, and the longer the less the process does
// beside it.
func exactly() {
	resting.once.Do(func() {
		resting.some.L = &resting.mu
		go resting.run()
	})
	r := rester{time.Now().Add(time.Millisecond), make(chan struct{})}
	resting.mu.Lock()
	resting.list = append(resting.list, r)
	resting.some.Signal()
	resting.mu.Unlock()
	<-r.over
}

type rester struct {
	until time.Time
	over  chan struct{}
}

// rests are all that rest, which do so for the same time: so they end in their order. A thread of its own looks at the clock.
type rests struct {
	once sync.Once
	mu   sync.Mutex
	some sync.Cond // there are some
	list []rester
}

var resting rests

func (r *rests) run() {
	runtime.LockOSThread()
	for {
		r.mu.Lock()
		for len(r.list) == 0 {
			r.some.Wait()
		}
		now, ended := time.Now(), 0
		for ended < len(r.list) && !r.list[ended].until.After(now) {
			close(r.list[ended].over)
			ended++
		}
		r.list = r.list[ended:]
		next := 100 * time.Microsecond
		if len(r.list) > 0 {
			next = min(next, r.list[0].until.Sub(now))
		}
		r.mu.Unlock()
		t := syscall.NsecToTimespec(next.Nanoseconds())
		for syscall.Nanosleep(&t, &t) != nil { // interrupted: t is what is left
			continue
		}
	}
}
