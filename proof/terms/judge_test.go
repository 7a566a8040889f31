//go:build unix

package terms_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/musterhq/muster/proof/histories"
)

// figures is what came of it.
type figures struct {
	Terms    int
	Shared   int // of these, with others
	Overlaps int // somebody held it after the next term had begun
	Within   int // acts through Guard, and told to be within the term
	After    int // of these, after the next term had begun
	Loose    int // acts past Guard
	Refused  int // of these, by their stale token
	Stale    int // taken by the register although the register had taken a larger token before

	Crash  time.Duration // from a holder's crash to the next term, at the most
	Judged int           // operations of the history that was found linearizable
}

func (f *figures) add(o figures) {
	f.Terms, f.Shared, f.Overlaps, f.Within = f.Terms+o.Terms, f.Shared+o.Shared, f.Overlaps+o.Overlaps, f.Within+o.Within
	f.After, f.Loose, f.Refused, f.Stale = f.After+o.After, f.Loose+o.Loose, f.Refused+o.Refused, f.Stale+o.Stale
	f.Crash, f.Judged = max(f.Crash, o.Crash), f.Judged+o.Judged
}

// taking is a token that a register took, by when the answer was there at the latest.
type taking struct {
	at    int64
	token uint64
	most  uint64 // the largest up to then
}

// judge counts over all acts, when all candidates have ended. A term's next one is the first of a larger token, of the same name: those who share a
// term have the same.
func (s *stage) judge() figures {
	s.t.Helper()
	var f figures
	begun, taken := map[string][]histories.Act{}, map[string][]taking{}
	for _, b := range s.begun() {
		f.Terms++
		if b.Shared {
			f.Shared++
		}
		if of := begun[b.Fence]; len(of) > 0 {
			last := of[len(of)-1]
			if b.Token < last.Token || b.Token == last.Token && !(b.Shared && last.Shared) {
				s.t.Errorf("the tokens went back: %+v began after %+v", b, last)
			}
		}
		begun[b.Fence] = append(begun[b.Fence], b)
	}
	next := func(a histories.Act) int64 {
		of := begun[a.Fence]
		i, _ := slices.BinarySearchFunc(of, a.Token+1, func(b histories.Act, token uint64) int { return cmp.Compare(b.Token, token) })
		if i == len(of) {
			return 1 << 62
		}
		return of[i].Return
	}
	acts := s.history.Acts()
	slices.SortFunc(acts, func(a, b histories.Act) int { return cmp.Compare(a.Return, b.Return) })
	for _, a := range acts {
		if a.What != histories.Reads && a.Got == histories.OK {
			t := taking{a.Return, a.Token, a.Token}
			if of := taken[a.Fence]; len(of) > 0 {
				t.most = max(t.most, of[len(of)-1].most)
			}
			taken[a.Fence] = append(taken[a.Fence], t)
		}
	}
	for _, a := range acts {
		switch {
		case a.What == histories.Ends && a.Call > next(a):
			f.Overlaps++
			s.t.Errorf("%s held token %d for %v after the next term had begun", a.Who, a.Token, time.Duration(a.Call-next(a)))
		case a.Sure:
			f.Within++
			if a.Call > next(a) {
				f.After++
			}
		case a.Got == histories.OK || a.Got == histories.Stale:
			f.Loose++
			if a.Got == histories.Stale {
				f.Refused++
			}
		}
		if a.What != histories.Reads && a.Got == histories.OK {
			// What was answered before this was asked for.
			of := taken[a.Fence]
			i, _ := slices.BinarySearchFunc(of, a.Call, func(t taking, at int64) int { return cmp.Compare(t.at, at) })
			if i > 0 && of[i-1].most > a.Token {
				f.Stale++
			}
		}
	}
	if f.Overlaps+f.After+f.Stale > 0 {
		s.t.Errorf("broken: %+v", f)
	}
	return f
}
