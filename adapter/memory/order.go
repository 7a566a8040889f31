package memory

// agenda is a heap of things by the time at which they are due, first in first out among equals.
type agenda[T any] struct {
	list  []dated[T]
	count uint64
}

type dated[T any] struct {
	at    int64
	order uint64
	thing T
}

func (a dated[T]) before(b dated[T]) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

// next is when the first thing is due, or never.
func (a *agenda[T]) next() int64 {
	if len(a.list) == 0 {
		return never
	}
	return a.list[0].at
}

func (a *agenda[T]) add(at int64, thing T) {
	a.count++
	a.list = append(a.list, dated[T]{at: at, order: a.count, thing: thing})
	a.up(len(a.list) - 1)
}

// pop takes the first thing out. There must be one.
func (a *agenda[T]) pop() (int64, T) {
	first := a.list[0]
	last := len(a.list) - 1
	a.list[0] = a.list[last]
	a.list[last] = dated[T]{}
	a.list = a.list[:last]
	a.down(0)
	return first.at, first.thing
}

// keep drops what is not to be kept.
func (a *agenda[T]) keep(wanted func(at int64, thing T) bool) {
	kept := a.list[:0]
	for _, d := range a.list {
		if wanted(d.at, d.thing) {
			kept = append(kept, d)
		}
	}
	clear(a.list[len(kept):])
	a.list = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		a.down(i)
	}
}

func (a *agenda[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !a.list[i].before(a.list[parent]) {
			return
		}
		a.list[i], a.list[parent] = a.list[parent], a.list[i]
		i = parent
	}
}

func (a *agenda[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(a.list) {
			return
		}
		if right := child + 1; right < len(a.list) && a.list[right].before(a.list[child]) {
			child = right
		}
		if !a.list[child].before(a.list[i]) {
			return
		}
		a.list[i], a.list[child] = a.list[child], a.list[i]
		i = child
	}
}

// fifo is a queue in one slice.
type fifo[T any] struct {
	list []T
	head int
}

func (q *fifo[T]) len() int { return len(q.list) - q.head }

// at is the element that i others are older than.
func (q *fifo[T]) at(i int) *T { return &q.list[q.head+i] }

func (q *fifo[T]) push(v T) {
	if q.head > 32 && q.head > len(q.list)/2 && len(q.list) == cap(q.list) {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, v)
}

func (q *fifo[T]) pop() T {
	var zero T
	v := q.list[q.head]
	q.list[q.head] = zero
	q.head++
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return v
}
