// Package porttest is the contract of package port, executable: one call proves an adapter. A case is a sentence about what a
// backend does, and carries the rule of the port that it enforces. No case knows a backend: what port.Caps claim is tested,
// what they do not claim must be refused.
//
// What may not enter: the name, the error text or a timing of any one backend.
package porttest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/port"
)

// Suite says how to open the backend that is to be proved.
type Suite struct {
	// Open is one process on a namespace; two calls with one namespace are two processes. It is called inside the bubble where
	// there is one, opens without leave to Clear, and closes by t.Cleanup. A namespace is 1 to 20 of a-z and 0-9, and new for
	// each case and each run.
	Open func(t *testing.T, namespace string) port.Backend
	// OpenClear is Open with leave to Clear; default nil: no such leave can be had, and only its absence is tested.
	OpenClear func(t *testing.T, namespace string) port.Backend
	// Bubble runs each case in a bubble of testing/synctest; default false: in real time, many cases at once.
	Bubble bool
	// Slack is what the backend, and the machine under it, may take between two calls where loans, leases and delays run meanwhile;
	// default 1 s. A case that waits for their ends takes a few times as long.
	Slack time.Duration
}

// Run proves the backend that s opens, with one subtest for each case.
func Run(t *testing.T, s Suite) { s.run(t, rules()) }

func (s Suite) run(t *testing.T, rules []rule) {
	if s.Bubble {
		for _, r := range rules {
			t.Run(r.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { s.prove(t, r) }) })
		}
		return
	}
	// Cases spend their time waiting for loans and leases to end. t.Parallel would let no more of them wait at once than there
	// are processors, so they run side by side here.
	gate := make(chan struct{}, sideBySide)
	var wg sync.WaitGroup
	for _, r := range rules {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			t.Run(r.name, func(t *testing.T) { s.prove(t, r) })
		})
	}
	wg.Wait()
}

// sideBySide is how many cases run at once in real time.
const sideBySide = 24

// prove runs one case and reports what it found, with its rule.
func (s Suite) prove(t *testing.T, r rule) {
	h := house{open: s.Open, openClear: s.OpenClear, t: t, bubble: s.Bubble, slack: s.Slack}
	for _, f := range r.try(t.Context(), h) {
		t.Errorf("%s\n\trule: %s", f, r.text)
	}
}

// rule is one case: its name is what a backend does, its text the sentence of the port that says so.
type rule struct {
	name string
	text string
	run  func(t *trial)
}

func rules() []rule {
	return slices.Concat(
		capsRules(), closeRules(), argumentRules(), nameRules(), signalRules(),
		topicRules(), dropRules(), joinRules(), fetchRules(), loanRules(), accountRules(),
		settleRules(), thenRules(), windowRules(), rememberRules(), addressedRules(), delayRules(),
		readRules(), retentionRules(), stepRules(), fenceRules(), atomicRules(),
		kvRules(), counterRules(), ttlRules(), keysRules(),
		leaseRules(), tokenRules(), watchRules(), crowdRules(),
	)
}

// house opens processes for one case.
type house struct {
	t               *testing.T
	open, openClear func(t *testing.T, namespace string) port.Backend
	bubble          bool
	slack           time.Duration // 0: the default
}

// try runs the case and returns what it found. It does not fail the test that opens the processes, so that a test may look at a
// backend that is broken on purpose.
func (r rule) try(ctx context.Context, h house) []string {
	t := newTrial(ctx, h)
	t.play(r.run)
	return t.failures
}
