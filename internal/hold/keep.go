package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Outcome says how a hold ended.
type Outcome struct {
	Lost    error // why it was lost before fn returned, matching Config.Lost; nil: it was held to the end
	Overran bool  // fn went on for longer than Drain after the loss: then it must not be released but left to expire
}

// Keep runs fn while something is held, and renews it on the side. sent is the moment before the request was sent that
// granted it. Keep returns fn's error when fn has returned; only then may the caller release, and only if fn did not overrun.
//
// The ctx of fn ends when ctx does, with its cause, and at the step-down: Terms.StepDown after the last successful renewal
// was *sent*, with a cause that matches Config.Lost. A ctx that ends by the caller does not end the renewals: they go on until fn has
// returned, however long it takes, so that nobody else starts before.
//
// renew returns nil when the store has renewed; an error that matches Config.Lost when it refused for good, which ends the
// hold at once; any other error leaves open what happened, extends nothing, and is followed by further attempts until
// the step-down. renew must return when its ctx ends. If it does not, the step-down comes in time all the same, but Keep waits for it.
//
// On loss, in this order: Held turns false; fn's ctx ends; Keep waits for fn. If that takes longer than Drain, Config.Overran
// is called. Keep always waits for fn: it starts no goroutine that it leaves behind.
//
// A grant that is past its step-down already runs no fn: the error and Outcome.Lost say so. A Config that Terms refuses is ErrInvalid.
func Keep(ctx context.Context, c Config, sent Instant, renew func(context.Context) error, fn func(context.Context, *Hold) error) (Outcome, error) {
	terms, err := c.Terms()
	if err != nil {
		return Outcome{}, err
	}
	fnCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k := &keeper{
		hold:   &Hold{terms: terms},
		terms:  terms,
		renew:  renew,
		cancel: cancel,
		ended:  make(chan struct{}),
		sent:   sent,
		next:   terms.jittered(terms.Period, terms.Random()),
	}
	now := terms.Clock.Now()
	if k.expired(now) {
		k.lose(now, "granted too late")
		return k.outcome, k.outcome.Lost
	}
	k.publish(now)
	// The keeper begins when it has to look at the clock for the first time. What is held more briefly ends before that.
	var began sync.WaitGroup
	began.Add(1)
	first := time.AfterFunc(k.nap, func() {
		defer began.Done()
		k.run(context.WithoutCancel(ctx))
	})
	err = func() error {
		defer func() {
			close(k.ended)
			if !first.Stop() {
				began.Wait()
				return
			}
			k.finish(terms.Clock.Now())
			k.hold.term.Store(nil)
		}()
		return fn(fnCtx, k.hold)
	}()
	return k.outcome, err
}

// keeper is the state of one Keep. Its goroutine alone touches it while fn runs; Keep does when fn returned before that began.
type keeper struct {
	hold   *Hold
	terms  Terms
	renew  func(context.Context) error
	cancel context.CancelCauseFunc // ends fn's ctx
	ended  chan struct{}           // closed when fn has returned

	sent     Instant       // before the last successful renewal was sent
	next     time.Duration // after sent: when the next renewal is due
	busy     bool          // a renewal is under way
	failures int           // in a row
	failure  error         // the last of them

	asleep Instant       // when the keeper last waited
	nap    time.Duration // for how long at the most
	gaps   int           // how often it came back late
	doubt  bool          // it did, and no renewal has been sent and succeeded since

	outcome Outcome
}

// answer is how one renewal went.
type answer struct {
	sent Instant
	gaps int
	err  error
}

func (k *keeper) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer k.hold.term.Store(nil)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	// The deadline is a timer of its own that only success re-arms. What the timer does not see, the machine's suspension,
	// the keeper sees at its next look.
	deadline := time.NewTimer(k.terms.StepDown - k.terms.Clock.Since(k.sent))
	defer deadline.Stop()
	look := time.NewTimer(k.nap)
	defer look.Stop()
	answers := make(chan answer, 1)
	var heard *answer
	for {
		now := k.terms.Clock.Now()
		if k.expired(now) {
			k.lose(now, "not renewed in time")
		} else {
			k.noticeGap(now)
			if heard != nil && k.hear(now, *heard) {
				deadline.Reset(k.terms.StepDown - now.Sub(k.sent))
			}
		}
		if k.outcome.Lost != nil {
			stop()
			k.drain(now)
			return
		}
		if !k.busy && now.Sub(k.sent) >= k.next {
			k.attempt(ctx, &wg, answers)
		}
		k.publish(now)
		look.Reset(k.nap)

		heard = nil
		select {
		case <-k.ended:
			k.finish(k.terms.Clock.Now())
			return
		case <-deadline.C:
		case <-look.C:
		case a := <-answers:
			heard = &a
		}
	}
}

