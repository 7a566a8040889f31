package bus

import (
	"errors"
	"time"

	"github.com/musterhq/muster/retry"
)

// ErrRejected is matched by what [Reject] returns.
var ErrRejected = errors.New("rejected")

// Reject is the verdict that err will not go away: the message goes to the dead letters now, whatever tries are left.
// retry.Permanent is the same verdict. A nil err is the reason "rejected".
func Reject(err error) error { return &rejected{err} }

type rejected struct{ err error }

func (r *rejected) Error() string {
	if r.err == nil {
		return ErrRejected.Error()
	}
	return r.err.Error()
}

func (r *rejected) Unwrap() error        { return r.err }
func (r *rejected) Is(target error) bool { return target == ErrRejected }

// ErrLater is matched by what [Later] returns.
var ErrLater = errors.New("later")

// Later is the verdict that the time has not come: the message comes again after d, and that is no failure. A message may be put
// off without end. A nil err is the reason "later".
//
// For a failure that shall come again after a wait of its own, return retry.After.
func Later(d time.Duration, err error) error { return &later{max(d, 0), err} }

type later struct {
	wait time.Duration
	err  error
}

func (l *later) Error() string {
	if l.err == nil {
		return ErrLater.Error()
	}
	return l.err.Error()
}

func (l *later) Unwrap() error        { return l.err }
func (l *later) Is(target error) bool { return target == ErrLater }

// rejects reports whether err sends the message to the dead letters at once.
func rejects(err error) bool { return errors.Is(err, ErrRejected) || retry.IsPermanent(err) }
