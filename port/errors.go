package port

import (
	"errors"
	"fmt"
	"strings"
)

// The sentinel errors of every port, matched with errors.Is. Adapters wrap them with the place and the cause.
var (
	ErrNotFound    = errors.New("not found")                     // what was named does not exist
	ErrConflict    = errors.New("conflict")                      // a condition did not hold; nothing of the step happened
	ErrDuplicate   = errors.New("duplicate")                     // an ID that is known already; see DuplicateError
	ErrHeld        = errors.New("held by another")               // the lease belongs to another nonce
	ErrLost        = errors.New("lost")                          // what the caller held or had joined is gone
	ErrStale       = errors.New("stale")                         // the receipt was settled or passed on, or the fence is old
	ErrGap         = errors.New("gap")                           // something between the last item and the next cannot be given
	ErrInvalid     = errors.New("invalid")                       // the argument is wrong; nothing happened
	ErrUnsupported = errors.New("unsupported")                   // this backend cannot; nothing happened
	ErrUnavailable = errors.New("unavailable: nothing happened") // the backend was not reached or refused; safe to do again
	ErrUncertain   = errors.New("outcome unknown")               // it may have happened
	ErrClosed      = errors.New("closed")                        // this backend was closed
)

// DuplicateError tells which messages were known already. It matches [ErrDuplicate].
type DuplicateError struct {
	IDs []string
	// Whole is true when nothing of the step was applied because all of it is a repetition: the message that was to be
	// acknowledged had been acknowledged before under the same ID. When false, only the messages named were left out, and
	// the rest of the step was applied.
	Whole bool
}

// Error names the IDs.
func (e *DuplicateError) Error() string {
	if e.Whole {
		return fmt.Sprintf("duplicate: %s was settled before, nothing of this step was applied", quoted(e.IDs))
	}
	return fmt.Sprintf("duplicate: %s left out, the rest was applied", quoted(e.IDs))
}

// Is reports whether target is [ErrDuplicate].
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// FenceError tells that a step came with a fencing token older than one that was seen before. It matches [ErrStale].
type FenceError struct {
	Name        string
	Token, Seen uint64
}

// Error names both tokens.
func (e *FenceError) Error() string {
	return fmt.Sprintf("stale fence %q: token %d came after token %d: a newer holder has acted, this one must stop", e.Name, e.Token, e.Seen)
}

// Is reports whether target is [ErrStale].
func (e *FenceError) Is(target error) bool { return target == ErrStale }

func quoted(ids []string) string {
	const most = 5
	var b strings.Builder
	for i, id := range ids {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(ids)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", id)
	}
	return b.String()
}
