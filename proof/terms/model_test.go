//go:build unix

package terms_test

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// fencedLock is a lock whose terms have tokens that grow, and a register that keeps the largest token which it has seen. A write
// of which Guard said that it was within the term finds no later term.
func fencedLock() porcupine.Model {
	type state struct{ term, register uint64 }
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(in, input, output any) (bool, any) {
			s, e := in.(state), input.(event)
			got, known := output.(string)
			switch {
			case e.What == "begin":
				return e.Token > s.term, state{e.Token, s.register}
			case !known: // it may have come to nothing, or to this
				return true, state{s.term, max(s.register, e.Token)}
			case got == "stale":
				return e.Token < s.register, s
			case e.Sure && e.Token != s.term:
				return false, s
			}
			return e.Token >= s.register, state{s.term, e.Token}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %v", input, output) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

// linearizable fails the test when no order of the events explains all answers. Of the writes of one term between two others a sample is
// enough: the first and the last few, and all that were refused.
func (s *stage) linearizable() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := map[uint64]int{}
	var ops []porcupine.Operation
	client := map[string]int{}
	for i, e := range s.events {
		switch e.What {
		case "begin":
		case "write", "loose":
			taken[e.Token]++
			if e.Got == "ok" && taken[e.Token] > 20 && i%20 != 0 {
				continue
			}
		default:
			continue
		}
		key := e.ID + e.What
		if _, ok := client[key]; !ok {
			client[key] = len(client)
		}
		op := porcupine.Operation{ClientId: client[key], Input: e, Call: e.From, Return: e.Till, Output: e.Got}
		if e.Got == "unknown" { // at any time from then on, and so perhaps after everything else
			op.Output, op.Return = nil, 1<<62
		}
		ops = append(ops, op)
	}
	if result := porcupine.CheckOperationsTimeout(fencedLock(), ops, 2*time.Minute); result != porcupine.Ok {
		s.t.Errorf("the history of %d operations is not linearizable: %v", len(ops), result)
	}
	s.t.Logf("a history of %d operations is linearizable", len(ops))
}
