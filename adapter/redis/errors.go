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

// refusals are answers of the server after which nothing has happened, by what is in them, with what to do. They are looked
// for anywhere in the text: an error out of a script has them in the middle.
var refusals = []struct{ sign, remedy string }{
	{"OOM command not allowed", "the server's memory is full: raise maxmemory, or take off what fills it"},
	{"READONLY", "this is a replica that is read only: connect to the master"},
	{"LOADING", "the server is reading its data from disk: it answers when it has done so"},
	{"MASTERDOWN", "this replica has lost its master: connect to the master"},
	{"MISCONF", "the server cannot save to disk and refuses writes: look at its disk and log"},
	{"NOREPLICAS", "fewer replicas are there than min-replicas-to-write asks for"},
	{"NOAUTH", "the server asks for a password: give it in the URL, PasswordEnv or PasswordFile"},
	{"WRONGPASS", "the server refused the user or the password"},
	{"NOPERM", "the server's access list does not let this user do it: docs/redis.md names what is needed"},
	{"max number of clients", "the server has no room for another connection: raise maxclients"},
	{"BUSY Redis is busy", "a script of somebody runs too long on the server"},
	{"CLUSTERDOWN", "the cluster does not serve this key"},
	{"unknown command", "the server is older than 6.2, or has the command renamed"},
	{"MUSTER ", "the keys of the topic are not whole"},
}

// fail wraps err of what was done with the sentinel that fits. Writes says whether it may have had an effect.
func (b *Backend) fail(ctx context.Context, what string, err error, writes bool) error {
	if err == nil {
		return nil
	}
	if b.ctx.Err() != nil {
		return fmt.Errorf("redis: %s: %w", what, port.ErrClosed)
	}
	if answer, ok := rueidis.IsRedisErr(err); ok {
		return fmt.Errorf("redis: %s: %w", what, refused(answer.Error(), writes))
	}
	unknown := port.ErrUnavailable
	if writes {
		unknown = port.ErrUncertain
	}
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		if writes {
			return fmt.Errorf("redis: %s: %w: %w", what, port.ErrUncertain, context.Cause(ctx))
		}
		return fmt.Errorf("redis: %s: %w", what, context.Cause(ctx))
	}
	b.forget()
	if _, ok := errors.AsType[*dialError](err); ok || isDial(err) {
		return fmt.Errorf("redis: %s: %s: %w: %w", what, b.where, port.ErrUnavailable, err)
	}
	return fmt.Errorf("redis: %s: %s: %w: %w", what, b.where, unknown, err)
}

func refused(answer string, writes bool) error {
	for _, r := range refusals {
		if strings.Contains(answer, r.sign) {
			return fmt.Errorf("%w: %s: %s", port.ErrUnavailable, r.remedy, answer)
		}
	}
	switch {
	case strings.Contains(answer, "WRONGTYPE"):
		return fmt.Errorf("%w: somebody else keeps another type of value under this key: delete it, or use another namespace: %s", port.ErrInvalid, answer)
	case writes:
		return fmt.Errorf("%w: %s", port.ErrUncertain, answer)
	default:
		return fmt.Errorf("%w: %s", port.ErrUnavailable, answer)
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