// attempt sends a renewal and has its answer put into answers, which has room for it.
func (k *keeper) attempt(ctx context.Context, wg *sync.WaitGroup, answers chan<- answer) {
	k.busy = true
	a := answer{sent: k.terms.Clock.Now(), gaps: k.gaps}
	ctx, stop := context.WithTimeout(ctx, k.terms.attemptTime(k.terms.StepDown-a.sent.Sub(k.sent)))
	wg.Go(func() {
		defer stop()
		a.err = k.renew(ctx)
		answers <- a
	})
}

// hear takes the answer of a renewal in, and reports whether it succeeded.
func (k *keeper) hear(now Instant, a answer) bool {
	k.busy = false
	switch {
	case a.err == nil:
		k.failures, k.failure = 0, nil
		k.sent, k.next = a.sent, k.terms.jittered(k.terms.Period, k.terms.Random())
		if k.doubt = k.doubt && a.gaps != k.gaps; k.doubt {
			k.next = 0 // it was sent before the gap: once more, at once
		}
		if k.expired(now) {
			k.lose(now, "renewed too late")
		}
		return true
	case errors.Is(a.err, k.terms.Lost):
		k.failure = a.err
		k.lose(now, "refused")
	default:
		k.failures++
		k.failure = a.err
		e := now.Sub(k.sent)
		k.next = never
		if wait := k.terms.retryAfter(k.failures, k.terms.StepDown-e, k.terms.Random()); wait != never {
			k.next = e + wait
		}
	}
	return false
}

// noticeGap checks whether the keeper was scheduled in time. If not, nothing counts as held until a renewal that is sent
// from now on succeeds, and one is due at once.
func (k *keeper) noticeGap(now Instant) {
	if now.Sub(k.asleep) > k.nap+k.terms.tick {
		k.gaps++
		k.doubt = true
		k.next = 0
	}
}

// publish tells Held until when it may say yes without hearing from the keeper again, and sets how long the keeper
// may wait: a keeper that is not back a quarter of Drain after that was not scheduled, and Held sees it before the keeper does.
func (k *keeper) publish(now Instant) {
	e := now.Sub(k.sent)
	k.asleep, k.nap = now, min(k.terms.tick, k.terms.StepDown-e)
	if !k.busy {
		k.nap = min(k.nap, max(k.next-e, 0))
	}
	t := k.hold.term.Load()
	switch {
	case t == nil && k.hold.first.sent == Instant{}:
		t = &k.hold.first
		t.sent, t.wall = k.sent, k.sent.at.UnixNano()
	case t == nil || t.sent != k.sent:
		t = &term{sent: k.sent, wall: k.sent.at.UnixNano()}
	}
	var limit time.Duration
	if !k.doubt {
		unseen := e - now.awake().Sub(k.sent) // suspensions that glance does not see
		limit = min(k.terms.StepDown, e+k.nap+k.terms.tick) - unseen
	}
	t.limit.Store(int64(limit))
	k.hold.term.Store(t)
}

func (k *keeper) expired(now Instant) bool { return now.Sub(k.sent) >= k.terms.StepDown }

// lose marks what is held as lost and only then ends fn's ctx.
func (k *keeper) lose(now Instant, why string) {
	k.hold.term.Store(nil)
	cause := fmt.Errorf("hold: %s: %v since the last renewal was sent, good for %v: %w",
		why, now.Sub(k.sent).Round(time.Millisecond), k.terms.StepDown, k.terms.Lost)
	if k.failure != nil {
		cause = fmt.Errorf("%w: %w", cause, k.failure)
	}
	k.outcome.Lost = cause
	k.cancel(cause)
}

// drain waits for fn to return after a loss at the moment lost, and reports when it takes longer than it may.
func (k *keeper) drain(lost Instant) {
	left := k.terms.Drain
	if until := k.terms.Valid - lost.Sub(k.sent); until < left {
		left = until
	}
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case <-k.ended:
		if k.terms.Clock.Since(lost) < left {
			return
		}
	case <-late.C:
	}
	k.overrun()
	<-k.ended
}

func (k *keeper) overrun() {
	k.outcome.Overran = true
	if k.terms.Overran != nil {
		k.terms.Overran()
	}
}

// finish judges a hold whose fn has returned before any loss was noticed.
func (k *keeper) finish(now Instant) {
	k.noticeGap(now)
	switch {
	case k.expired(now):
		k.lose(now, "not renewed in time")
		if now.Sub(k.sent) >= k.terms.Valid {
			k.overrun()
		}
	case k.doubt:
		k.lose(now, "the process was stopped, and nothing renewed since")
	}
}
