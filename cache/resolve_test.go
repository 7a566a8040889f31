package cache

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// cell is a key of the store to which Sets come in some order: what a resolver makes of them.
type cell[T any] struct {
	set bool
	now Versioned[T]
}

func (c cell[T]) put(r Resolver[T], v Versioned[T]) cell[T] {
	if !c.set {
		return cell[T]{true, v}
	}
	top := v.Version
	if c.now.Version.Compare(top) > 0 {
		top = c.now.Version
	}
	switch d := r.Resolve(c.now, v); d.Verdict {
	case Replace:
		return cell[T]{true, Versioned[T]{v.Value, v.Version}}
	case Combine:
		return cell[T]{true, Versioned[T]{d.Value, top}}
	default:
		return c
	}
}

func versions() *rapid.Generator[Version] {
	return rapid.Custom(func(t *rapid.T) Version {
		return Version{
			Clock:    rapid.Uint64Range(0, 3).Draw(t, "clock"),
			Priority: rapid.Uint8Range(0, 1).Draw(t, "priority"),
			Node:     rapid.SampledFrom([]string{"a", "b"}).Draw(t, "node"),
			Op:       rapid.StringMatching(`[a-d]{6}`).Draw(t, "op"),
		}
	})
}

// laws checks that what comes of Sets depends neither on their order, nor on how they are grouped, nor on repetitions.
func laws[T any](t *testing.T, r Resolver[T], values *rapid.Generator[T], equal func(a, b T) bool) {
	t.Helper()
	one := rapid.Custom(func(t *rapid.T) Versioned[T] {
		return Versioned[T]{values.Draw(t, "value"), versions().Draw(t, "version")}
	})
	distinct := func(v Versioned[T]) string { return v.Version.Op }
	rapid.Check(t, func(t *rapid.T) {
		sets := rapid.SliceOfNDistinct(one, 1, 6, distinct).Draw(t, "sets")
		all := func(list []Versioned[T]) T {
			var c cell[T]
			for _, s := range list {
				c = c.put(r, s)
			}
			return c.now.Value
		}
		want := all(sets)
		if got := all(rapid.Permutation(sets).Draw(t, "order")); !equal(want, got) {
			t.Fatalf("in another order %v, want %v", got, want)
		}
		twice := append(slices.Clone(sets), sets...)
		if got := all(twice); !equal(want, got) {
			t.Fatalf("each twice %v, want %v", got, want)
		}
		if len(sets) < 2 {
			return
		}
		cut := rapid.IntRange(1, len(sets)-1).Draw(t, "cut")
		var left, right cell[T]
		for _, s := range sets[:cut] {
			left = left.put(r, s)
		}
		for _, s := range sets[cut:] {
			right = right.put(r, s)
		}
		if got := left.put(r, right.now).now.Value; !equal(want, got) {
			t.Fatalf("in two groups %v, want %v", got, want)
		}
	})
}

func TestTheOrderOfSetsDoesNotMatterTo(t *testing.T) {
	same := func(a, b int) bool { return a == b }
	numbers := rapid.IntRange(0, 4)
	t.Run("the last writer", func(t *testing.T) { laws(t, LastWriter[int](), numbers, same) })
	t.Run("the largest", func(t *testing.T) { laws(t, Largest(cmp.Compare[int]), numbers, same) })
	t.Run("the smallest", func(t *testing.T) { laws(t, Smallest(cmp.Compare[int]), numbers, same) })
	t.Run("a merge that takes the larger", func(t *testing.T) {
		laws(t, Merge(func(a, b int) int { return max(a, b) }), numbers, same)
	})
	t.Run("keeping both", func(t *testing.T) {
		laws(t, KeepBoth[int](), rapid.Custom(func(t *rapid.T) []int {
			list := rapid.SliceOfN(numbers, 0, 3).Draw(t, "list")
			slices.Sort(list)
			return slices.Compact(list)
		}), slices.Equal[[]int])
	})
	t.Run("versions, which are in one order", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a, b, c := versions().Draw(t, "a"), versions().Draw(t, "b"), versions().Draw(t, "c")
			if a.Compare(b) != -b.Compare(a) || (a.Compare(b) == 0) != (a == b) {
				t.Fatalf("%v and %v", a, b)
			}
			if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
				t.Fatalf("%v, %v and %v", a, b, c)
			}
		})
	})
	t.Run("the clock, which never goes back and passes what it has seen", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			var h hybrid
			last := uint64(0)
			for _, seen := range rapid.SliceOfN(rapid.Uint64Range(0, 1<<62), 1, 20).Draw(t, "seen") {
				v := h.next(seen)
				own := h.next(0)
				if v <= seen || own <= last {
					t.Fatalf("after %d came %d with %d seen, and %d", last, v, seen, own)
				}
				last = own
			}
		})
	})
}
