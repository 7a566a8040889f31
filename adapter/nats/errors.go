package nats

import (
	"context"
	"errors"
	"fmt"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

var errNoStream = errors.New("the stream of this namespace does not exist, or JetStream does not serve it: if it was deleted, what it held is gone; open the namespace again to begin anew")

// ErrFull says that the namespace has reached its MaxBytes: nothing may be added until something is finished, trimmed or dropped, or
// the limit is raised. It comes beside [port.ErrUnavailable].
var ErrFull = errors.New("the namespace has reached its MaxBytes: let groups catch up and lower the limits of topics, or drop some")

// Codes of refusals by JetStream, after which nothing has happened.
const (
	codeWrongLast         = 10071 // a cell has moved
	codeWrongLastConstant = 10164 // a cell is being moved
	codeNotStored         = 10077 // for the reason that the description tells
	codeStreamNotFound    = 10059
	codeStreamExists      = 10058
)

// moved reports whether the server refused a step because a cell of it had changed.
func moved(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && (e.ErrCode == codeWrongLast || e.ErrCode == codeWrongLastConstant)
}

// fail wraps err of what was done with the sentinel that fits. Writes says whether it may have had an effect.
func (b *Backend) fail(ctx context.Context, what string, err error, writes bool) error {
	if err == nil {
		return nil
	}
	if b.ctx.Err() != nil || errors.Is(err, port.ErrClosed) {
		return fmt.Errorf("nats: %s: %w", what, port.ErrClosed)
	}
	if e, ok := errors.AsType[*apiError](err); ok {
		if e.ErrCode == codeNotStored && e.Description == "maximum bytes exceeded" { // more than the reserve within the second between two looks
			return fmt.Errorf("nats: %s: %s: %w: %w", what, b.where, ErrFull, port.ErrUnavailable)
		}
		return fmt.Errorf("nats: %s: %s: %w: %w", what, b.where, port.ErrUnavailable, e)
	}
	if errors.Is(err, errNotSent) || errors.Is(err, errNoStream) {
		return fmt.Errorf("nats: %s: %s: %w: %w", what, b.where, port.ErrUnavailable, err)
	}
	if last := b.conn.LastError(); errors.Is(err, errSilent) && errors.Is(last, client.ErrPermissionViolation) {
		err = fmt.Errorf("%w: give the user what docs/nats.md lists: %w", err, last)
	}
	unknown := port.ErrUnavailable
	if writes {
		unknown = port.ErrUncertain
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		if writes {
			return fmt.Errorf("nats: %s: %w: %w", what, port.ErrUncertain, err)
		}
		return fmt.Errorf("nats: %s: %w", what, err)
	}
	return fmt.Errorf("nats: %s: %s: %w: %w", what, b.where, unknown, err)
}

// alive answers why a call cannot be made: the backend was closed, or its ctx has ended.
func (b *Backend) alive(ctx context.Context, what string) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("nats: %s: %w", what, port.ErrClosed)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nats: %s: %w", what, context.Cause(ctx))
	}
	return nil
}

// roomLeft answers why nothing may be added: the namespace has the size that it was made for.
func (b *Backend) roomLeft(what string) error {
	if b.full.Load() {
		return fmt.Errorf("nats: %s: %w: %w", what, ErrFull, port.ErrUnavailable)
	}
	return nil
}

// all is the same error n times.
func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}
