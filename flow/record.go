package flow

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// Event says what happened to a run.
type Event string

const (
	Started  Event = "started" // the run was started: its first phase is queued
	Begun    Event = "begun"   // a worker began an attempt at a phase
	Erred    Event = "erred"   // an attempt failed
	PutOff   Event = "put off" // a handler returned bus.Later; told once in a row
	Done     Event = "done"    // a phase is done: the next one is queued, or the run has succeeded
	WentBack Event = "back"    // a phase fed back: an earlier one is queued
	Left     Event = "left"    // a worker of another definition came across the run and left it
	Buried   Event = "buried"  // the run failed: its input went to the dead letters
	Retried  Event = "retried" // the dead letter was given back
	Ceased   Event = "ceased"  // the run was cancelled
)

// Record is one entry of a run's history.
type Record struct {
	N       int                        `json:"n"` // from 1
	Run     string                     `json:"run"`
	Event   Event                      `json:"event"`
	State   State                      `json:"state"` // of the run, from then on
	Phase   string                     `json:"phase"` // that it happened in
	Visit   int                        `json:"visit"`
	Attempt int                        `json:"attempt,omitempty"` // of this visit, from 1
	Worker  string                     `json:"worker,omitempty"`
	At      time.Time                  `json:"at"`
	To      string                     `json:"to,omitempty"`     // the phase that is queued by it
	Reason  string                     `json:"reason,omitempty"` // of what went wrong, or of who cancelled
	Input   string                     `json:"input,omitempty"`  // digest
	Output  string                     `json:"output,omitempty"` // digest
	Notes   map[string]json.RawMessage `json:"notes,omitempty"`  // see Note
	Prev    string                     `json:"prev,omitempty"`   // the hash of the entry before; of the first one none
}

// encode is the record as it is kept, and its hash.
func (r Record) encode() (raw []byte, hash string, err error) {
	raw, err = json.Marshal(r)
	if err != nil {
		return nil, "", fmt.Errorf("entry %d of the history of run %q: %w", r.N, r.Run, err)
	}
	return raw, digest(raw), nil
}

// Verify reports whether history is the whole history of the run, as it was written: each entry carries the hash of the one before,
// and the record the hash of the last. What does not fit matches port.ErrConflict. Whoever can write all keys of the backend can
// write another history; keep Status.Head elsewhere to notice that.
func Verify(s Status, history []Record) error {
	bad := func(n int, why string) error {
		return fmt.Errorf("history of run %q, entry %d: %s: %w", s.ID, n, why, port.ErrConflict)
	}
	if len(history) != s.Entries {
		return bad(len(history), fmt.Sprintf("there should be %d entries", s.Entries))
	}
	prev := ""
	for i, r := range history {
		switch {
		case r.N != i+1 || r.Run != s.ID:
			return bad(i+1, "it is another one")
		case r.Prev != prev:
			return bad(r.N, "the one before was changed")
		}
		var err error
		if _, prev, err = r.encode(); err != nil {
			return bad(r.N, err.Error())
		}
	}
	if prev != s.Head {
		return bad(len(history), "it was changed, or the record was")
	}
	return nil
}

// clip is text for a record: valid and bounded.
func clip(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
