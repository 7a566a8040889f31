package port

import (
	"context"
	"time"
)

// Backend is the union of the backend ports.
type Backend interface {
	Signals
	Queue
	KV
	Leases
	// Caps tells what this backend promises. The value is constant for the life of the backend.
	Caps() Caps
	// Health asks the backend and writes nothing.
	Health(ctx context.Context) Health
	// Stats counts what went through this open backend since it was opened.
	Stats(ctx context.Context) (Stats, error)
	// Close ends every waiting call with [ErrClosed]. Loans and leases stay and run out; a client that the caller brought
	// stays open. A second Close does nothing and returns nil.
	Close() error
}

// Atomicity says how much of a step is seen at once.
type Atomicity int

const (
	// AtomicNone: a step is decided as a whole (its conditions, receipts and removals are checked, the first settlement
	// wins) and then carried out part by part, so that others may see some of it for a while. A step that was decided is
	// finished even when its writer died: at the latest when somebody else touches one of its keys, fetches from one of
	// its topics, or would be handed its message again.
	AtomicNone Atomicity = iota
	// AtomicFamily: a step within one family is seen whole or not at all. A step across families is [ErrUnsupported].
	AtomicFamily
	// AtomicAll: any step is seen whole or not at all.
	AtomicAll
)

// Durability is the worst failure that no acknowledged write is lost to.
type Durability int

const (
	DurableNone    Durability = iota // not even the end of the process
	DurableProcess                   // kill -9 of the server
	DurableMachine                   // a power cut
	DurableQuorum                    // the loss of a minority of machines
)

// Caps is what a backend promises: plain values, constant for life. What is claimed is tested by port/porttest, what is not
// claimed is refused with [ErrUnsupported].
type Caps struct {
	Name            string        // of the adapter, as in "memory"
	Atomic          Atomicity     // how much of a step is seen at once
	Durable         Durability    // the worst failure that loses nothing
	LinearReads     bool          // Get and Holders see every acknowledged write; false: they are estimates
	FailoverGap     time.Duration // by how much a cache's bound grows at a fail-over of the server
	MinTTL          time.Duration // the shortest time to live of keys and leases
	Fenced          bool          // a receipt whose loan passed on cannot settle, not even first
	Exclusion       bool          // terms of a lease do not overlap in real time, given bounded clock rates
	TokenOrder      bool          // a later grant has a larger token
	DelayResolution time.Duration // how late a delayed message may come while the group is being fetched from
	MinLoan         time.Duration // the shortest loan
	MaxBody         int           // bytes of a message body, signal payload or key's value
	LiveSignals     bool          // Signal and Listen work; false: both are ErrUnsupported
	GapDetection    bool          // a listener that missed signals is told so by ErrGap
}

// State is how a backend is.
type State int

const (
	Unavailable State = iota // it does not answer
	Degraded                 // it answers, and a promise is in danger: Details say which
	Healthy                  // it answers and keeps what Caps say
)

// String is "unavailable", "degraded" or "healthy".
func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Degraded:
		return "degraded"
	default:
		return "unavailable"
	}
}

// Health is the answer of one check.
type Health struct {
	State     State
	RoundTrip time.Duration // of the question that was asked
	Details   []string      // whole sentences: what is wrong and what to do about it
}

// Stats are counters of one open backend, by name. Every adapter keeps these:
//
//	written     messages appended by Write and by steps of Settle, delayed and addressed ones included
//	duplicates  messages left out because their ID was known
//	fetched     deliveries handed out
//	acked       messages acknowledged
//	returned    messages returned
//	released    messages released
//	redelivered deliveries handed out with Lost > 0
//	stale       holds and settlements refused with ErrStale
//	conflicts   steps and changes refused because a condition did not hold
//	signals     signals sent
//	gaps        gaps told to listeners
type Stats struct {
	Counters map[string]int64
}
