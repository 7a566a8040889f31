package bus

// lanes orders what is in hand: messages of one key run one at a time, in order, and of all suspects one at a time. All of it is
// guarded by the consumer's mutex.
type lanes struct {
	items    *shelf
	ready    fifo // may run now
	byKey    map[string]*lane
	suspects fifo // may run when no other suspect does
	suspect  bool // one is ready or running
}

// lane is the messages of one key: one is ready, running or being settled, the rest waits.
type lane struct {
	key     string
	waiting []*item
}

// enter puts an item where it has to wait.
func (l *lanes) enter(it *item) {
	if key := it.d.Message.Key; key != "" {
		if ln := l.byKey[key]; ln != nil {
			ln.waiting = append(ln.waiting, it)
			return
		}
		if l.byKey == nil {
			l.byKey = make(map[string]*lane)
		}
		it.lane = &lane{key: key}
		l.byKey[key] = it.lane
	}
	l.offer(it)
}

// offer makes an item that holds its lane ready, or a suspect wait for its turn.
func (l *lanes) offer(it *item) {
	if it.d.Lost > 0 && !it.suspect {
		if l.suspect {
			l.suspects.push(it.no)
			return
		}
		l.suspect, it.suspect = true, true
	}
	l.ready.push(it.no)
}

// pass gives the lane to the next of its key.
func (l *lanes) pass(it *item) {
	ln := it.lane
	if ln == nil {
		return
	}
	it.lane = nil
	if len(ln.waiting) == 0 {
		delete(l.byKey, ln.key)
		return
	}
	next := ln.waiting[0]
	ln.waiting = ln.waiting[1:]
	next.lane = ln
	l.offer(next)
}

// empty takes out all who wait behind it in its lane and ends the lane.
func (l *lanes) empty(it *item) []*item {
	ln := it.lane
	if ln == nil {
		return nil
	}
	it.lane = nil
	delete(l.byKey, ln.key)
	return ln.waiting
}

// leave frees what it holds: its lane and the place of the one suspect.
func (l *lanes) leave(it *item) {
	l.pass(it)
	if !it.suspect {
		return
	}
	it.suspect, l.suspect = false, false
	if no, ok := l.suspects.pop(); ok {
		l.offer(l.items.at(no))
	}
}

// unstarted takes out everything that no worker has begun.
func (l *lanes) unstarted() []*item {
	var all []*item
	for _, f := range []*fifo{&l.ready, &l.suspects} {
		for no, ok := f.pop(); ok; no, ok = f.pop() {
			all = append(all, l.items.at(no))
		}
	}
	for _, ln := range l.byKey {
		all = append(all, ln.waiting...)
		ln.waiting = nil
	}
	return all
}
