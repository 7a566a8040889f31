package memory

import "slices"

// The Fetches that wait stand in a line. One is woken when there is work for it, and it wakes the next one if it leaves
// some. Of those that wait, one has a timer for what time alone brings.

// enter puts w into the line, and tells for how long it has to sleep at most.
func (g *group) enter(w *waiter, now moment) int64 {
	g.waiters = append(g.waiters, w)
	due := g.nextDue()
	if due >= g.timedAt {
		return never
	}
	g.timed, g.timedAt = w, due
	return due - now.ns
}

// leave ends the wait of w, whatever ended it.
func (g *group) leave(w *waiter) {
	if w.woken {
		g.promised -= w.promise
	} else {
		g.waiters = slices.DeleteFunc(g.waiters, func(o *waiter) bool { return o == w })
	}
	if g.timed == w {
		g.timed, g.timedAt = nil, never
	}
}

// notify wakes as many as there is work for that nobody was woken for, and one if the timer has to be set anew.
func (g *group) notify(now moment) {
	if len(g.waiters) == 0 {
		return
	}
	work := g.fresh()
	if g.nextDue() <= now.ns {
		work++
	}
	for work > g.promised && len(g.waiters) > 0 {
		w := g.waiters[0]
		w.promise = min(w.limit, work-g.promised)
		g.promised += w.promise
		g.wake(w)
	}
	if len(g.waiters) > 0 && g.nextDue() < g.timedAt {
		if g.timed == nil {
			g.timed = g.waiters[0]
		}
		if !g.timed.woken { // else it has not run yet, and will see
			g.wake(g.timed)
		}
	}
}

// wake takes w out of the line.
func (g *group) wake(w *waiter) {
	g.waiters = slices.DeleteFunc(g.waiters, func(o *waiter) bool { return o == w })
	w.signal()
}

// wakeAll has everyone look again: the group is gone, or a step was left that has something for it.
func (g *group) wakeAll() {
	for len(g.waiters) > 0 {
		g.wake(g.waiters[0])
	}
}
