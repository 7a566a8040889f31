//go:build unix

package histories_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/port"
)

// record is a history that is being made.
type record struct {
	start time.Time

	mu        sync.Mutex
	ops       []porcupine.Operation
	uncertain int
	repeated  int // calls that were made again until their outcome was known
	refused   int // calls of which it is known that nothing happened
}

func newRecord() *record { return &record{start: time.Now()} }

// call makes one call and notes it. One that surely had no effect is left out. One whose outcome is unknown may have its effect at
// any time from then on, or never, which is the same as at the end of all times: so it returns then, with an output that fits any
// state.
func (r *record) call(client int, input any, do func() (output any, err error)) error {
	called := time.Since(r.start)
	output, err := do()
	returned := time.Since(r.start).Nanoseconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, port.ErrUncertain):
		r.uncertain++
		output, returned = unknown{}, math.MaxInt64
	case errors.Is(err, port.ErrUnavailable):
		r.refused++
		return nil
	case err != nil:
		return fmt.Errorf("%v: %w", input, err)
	}
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: input, Output: output, Call: called.Nanoseconds(), Return: returned})
	return nil
}

// struck reports whether faults have cut off enough calls for the history to be worth a look.
func (r *record) struck(repeated int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uncertain >= 20 && r.repeated >= repeated
}

// unknown is the output of a call whose outcome is unknown.
type unknown struct{}

// check demands that the history is linearizable. A picture of one that is not is in the test's artifacts.
func (r *record) check(t *testing.T, model porcupine.Model, repeated int) {
	t.Helper()
	if !r.struck(repeated) {
		t.Error("hardly any call was cut off and told so: the faults have not done their work")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("%d calls, %d of unknown outcome, %d repeated until it was known; %d that surely had no effect are left out",
		len(r.ops), r.uncertain, r.repeated, r.refused)
	const patience = 5 * time.Minute
	verdict, info := porcupine.CheckOperationsVerbose(model, r.ops, patience)
	if verdict == porcupine.Ok {
		return
	}
	picture := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(model, info, picture); err != nil {
		t.Error(err)
	}
	t.Errorf("the history is not linearizable (%v): see %s", verdict, picture)
}

// long is the long form.
func long() bool { return os.Getenv("MUSTER_LONG") != "" }

func scale(short, large int) int {
	if long() {
		return large
	}
	return short
}
