package memory

import "time"

// loanList is the loans of one length, in the order in which they run out: every new one runs out last.
type loanList struct {
	length      time.Duration
	first, last uint32 // their slots and 1; 0: none
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
			if l.first != 0 {
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

// head is the loan that runs out first. There must be one.
func (l *loanList) head(g *group) *item { return g.item(l.first - 1) }

func (l *loanList) push(g *group, it *item) {
	if it.list != l {
		it.list = l
	}
	it.listed, it.prev, it.next = true, l.last, 0
	if l.last == 0 {
		l.first = it.slot + 1
	} else {
		g.item(l.last - 1).next = it.slot + 1
	}
	l.last = it.slot + 1
}

// unlist takes it out of the list that it stands in, if any.
func (g *group) unlist(it *item) {
	if !it.listed {
		return
	}
	l := it.list
	if it.prev == 0 {
		l.first = it.next
	} else {
		g.item(it.prev - 1).next = it.next
	}
	if it.next == 0 {
		l.last = it.prev
	} else {
		g.item(it.next - 1).prev = it.prev
	}
	it.listed, it.prev, it.next = false, 0, 0
}
