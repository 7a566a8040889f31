package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Refusals that may be the fault of one step of many.
const (
	fullMemory   = "OOM command not allowed"
	notPermitted = "NOPERM"
	notWhole     = "MUSTER "
)

// refusals are answers of the server after which nothing has happened, by what is in them, with what to do. They are looked
// for anywhere in the text: an error out of a script has them in the middle. The server gives them to a script at its first write
// at the latest, never after it.
var refusals = []struct{ sign, remedy string }{
	{fullMemory, "the server's memory is full: raise maxmemory, or take off what fills it"},
	{"READONLY", "this is a replica that is read only: connect to the master"},
	{"LOADING", "the server is reading its data from disk: it answers when it has done so"},
	{"MASTERDOWN", "this replica has lost its master: connect to the master"},
	{"MISCONF", "the server cannot save to disk and refuses writes: look at its disk and log"},
	{"NOREPLICAS", "fewer replicas are there than min-replicas-to-write asks for"},
	{"NOAUTH", "the server asks for a password: give it in the URL, PasswordEnv or PasswordFile"},
	{"WRONGPASS", "the server refused the user or the password: correct them in the URL, PasswordEnv or PasswordFile"},
	{notPermitted, "the server's access list does not let this user do it: docs/redis.md names what is needed"},
	{"without any password configured", "the server has no password and one was given: leave it out, or set requirepass on the server"},
	{"max number of clients", "the server has no room for another connection: raise maxclients"},
	{"BUSY Redis is busy", "a script of somebody runs too long on the server"},
	{"BUSY Valkey is busy", "a script of somebody runs too long on the server"},
	{"CLUSTERDOWN", "the cluster does not serve this key: a master is gone and no replica has taken its place yet"},
	{"TRYAGAIN", "the slot of this family moves from one server to another: it is served again when it has moved"},
	{"unknown command", "the server is older than 6.2, or has the command renamed"},
	{notWhole, "the keys of the topic are not whole"},
}

// forbidden reports whether the access list stopped a script in its midst, in the words of servers up to 7.0 and from 7.2 on.
func forbidden(answer string) bool {
	return strings.Contains(answer, "The user executing the script") || strings.Contains(answer, "ACL failure in script")
}

// fail wraps err of what was done with the sentinel that fits. Writes says whether it may have had an effect. What is left out when
// it is "": then the caller says it.
func (b *Backend) fail(ctx context.Context, what string, err error, writes bool) error {
	if err == nil {
		return nil
	}
	if what != "" {
		what = "redis: " + what + ": "
	}
	if b.ctx.Err() != nil {
		return fmt.Errorf("%s%w", what, port.ErrClosed)
	}
	if errors.Is(err, errUnsent) {
		return fmt.Errorf("%s%w", what, context.Cause(ctx))
	}
	if answer, ok := rueidis.IsRedisErr(err); ok {
		return fmt.Errorf("%s%s: %w", what, b.where, refused(answer.Error(), writes))
	}
	_, early := errors.AsType[*dialError](err)
	early = early || isDial(err)
	switch {
	case ctx.Err() != nil && early:
		return fmt.Errorf("%s%s: %w: %w", what, b.where, port.ErrUnavailable, context.Cause(ctx))
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		if writes {
			return fmt.Errorf("%s%s: %w: %w", what, b.where, port.ErrUncertain, context.Cause(ctx))
		}
		return fmt.Errorf("%s%w", what, context.Cause(ctx))
	}
	b.forget()
	if writes && !early {
		return fmt.Errorf("%s%s: %w: %w", what, b.where, port.ErrUncertain, err)
	}
	return fmt.Errorf("%s%s: %w: %w", what, b.where, port.ErrUnavailable, err)
}

func refused(answer string, writes bool) error {
	for _, r := range refusals {
		if strings.Contains(answer, r.sign) {
			return fmt.Errorf("%w: %s: %s", port.ErrUnavailable, r.remedy, answer)
		}
	}
	unknown := port.ErrUnavailable
	if writes {
		unknown = port.ErrUncertain
	}
	switch {
	case strings.Contains(answer, "WRONGTYPE"):
		return fmt.Errorf("%w: somebody else keeps another type of value under a key of this namespace: delete it, or use another namespace: %s", port.ErrInvalid, answer)
	case forbidden(answer):
		return fmt.Errorf("%w: the server's access list does not let this user do all of it: docs/redis.md names what is needed: %s", unknown, answer)
	default:
		return fmt.Errorf("%w: %s", unknown, answer)
	}
}

// isDial reports whether err is from before there was a connection, with a client that the caller brought.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// all is the same error n times.
func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// partly is err for a call of which some was done before: it is not true any more that nothing happened.
func partly(done int, err error) error {
	if done == 0 || err == nil || errors.Is(err, port.ErrUncertain) {
		return err
	}
	return &partError{done, err}
}

// partError hides that its cause, by itself, would mean that nothing has happened.
type partError struct {
	done  int
	cause error
}

func (e *partError) Error() string {
	return fmt.Sprintf("%v: the first %d of the call were done, and then: %v", port.ErrUncertain, e.done, e.cause)
}

func (e *partError) Is(target error) bool {
	return target == port.ErrUncertain || target != port.ErrUnavailable && errors.Is(e.cause, target)
}
