package flow

import (
	"encoding/json"
	"time"
)

// State is how a run is.
type State string

const (
	Pending   State = "pending"   // no worker has begun it
	Running   State = "running"   // under way: handled, or queued for its next phase or next try
	Waiting   State = "waiting"   // put off by its handler, or left by a worker of another definition: Status.Reason says which
	Succeeded State = "succeeded" // done: Status.Result
	Failed    State = "failed"    // given up: Status.Failure; its input waits in the dead letters, for Retry
	Cancelled State = "cancelled" // given up by Cancel
)

// Over reports whether nothing more happens by itself.
func (s State) Over() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Status is the record of a run. All times are those of the clocks of the processes that wrote them, digests are SHA-256 in
// hexadecimal, of JSON.
type Status struct {
	ID         string `json:"id"`
	Pipeline   string `json:"pipeline"`
	Definition string `json:"definition"` // see Pipeline.Definition
	State      State  `json:"state"`
	Reason     string `json:"reason,omitempty"` // why it is waiting, failed or cancelled
	CorrID     string `json:"corrId"`           // of all its messages
	Tenant     string `json:"tenantId,omitempty"`

	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"` // when its first phase was begun
	Ended   time.Time `json:"ended,omitzero"`   // when it succeeded, failed or was cancelled

	Phase  string         `json:"phase"`           // where it is
	Visit  int            `json:"visit"`           // how many visits of phases there were, this one included
	Visits []Visit        `json:"visits"`          // the last 64, oldest first
	Backs  map[string]int `json:"backs,omitempty"` // how often it went a way back, by "from>to"

	Input   string          `json:"input"`             // digest
	Result  json.RawMessage `json:"result,omitempty"`  // what the last phase put out; at most 256 KiB
	Failure *Failure        `json:"failure,omitempty"` // of a failed run

	Entries int    `json:"entries"` // of its history
	Head    string `json:"head"`    // the hash of the last one
}

// Visit is one stay of a run in a phase; going back makes a new one. For an [Orchestrator] it is the record of a handled message.
type Visit struct {
	Phase    string                     `json:"phase"`
	Visit    int                        `json:"visit"` // number in the run, from 1
	Attempts int                        `json:"attempts"`
	Worker   string                     `json:"worker,omitempty"` // the last one to begin it
	Queued   time.Time                  `json:"queued"`
	Started  time.Time                  `json:"started,omitzero"` // the last attempt
	Ended    time.Time                  `json:"ended,omitzero"`   // zero: not yet
	Input    string                     `json:"input"`            // digest
	Output   string                     `json:"output,omitempty"` // digest
	Error    string                     `json:"error,omitempty"`  // of the last attempt that failed
	Notes    map[string]json.RawMessage `json:"notes,omitempty"`  // of the last attempt that ended: see Note
	PutOff   bool                       `json:"putOff,omitempty"` // its handler returned bus.Later
}

// Failure says why a run failed.
type Failure struct {
	Phase    string `json:"phase"`
	Visit    int    `json:"visit"`
	Reason   string `json:"reason"`
	Attempts int    `json:"attempts"` // failures that were counted
	Crashes  int    `json:"crashes"`  // workers that died while they handled it
	Letter   string `json:"letter"`   // the ID of the dead letter
}

// What a record keeps at most, so that its size is bounded.
const (
	maxVisits = 64
	maxReason = 1 << 10   // bytes of an error
	maxResult = 256 << 10 // bytes of a result
	maxLogged = 100       // attempts of one visit that are entered in the history
)

// current is the visit that the run is in.
func (s *Status) current() *Visit { return &s.Visits[len(s.Visits)-1] }
