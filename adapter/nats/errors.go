package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

var errNoStream = errors.New("the stream of this namespace does not exist, or JetStream does not serve it: if it was deleted, what it held is gone; open the namespace again to begin anew")

// ErrFull says that the namespace has reached its MaxBytes: nothing may be added until something is finished, trimmed or dropped, or
// the limit is raised. It comes beside [port.ErrUnavailable].
var ErrFull = errors.New("the namespace has reached its MaxBytes: let groups catch up and lower the limits of topics, or drop some")

var errNoLeader = errors.New("the servers of the cluster have not agreed yet on who leads the stream")

// Codes of refusals by JetStream, after which nothing has happened; of a failed store of a cluster that is not known.
const (
	codeNoPeers           = 10005 // not enough servers for the replicas
	codeNotAvailable      = 10008 // no leader of the cluster
	codeNotLeader         = 10009
	codeNoResources       = 10023
	codeNoReplicas        = 10074 // of a server that stands alone
	codeStoreFailed       = 10077
	codeOffline           = 10118 // no server of the stream
	codeIncomplete        = 10176 // the beginning of a batch came to nobody, or to a leader that is none any more
	codeManyBatches       = 10210 // too many atomic batches at a time
	codeWrongLast         = 10071 // a cell has moved
	codeWrongLastConstant = 10164 // a cell is being moved
	codeStreamNotFound    = 10059
	codeStreamExists      = 10058
)

// moved reports whether the server refused a step because a cell of it had changed.
func moved(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && (e.ErrCode == codeWrongLast || e.ErrCode == codeWrongLastConstant)
}

// passing reports whether nothing has happened because just then there was nobody to do it, as while a leader is elected.
func passing(err error) bool {
	if errors.Is(err, errNoStream) {
		return true
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return false
	}
	switch e.ErrCode {
	case codeNotAvailable, codeNotLeader, codeNoResources, codeOffline, codeIncomplete, codeManyBatches:
		return true
	}
	return false
}

// patient is how long what is refused in passing is tried again: an election takes some seconds, a server that stands alone has none.
func (b *Backend) patient() time.Duration {
	if b.cluster != "" {
		return b.conf.timeout()
	}
	return patience
}

// fail wraps err of what was done with the sentinel that fits. Writes says whether it may have had an effect.
func (b *Backend) fail(ctx context.Context, what string, err error, writes bool) error {
	if err == nil {
		return nil
	}
	if b.ctx.Err() != nil || errors.Is(err, port.ErrClosed) {
		return fmt.Errorf("nats: %s: %w", what, port.ErrClosed)
	}
	e, refused := errors.AsType[*apiError](err)
	if refused && e.ErrCode == codeStoreFailed && e.Description == "maximum bytes exceeded" { // more than the reserve within the second between two looks
		return fmt.Errorf("nats: %s: %s: %w: %w", what, b.where, ErrFull, port.ErrUnavailable)
	}
	if refused && (!writes || e.ErrCode != codeStoreFailed || b.cluster == "" || strings.Contains(e.Description, "maximum")) {
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
