package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

// Holder is one lease that somebody has.
type Holder struct {
	Kind string // lead, lock, read of a lock, or slot of a semaphore
	Slot int    // of a semaphore
	Term        // its Name is that of the election, lock or semaphore
}

// Who lists who holds what goes by a name: the election, the lock and the semaphore of that name, by kind. It is what the backend's
// lists say (an estimate where Caps.LinearReads is false).
func Who(ctx context.Context, l port.Leases, name string) ([]Holder, error) {
	var all []Holder
	for _, kind := range []string{kindLead, kindLock, kindSlot} {
		lease, err := leaseName(kind, name)
		if err != nil {
			return nil, err
		}
		held, err := l.Holders(ctx, lease)
		if err != nil {
			return nil, fmt.Errorf("cluster: who holds %q: %w", name, err)
		}
		for _, h := range held {
			rest, slot := strings.TrimPrefix(h.Name, lease), 0
			if kind == kindSlot {
				number, ok := strings.CutPrefix(rest, ".")
				n, err := strconv.Atoi(number)
				if !ok || err != nil {
					continue // of a longer name
				}
				rest, slot = "", n
			}
			switch {
			case rest != "":
			case kind == kindLock && noteOf(h).Read != "":
				readers, err := readersOf(ctx, l, name, h)
				if err != nil {
					return nil, err
				}
				all = append(all, readers...)
			default:
				all = append(all, Holder{Kind: kind, Slot: slot, Term: seen(name, h)})
			}
		}
	}
	return all, nil
}

// readersOf is who reads, of a lock that is held by readers.
func readersOf(ctx context.Context, l port.Leases, name string, lock port.Lease) ([]Holder, error) {
	c, err := (&bid{leases: l, name: name, what: fmt.Sprintf("lock %q", name), terms: hold.Terms{Config: hold.Config{Lease: defaultTTL}}}).crowd(ctx)
	if err != nil {
		return nil, err
	}
	var all []Holder
	for _, seat := range c.reading {
		t := seen(name, seat)
		t.lease, t.Token = lock.Name, lock.Token
		all = append(all, Holder{Kind: "read", Term: t})
	}
	return all, nil
}
