package cache

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Versioned is a value and the write that it is from.
type Versioned[T any] struct {
	Value   T
	Version Version
}

// Verdict is what a Resolver decides.
type Verdict int

const (
	Keep    Verdict = iota // what is stored stays; the Set is told so by a ConflictError
	Replace                // the new value takes its place
	Combine                // Decision.Value takes its place, and is what the Set has set
)

// String is "keep", "replace" or "combine".
func (v Verdict) String() string {
	switch v {
	case Keep:
		return "keep"
	case Replace:
		return "replace"
	case Combine:
		return "combine"
	default:
		return "unknown verdict"
	}
}

// Decision is what comes of two writes.
type Decision[T any] struct {
	Verdict Verdict
	Value   T      // of Combine
	Reason  string // for people; never empty
}

// Resolver decides what comes of a Set that meets a stored value. It is asked at each such Set, whether the two were concurrent or
// not, and again when the stored value has changed before the decision could be written: so it must have no effects. Where it is
// commutative, associative and idempotent, the order of the Sets does not matter; those of this package are.
//
// A tombstone is not resolved: the newer of it and the Set counts. A deletion always counts: it is made after what it deletes.
type Resolver[T any] interface {
	Resolve(stored, set Versioned[T]) Decision[T]
}

// ResolverFunc is a function as a Resolver.
type ResolverFunc[T any] func(stored, set Versioned[T]) Decision[T]

// Resolve is f.
func (f ResolverFunc[T]) Resolve(stored, set Versioned[T]) Decision[T] { return f(stored, set) }

// LastWriter lets the newer version count. A Set that saw the stored value before it began is newer; of two that did not see each other, one
// is lost.
func LastWriter[T any]() Resolver[T] {
	return ResolverFunc[T](func(stored, set Versioned[T]) Decision[T] {
		if set.Version.Compare(stored.Version) >= 0 {
			return Decision[T]{Verdict: Replace, Reason: "it is the newer one: " + difference(set.Version, stored.Version)}
		}
		return Decision[T]{Reason: "the stored one is newer: " + difference(stored.Version, set.Version)}
	})
}

// difference says what makes a newer than b.
func difference(a, b Version) string {
	switch {
	case a.Clock != b.Clock:
		return fmt.Sprintf("clock %v is after %v", a.Time().UTC().Format("15:04:05.000"), b.Time().UTC().Format("15:04:05.000"))
	case a.Priority != b.Priority:
		return fmt.Sprintf("priority %d is over %d at the same clock", a.Priority, b.Priority)
	case a.Node != b.Node:
		return fmt.Sprintf("node %q is after %q at the same clock and priority", a.Node, b.Node)
	default:
		return "the same node's later operation"
	}
}

// Largest lets the larger value count, by compare as in cmp.Compare.
func Largest[T any](compare func(a, b T) int) Resolver[T] { return extreme(compare, 1, "larger") }

// Smallest lets the smaller value count, by compare as in cmp.Compare.
func Smallest[T any](compare func(a, b T) int) Resolver[T] { return extreme(compare, -1, "smaller") }

func extreme[T any](compare func(a, b T) int, sign int, word string) Resolver[T] {
	return ResolverFunc[T](func(stored, set Versioned[T]) Decision[T] {
		c := sign * compare(set.Value, stored.Value)
		if c == 0 {
			c = set.Version.Compare(stored.Version) // equal, and yet not the same bytes perhaps: one of them for all
		}
		if c >= 0 {
			return Decision[T]{Verdict: Replace, Reason: "it is " + word + ", or as large and newer"}
		}
		return Decision[T]{Reason: "the stored one is " + word + ", or as large and newer"}
	})
}

// Merge combines both values by merge, which gets the older one first. Where the order of Sets must not matter, merge is commutative,
// associative and idempotent.
func Merge[T any](merge func(older, newer T) T) Resolver[T] {
	return ResolverFunc[T](func(stored, set Versioned[T]) Decision[T] {
		a, b := stored, set
		if a.Version.Compare(b.Version) > 0 {
			a, b = b, a
		}
		return Decision[T]{Verdict: Combine, Value: merge(a.Value, b.Value), Reason: "both were merged"}
	})
}

// KeepBoth keeps what either list has, sorted, each once.
func KeepBoth[E cmp.Ordered]() Resolver[[]E] {
	return Merge(func(a, b []E) []E {
		both := slices.Concat(a, b)
		slices.Sort(both)
		return slices.Compact(both)
	})
}

// ConflictError tells a Set that it has set nothing, and why. It matches port.ErrConflict.
type ConflictError struct {
	Key     string
	Reason  string
	Version Version // of the Set
	Stored  Version // of what counts instead
}

// Error names the key, the reason and the other writer.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("cache: set %q: what node %q has written counts: %s", e.Key, e.Stored.Node, e.Reason)
}

// Is reports whether target is port.ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == port.ErrConflict }
