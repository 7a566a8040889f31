package histories

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/anishathalye/porcupine"
)

// What a client does.
const (
	Queues = "queue" // goes to the end of the queue
	Leaves = "leave" // is not in the queue any more, and has no term
	Begins = "begin" // its term begins
	Ends   = "end"   // its term ends
	Writes = "write" // writes a value to the register, fenced by its token
	Marks  = "mark"  // shows the register its token, and changes nothing
	Reads  = "read"  // reads the register
)

// What it was told.
const (
	OK      = "ok"
	Stale   = "stale"   // refused, because the register has seen a larger token
	Unknown = "unknown" // it may have happened, or happen yet, or never
)

// Act is one thing that a client did. Times are nanoseconds of a clock that all clients share.
type Act struct {
	What   string
	ID     string // the client's
	Who    string // one wish of the client, fulfilled or not
	Fence  string // the register has tokens of this name
	Token  uint64
	Shared bool   // of a term: with others that share it
	Late   bool   // of a term's begin: the place in the queue had been lost meanwhile
	Value  string // written or read
	Got    string // of what is done to the register
	Sure   bool   // Guard said that all of it happened within the term
	Call   int64  // before it was done; of an end the last moment before which Held said yes
	Return int64  // after it was done
}

// never is when a call of unknown outcome returns: its effect may come at any time, or never, which is the same as after all else.
const never = math.MaxInt64

// History is what clients tell. The zero value is empty; it is safe for concurrent use.
type History struct {
	mu   sync.Mutex
	acts []Act
	died map[string]int64
}

// Add notes an act, unless its client is dead.
func (h *History) Add(a Act) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, dead := h.died[a.ID]; !dead {
		h.acts = append(h.acts, a)
	}
}

// Died notes that a client was dead at a moment: what it held it does not hold since then.
func (h *History) Died(id string, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.died == nil {
		h.died = map[string]int64{}
	}
	h.died[id] = at
}

// Acts returns what was told, in the order of the telling.
func (h *History) Acts() []Act {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.acts)
}

// Operations returns the history as porcupine takes it, with what those could not tell that died: the end of their terms, their
// leaving the queue, and what they had sent to the register. Where most is not 0, a term does no more of one thing than so much, and
// of the rest one in twenty: a history of fewer acts is linearizable where that of all of them is.
func (h *History) Operations(most int) []porcupine.Operation {
	acts := h.Acts()
	acts = settled(slices.Concat(acts, h.untold(acts)))
	if most > 0 {
		acts = thinned(acts, most)
	}
	client := map[string]int{}
	ops := make([]porcupine.Operation, 0, len(acts))
	for _, a := range acts {
		if _, ok := client[a.Who]; !ok {
			client[a.Who] = len(client)
		}
		ops = append(ops, porcupine.Operation{ClientId: client[a.Who], Input: a, Output: a.Got, Call: a.Call, Return: a.Return})
	}
	return ops
}

// untold is what happened, or may have happened, and nobody told.
func (h *History) untold(acts []Act) (more []Act) {
	begun, open, queued := map[string]Act{}, map[string]Act{}, map[string]Act{}
	sure, written := map[string]int64{}, map[string]bool{} // until when a term has lasted at least; the values that were told of
	for _, a := range acts {
		switch a.What {
		case Queues:
			queued[a.Who] = a
		case Leaves:
			delete(queued, a.Who)
		case Begins:
			begun[a.Who], open[a.Who] = a, a
			delete(queued, a.Who)
		case Ends:
			delete(open, a.Who)
		case Writes:
			written[a.Value] = true
		}
		if a.Sure || a.What == Begins {
			sure[a.Who] = max(sure[a.Who], a.Return)
		}
	}
	for _, a := range acts {
		if a.What == Reads && a.Value != "" && !written[a.Value] {
			who, _, _ := strings.Cut(a.Value, "/")
			b, ok := begun[who]
			if !ok {
				continue // nobody's: the model says so
			}
			b.What, b.Value, b.Got, b.Call = Writes, a.Value, Unknown, b.Return
			written[a.Value] = true
			more = append(more, b)
		}
	}
	for who, b := range open {
		end, mark := b, b
		end.What, end.Call, end.Return = Ends, sure[who], h.death(b.ID)
		mark.What, mark.Got, mark.Call = Marks, Unknown, b.Return
		more = append(more, end, mark)
	}
	for _, q := range queued {
		q.What, q.Call, q.Return = Leaves, q.Return, h.death(q.ID)
		more = append(more, q)
	}
	slices.SortFunc(more, func(a, b Act) int { return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Who, b.Who)) })
	return more
}

// settled says what can be known of calls of unknown outcome. One whose value was read has happened by then. Of the others of a term
// nothing is left behind but its token, and that not after the register is known to have seen it: one of them stands for all.
func settled(acts []Act) []Act {
	type term struct {
		fence string
		token uint64
	}
	read, shown, early := map[string]int64{}, map[term]int64{}, map[term]int64{}
	for _, a := range acts {
		switch of := (term{a.Fence, a.Token}); {
		case a.What == Reads:
			least(read, a.Value, a.Return)
		case a.Got == OK:
			least(shown, of, a.Return)
		case a.Got == Unknown:
			least(early, of, a.Call)
		}
	}
	var kept []Act
	for _, a := range acts {
		if a.Got == Unknown {
			by, ok := read[a.Value]
			if !ok || a.What != Writes {
				continue
			}
			a.Return = by
		}
		kept = append(kept, a)
	}
	for of, at := range early {
		by, ok := shown[of]
		if !ok {
			by = never
		}
		if at < by {
			kept = append(kept, Act{What: Marks, Who: fmt.Sprintf("%s %d", of.fence, of.token), Fence: of.fence, Token: of.token, Got: Unknown, Call: at, Return: by})
		}
	}
	return kept
}

// thinned leaves out what shows nothing new; nothing that changes what another sees.
func thinned(acts []Act, most int) []Act {
	type kind struct {
		who, what, got, value string
		sure                  bool
	}
	n, read := map[kind]int{}, map[string]bool{}
	much := func(k kind) bool { n[k]++; return n[k] > most && n[k]%20 != 0 }
	acts = slices.DeleteFunc(acts, func(a Act) bool {
		if a.What != Reads {
			return false
		}
		if much(kind{a.Who, a.What, a.Got, a.Value, a.Sure}) {
			return true
		}
		read[a.Value] = true
		return false
	})
	return slices.DeleteFunc(acts, func(a Act) bool {
		return a.Got != "" && a.Got != Unknown && a.What != Reads && !read[a.Value] && much(kind{a.Who, a.What, a.Got, "", a.Sure})
	})
}

func least[K comparable](of map[K]int64, key K, at int64) {
	if was, ok := of[key]; !ok || at < was {
		of[key] = at
	}
}

func (h *History) death(id string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.died[id]; ok {
		return at
	}
	return never
}
