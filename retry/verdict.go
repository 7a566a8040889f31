package retry

import (
	"errors"
	"time"
)

// Permanent marks err as one that trying again cannot help. The message stays the same, and errors.Is and errors.As see
// through the mark. Permanent of nil is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by Permanent.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// After marks err with how long to wait before the next try, as a server that is asked too often says it. The delay takes
// the place of the Backoff's; less than zero is zero. It sets the wait and grants no try: Tries and Permanent go before it.
// The message stays the same, and errors.Is and errors.As see through the mark. After of nil is nil.
func After(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return after{err, max(d, 0)}
}

// AfterDelay returns the delay that err, or the first error that it wraps, was marked with by After, and whether there is one.
func AfterDelay(err error) (time.Duration, bool) {
	a, ok := errors.AsType[after](err)
	return a.delay, ok
}

type after struct {
	error
	delay time.Duration
}

func (a after) Unwrap() error { return a.error }
