package once

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

// ErrInProgress answers a caller who asked not to wait while somebody else is at it.
var ErrInProgress = errors.New("in progress")

// Ledger says where and how long results are recorded.
type Ledger struct {
	KV     port.KV       // required
	Prefix string        // of the keys; default "once."
	Lease  time.Duration // how long after a crash of the owner others take over; default 30 s
	Keep   time.Duration // how long a result is kept: longer than the oldest message that may be redriven; required
	NoWait bool          // answer ErrInProgress instead of waiting for somebody else; default false
}

// Outcome says where a result comes from.
type Outcome int

const (
	Ran      Outcome = iota + 1 // this call ran the function
	Recorded                    // another call did, before or meanwhile
)

// String is "ran" or "recorded".
func (o Outcome) String() string {
	switch o {
	case Ran:
		return "ran"
	case Recorded:
		return "recorded"
	default:
		return "nothing"
	}
}

// filled is l with its defaults, checked.
func (l Ledger) filled() (Ledger, error) {
	l.Prefix = cmp.Or(l.Prefix, "once.")
	l.Lease = cmp.Or(l.Lease, 30*time.Second)
	switch {
	case l.KV == nil:
		return l, fmt.Errorf("once: the ledger has no KV: %w", port.ErrInvalid)
	case l.Keep <= 0:
		return l, fmt.Errorf("once: the ledger's Keep %v must be positive: how long may a message be redriven?: %w", l.Keep, port.ErrInvalid)
	case l.Keep < l.Lease:
		return l, fmt.Errorf("once: the ledger's Keep %v is shorter than its lease %v: %w", l.Keep, l.Lease, port.ErrInvalid)
	}
	return l, nil
}
