package port

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Leases are names that one holder at a time has for a while. Leaders, locks, semaphore slots and members of a cluster are
// leases. The clock rules that make a holder safe are the caller's; the backend decides who holds.
type Leases interface {
	// Acquire grants want.Name to want.Nonce for ttl, and returns the lease with its token. It does not wait (where the
	// record's end must be observed, it does so within ctx). While the same nonce holds it, Acquire renews: the token
	// stays, Data and Owner become want's; so an Acquire of unknown outcome is repeated. While another nonce holds it,
	// whatever the Owner, it returns that lease beside [ErrHeld].
	//
	// A new grant's token is larger than that of every grant before it and than want.Seen; it is the largest of the last
	// token + 1, want.Seen + 1, and the server's time in microseconds, and it is never forgotten with the lease.
	Acquire(ctx context.Context, want Lease, ttl time.Duration) (Lease, error)

	// Renew gives each held lease ttl from now, by Name, Nonce and Token; Data and Owner stay. It answers one lease and
	// one error for each, in order: [ErrLost] when that nonce and token do not hold it any more. A lease that ran out
	// stays lost, even when nobody else took it.
	Renew(ctx context.Context, ttl time.Duration, held ...Lease) ([]Lease, []error)

	// Release gives each lease back, by Name, Nonce and Token; Token 0 compares the nonce alone, for an Acquire of unknown
	// outcome. It answers one error for each, in order: [ErrLost] when that nonce and token do not hold it.
	Release(ctx context.Context, held ...Lease) []error

	// Holders lists the leases that are held and whose name begins with prefix, by name; every one for "". Nonces are left
	// out. It is an estimate where Caps.LinearReads is false; only Acquire decides.
	Holders(ctx context.Context, prefix string) ([]Lease, error)

	// WatchLeases yields hints that a lease whose name begins with prefix was granted, changed or released: look again. It
	// is live when it returns, and single use. A hint may be spurious, doubled, or missing, and one that a lease ran out
	// need not come: polling stays the truth. Only Name is promised to be set. It ends as [Signals].Listen does.
	WatchLeases(ctx context.Context, prefix string) (iter.Seq2[Lease, error], error)
}

// Lease is one name and who has it.
type Lease struct {
	Name  string
	Owner string        // who, for people to read; 1 to MaxKey bytes
	Nonce string        // who, for the backend: 128 random bits as text, per call of Join, Lead or Lock; 1 to MaxName bytes
	Seen  uint64        // to Acquire: the largest token that the caller has seen; default 0
	Token uint64        // fencing token; grows with each grant of the name, stays within one
	Data  []byte        // what the holder tells of itself; at most MaxData bytes
	TTL   time.Duration // from the backend: what is left, or what was granted
}

// Check answers [ErrInvalid] for a lease that cannot be acquired for ttl.
func (l Lease) Check(c Caps, ttl time.Duration) error {
	if err := CheckName("lease", l.Name); err != nil {
		return err
	}
	if CheckKey("", l.Owner) != nil {
		return CheckKey(l.what()+": owner", l.Owner)
	}
	if checkNonce("", l.Nonce) != nil {
		return checkNonce(l.what(), l.Nonce)
	}
	if l.Seen >= MaxToken {
		return fmt.Errorf("%s: seen token %d is not below 2^53-1: %w", l.what(), l.Seen, ErrInvalid)
	}
	if len(l.Data) > MaxData {
		return fmt.Errorf("%s: data of %d bytes, at most %d are allowed: %w", l.what(), len(l.Data), MaxData, ErrInvalid)
	}
	if CheckTTL(c, "", ttl, false) != nil {
		return CheckTTL(c, l.what(), ttl, false)
	}
	return nil
}

// what names the lease in errors. It is put together only where one is.
func (l Lease) what() string { return "lease " + brief(l.Name) }

// CheckHeld answers [ErrInvalid] for a lease that cannot be renewed, or released where anyToken leaves the token open.
func (l Lease) CheckHeld(anyToken bool) error {
	if err := CheckName("lease", l.Name); err != nil {
		return err
	}
	if checkNonce("", l.Nonce) != nil {
		return checkNonce(l.what(), l.Nonce)
	}
	if anyToken && l.Token == 0 {
		return nil
	}
	if checkToken("", l.Token) != nil {
		return checkToken(l.what(), l.Token)
	}
	return nil
}

// CheckPrefix answers [ErrInvalid] for a prefix that no lease's name can begin with.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	name := prefix
	if name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	return CheckName("prefix", name)
}

func checkNonce(what, nonce string) error {
	if nonce == "" || len(nonce) > MaxName {
		return fmt.Errorf("%s: the nonce has %d bytes, 1 to %d are allowed: %w", what, len(nonce), MaxName, ErrInvalid)
	}
	return nil
}
