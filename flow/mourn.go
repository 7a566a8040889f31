package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// mourn makes runs failed whose message went to the dead letters of a phase. It is a group of its own there, which tries without
// end: its letters are nobody's.
func (s store) mourn(ctx context.Context, n *node, like bus.Group) error {
	g := bus.Group{
		Name: "runs", Workers: 2, Loan: like.Loan, Grace: like.Grace, Worker: like.Worker, Log: like.Log,
		Retry: retry.Backoff{Tries: -1}, Crashes: 1 << 30,
	}
	return bus.DeadTopic(s.d.topic(n).Name, group).Subscribe(ctx, s.b, g, func(ctx context.Context, m bus.Message[bus.DeadLetter]) error {
		d := m.Payload
		meta, _, err := envelope.Parse(d.Body)
		if err != nil {
			g.Log.WarnContext(ctx, "a dead letter is no message of a run", "topic", d.Topic, "id", d.ID, "error", err)
			return nil
		}
		id, visit, err := address(meta.Headers)
		if err != nil {
			g.Log.WarnContext(ctx, "a dead letter is no message of a run", "topic", d.Topic, "id", d.ID, "error", err)
			return nil
		}
		now, was, err := s.load(ctx, id)
		switch {
		case errors.Is(err, port.ErrNotFound):
			return nil
		case away(err):
			return bus.Later(time.Second, err)
		case err != nil:
			return err
		case now.Visit != visit, now.State.Over():
			return nil
		}
		at := time.Now().UTC()
		now.State, now.Reason, now.Ended = Failed, clip(d.Reason), at
		v := now.current()
		now.Failure = &Failure{
			Phase: n.name, Visit: visit, Reason: now.Reason, Attempts: d.Attempts, Crashes: d.Crashes, Letter: d.ID,
		}
		v.Error = now.Reason
		r := v.record(Buried, at)
		r.Reason, r.Input, r.Notes = now.Reason, v.Input, v.Notes
		return enter(m, s.d, was, &now, r)
	})
}

// ErrFailed and ErrCancelled are matched by a [RunError].
var (
	ErrFailed    = errors.New("run failed")
	ErrCancelled = errors.New("run cancelled")
)

// RunError tells why a run has no result. It matches [ErrFailed] or [ErrCancelled].
type RunError struct {
	Run     string
	State   State // Failed or Cancelled
	Phase   string
	Reason  string
	Failure Failure // of a failed run
}

// Error names the run, the phase and the reason.
func (e *RunError) Error() string {
	return fmt.Sprintf("run %q %s in phase %q: %s", e.Run, e.State, e.Phase, e.Reason)
}

// Is reports whether target is [ErrFailed] of a failed run, or [ErrCancelled] of a cancelled one.
func (e *RunError) Is(target error) bool {
	return target == ErrFailed && e.State == Failed || target == ErrCancelled && e.State == Cancelled
}

// failure is the error of a run that is over without a result; nil for any other.
func (s *Status) failure() error {
	if s.State != Failed && s.State != Cancelled {
		return nil
	}
	e := &RunError{Run: s.ID, State: s.State, Phase: s.Phase, Reason: s.Reason}
	if s.Failure != nil {
		e.Failure = *s.Failure
	}
	return e
}

// cancelled reports whether err says that this very run was cancelled.
func cancelled(err error, id string) bool {
	e, ok := errors.AsType[*RunError](err)
	return ok && e.Run == id && e.State == Cancelled
}
