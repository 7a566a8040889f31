package hold

import (
	"sync"
	"time"
)

// Book keeps the times of many loans with one Config that are extended by the batch. It starts no goroutine and does no I/O: one
// loop of its owner sleeps for Next, extends what is Due, answers with Extended, Failed or Remove, and gives up what is Lost.
// It is safe for concurrent use. K names a loan, such as its receipt.
type Book[K comparable] struct {
	terms Terms

	mu    sync.Mutex
	loans map[K]loan
}

type loan struct {
	sent     Instant       // before the grant or the last successful extension was sent
	due      time.Duration // after sent: when it is to be extended; never while that is under way
	failures int           // in a row
}

// NewBook returns an empty book, or ErrInvalid as Config.Terms has it.
func NewBook[K comparable](c Config) (*Book[K], error) {
	terms, err := c.Terms()
	if err != nil {
		return nil, err
	}
	return &Book[K]{terms: terms, loans: map[K]loan{}}, nil
}

// Add enters loans that were granted by a request, sent at the given moment or later. A request that waits long for something
// to be granted uses up the loans before they arrive: they are Due at once, or Lost. So it waits for a small part of
// Lease, or its caller relies on the store alone (receipts that are fenced) and passes the moment of the receipt.
func (b *Book[K]) Add(sent Instant, loans ...K) {
	l := loan{sent: sent, due: b.terms.jittered(b.terms.Period, b.terms.Random())}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range loans {
		b.loans[k] = l
	}
}

// Extended enters that loans were extended by a request that was sent at the given moment. What is not in the book stays out.
func (b *Book[K]) Extended(sent Instant, loans ...K) {
	due := b.terms.jittered(b.terms.Period, b.terms.Random())
	b.update(loans, func(loan) loan { return loan{sent: sent, due: due} })
}

// Failed enters that it is not known whether loans were extended. They are Due again after an eighth of Period, then after twice
// as long each time, as long as that is before they are Lost. What is not in the book stays out.
func (b *Book[K]) Failed(loans ...K) {
	now, rnd := b.terms.Clock.Now(), b.terms.Random()
	b.update(loans, func(l loan) loan {
		e := now.Sub(l.sent)
		l.failures++
		l.due = b.terms.retryAfter(l.failures, b.terms.StepDown-e, rnd)
		if l.due != never {
			l.due += e
		}
		return l
	})
}

// Remove takes loans out: settled, or refused by the store.
func (b *Book[K]) Remove(loans ...K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range loans {
		delete(b.loans, k)
	}
}

// Held reports whether a loan is in the book and not past its step-down. It is one look-up and one reading of the clocks.
func (b *Book[K]) Held(k K) bool {
	b.mu.Lock()
	l, ok := b.loans[k]
	b.mu.Unlock()
	return ok && b.terms.Clock.Since(l.sent) < b.terms.StepDown
}

// Due returns the loans that are to be extended now, and how long the request may take. Each is returned once, until Extended or
// Failed says how it went.
func (b *Book[K]) Due() (loans []K, timeout time.Duration) {
	now := b.terms.Clock.Now()
	timeout = b.terms.Attempt
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, l := range b.loans {
		e := now.Sub(l.sent)
		if e < l.due || e >= b.terms.StepDown {
			continue
		}
		loans = append(loans, k)
		timeout = min(timeout, b.terms.attemptTime(b.terms.StepDown-e))
		l.due = never
		b.loans[k] = l
	}
	return loans, max(timeout, b.terms.Period/8) // one loan near its end does not cut off the others
}

// Lost takes the loans out that are past their step-down, and returns them. They are not ours any more: what works on them has
// Drain to stop, and Valid after they were sent someone else may have them.
func (b *Book[K]) Lost() (loans []K) {
	now := b.terms.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, l := range b.loans {
		if now.Sub(l.sent) >= b.terms.StepDown {
			loans = append(loans, k)
			delete(b.loans, k)
		}
	}
	return loans
}

// Next returns how long it takes until Due or Lost has something to return, and false if the book is empty. Timers do not
// see a suspension of the machine, so it is at most a quarter of Drain.
func (b *Book[K]) Next() (time.Duration, bool) {
	now := b.terms.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.terms.tick
	for _, l := range b.loans {
		next = min(next, min(l.due, b.terms.StepDown)-now.Sub(l.sent))
	}
	return max(next, 0), len(b.loans) > 0
}

func (b *Book[K]) update(loans []K, change func(loan) loan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range loans {
		if l, ok := b.loans[k]; ok {
			b.loans[k] = change(l)
		}
	}
}
