package memory

import "time"

// loanList is the loans of one length, in the order in which they run out: every new one runs out last.
type loanList struct {
	length     time.Duration
	head, tail *item
}

// mostLoanLists is how many lengths of loans a group keeps a list for while nothing is lent for them.
const mostLoanLists = 8

func (g *group) loanList(length time.Duration) *loanList {
	for _, l := range g.loans {
		if l.length == length {
			return l
		}
	}
	if len(g.loans) >= mostLoanLists {
		kept := g.loans[:0]
		for _, l := range g.loans {
			if l.head != nil {
				kept = append(kept, l)
			}
		}
		clear(g.loans[len(kept):])
		g.loans = kept
	}
	l := &loanList{length: length}
	g.loans = append(g.loans, l)
	return l
}

func (l *loanList) push(it *item) {
	it.list, it.prev, it.next = l, l.tail, nil
	if l.tail == nil {
		l.head = it
	} else {
		l.tail.next = it
	}
	l.tail = it
}

// unlist takes it out of the list that it stands in, if any.
func (it *item) unlist() {
	l := it.list
	if l == nil {
		return
	}
	if it.prev == nil {
		l.head = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		l.tail = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.list, it.prev, it.next = nil, nil, nil
}
