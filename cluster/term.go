package cluster

import (
	"fmt"
	"time"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// Term is one time of holding something: the function that runs with it holds it, and it tells others who does. It is safe for
// concurrent use.
type Term struct {
	Name   string            // of the election, lock or semaphore
	Holder string            // the ID of who holds it
	Token  uint64            // fencing token: larger than that of every term before, and constant within this one
	Since  time.Time         // when it was asked for, by the holder's clock, for people to read
	Meta   map[string]string // what the holder tells of itself

	lease string
	held  *hold.Hold // nil where the term is somebody else's
	until time.Time  // where it is
}

// Held reports whether this process holds the term now. It compares the clock itself, so it is false in time even where the process
// was stopped and ctx has not ended yet. It costs one reading of the clock and does not allocate. It is false in the terms that
// Leader, Leaders and Who tell of.
func (t Term) Held() bool { return t.held != nil && t.held.Held() }

// Until returns the moment until which nobody else can hold it, as far as the last renewal goes; the zero time when it is lost.
// In the terms of Leader, Leaders and Who it is the end of the lease as the backend told it, an estimate. It is for people to read:
// only Held compares all clocks.
func (t Term) Until() time.Time {
	if t.held == nil {
		return t.until
	}
	return t.held.Until()
}

// Fence is what a step or a change of a backend carries, so that it is refused when somebody with a larger token was there before.
// Its name is that of the lease, and so never that of another kind of thing.
func (t Term) Fence() port.Fence { return port.Fence{Name: t.lease, Token: t.Token} }

// Guard runs fn if the term is held, and checks again afterwards. An error that matches [port.ErrLost] means that fn did not run, or,
// joined to fn's own error, that fn may have done something after the term. What that something is sent to refuses it by
// the token.
func (t Term) Guard(fn func() error) error {
	if t.held == nil {
		return fmt.Errorf("cluster: %q is held by %q and not by this process, so nothing was done: %w", t.Name, t.Holder, port.ErrLost)
	}
	return t.held.Guard(fn)
}

// seen is a term as another process sees it.
func seen(name string, l port.Lease) Term {
	n := noteOf(l)
	return Term{
		Name: name, Holder: l.Owner, Token: l.Token, Since: n.since(), Meta: n.Meta,
		lease: l.Name, until: time.Now().Add(l.TTL),
	}
}
