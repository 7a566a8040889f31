package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// Entry is what one stay in a phase came to. It goes to the run's history, along with the run, and into the signed statement.
type Entry struct {
	Phase   string        `json:"phase"`
	Round   int           `json:"round,omitempty"` // of code and validate, from 1; 0 in other phases
	OK      bool          `json:"ok"`
	Detail  string        `json:"detail"`            // a sentence for people
	Models  []string      `json:"models,omitempty"`  // which answered, as served
	Answers int           `json:"answers,omitempty"` // how many they gave
	Usage   port.Usage    `json:"usage"`             // tokens, of these answers
	Took    time.Duration `json:"took"`              // nanoseconds
}

// noteKey is the note of package flow that holds an Entry.
const noteKey = "delivery"

// IsScripted reports whether a model, as served, is a script that stands in for a model.
func IsScripted(served string) bool { return strings.HasPrefix(served, "scripted:") }

// work is one stay in a phase while it lasts.
type work struct {
	entry Entry
	trail []Entry
	since time.Time
}

func begin(phase string, round int, trail []Entry) *work {
	return &work{entry: Entry{Phase: phase, Round: round}, trail: trail, since: time.Now()}
}

// answered counts an answer.
func (w *work) answered(r port.Response) {
	w.entry.Answers++
	w.entry.Usage.Input += r.Usage.Input
	w.entry.Usage.Output += r.Usage.Output
	if !slices.Contains(w.entry.Models, r.Model) {
		w.entry.Models = append(w.entry.Models, r.Model)
	}
}

// end closes the entry, notes it in the run's history and returns the trail with it.
func (w *work) end(ctx context.Context, ok bool, detail string) ([]Entry, error) {
	w.entry.OK, w.entry.Took, w.entry.Detail = ok, time.Since(w.since), clip(detail+w.by(), maxDetail)
	if err := flow.Note(ctx, noteKey, w.entry); err != nil {
		return nil, err
	}
	return append(append([]Entry(nil), w.trail...), w.entry), nil
}

// failed notes that the phase came to nothing, and returns why.
func (w *work) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if _, noteErr := w.end(ctx, false, err.Error()); noteErr != nil {
		return errors.Join(err, noteErr)
	}
	return err
}

// by says which model answered, and plainly when it was a script.
func (w *work) by() string {
	if len(w.entry.Models) == 0 {
		return ""
	}
	said := "; answered by " + strings.Join(w.entry.Models, ", ")
	if slices.ContainsFunc(w.entry.Models, IsScripted) {
		said += " (a script, not a model)"
	}
	return said
}

// maxDetail is the longest Detail, in bytes: a note has at most 4 KiB, and JSON may write a byte as six.
const maxDetail = 600

// clip keeps the first and the last half of a text that is too long.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most/2], "") + fmt.Sprintf("\n[%d bytes left out]\n", len(text)-most/2*2) + strings.ToValidUTF8(text[len(text)-most/2:], "")
}

// count is "1 file", "2 files".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
