package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// Run is one run of a [Pipeline]; Start and Find make it.
type Run struct {
	ID  string
	run flow.Run[Summary]
}

// State says how a phase stands.
type State string

// How a phase stands.
const (
	Queued State = "queued"  // it waits for a worker
	Begun  State = "begun"   // a worker began an attempt
	Again  State = "again"   // an attempt failed; the next comes after a wait, or the run fails
	Done   State = "done"    // it is done
	Back   State = "back"    // what it found wrong goes back to code
	Failed State = "failed"  // the run has failed in it
	Other  State = "changed" // the run was left, put off, retried or cancelled: Detail says which
)

// Record is a piece of news of a run.
type Record struct {
	Phase   string        `json:"phase"`
	State   State         `json:"state"`
	Attempt int           `json:"attempt,omitempty"` // of the same work, after failures and crashes, from 1; 0 while it is queued
	Worker  string        `json:"worker,omitempty"`  // who; "" while it is queued
	At      time.Time     `json:"at"`                // when
	Elapsed time.Duration `json:"elapsed,omitempty"` // nanoseconds since the attempt began; 0 where none did
	Detail  string        `json:"detail,omitempty"`  // a sentence for people; "" for none
	Entry   *Entry        `json:"entry,omitempty"`   // what it came to; nil where nothing did
}

// Summary is what a run came to.
type Summary struct {
	Run       string     `json:"run"`
	Program   string     `json:"program"`            // its name
	Release   string     `json:"release"`            // the release's directory
	Binary    string     `json:"binary"`             // the program, by way of current
	Previous  string     `json:"previous,omitempty"` // the directory of the release before; none for the first one
	Digest    string     `json:"digest"`             // SHA-256 of the program
	Statement string     `json:"statement"`          // the file of the signed statement
	Signer    string     `json:"signer"`             // the public key's ID, and where the key comes from
	Models    []string   `json:"models"`             // which answered, as served, in the order of their first answers
	Scripted  bool       `json:"scripted"`           // at least one of them is a script that stands in for a model
	Usage     port.Usage `json:"usage"`              // tokens of all answers
	Rounds    int        `json:"rounds"`             // of code and validate
	Retried   []string   `json:"retried,omitempty"`  // why there was another round or another answer, one sentence for each
	Trail     []Entry    `json:"trail"`              // what each stay in a phase came to, in order
}

// Wait returns the summary when the release is deployed and healthy. A flow.RunError, with the phase and the reason, when the run has
// failed or was cancelled; when ctx ends before, the error tells how the run is.
func (r Run) Wait(ctx context.Context) (Summary, error) { return r.run.Wait(ctx) }

// Watch yields the news of the run from its beginning, until it is over. An error, also the end of ctx, is the last item.
func (r Run) Watch(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var begun time.Time
		for rec, err := range r.run.Watch(ctx) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			if rec.Event == flow.Begun {
				begun = rec.At
			}
			news, err := recordOf(rec, begun)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(news, nil) {
				return
			}
			if rec.To != "" {
				begun = time.Time{}
				if !yield(Record{Phase: rec.To, State: Queued, At: rec.At}, nil) {
					return
				}
			}
		}
	}
}

// recordOf is an entry of the run's history as news.
func recordOf(rec flow.Record, begun time.Time) (Record, error) {
	news := Record{Phase: rec.Phase, Attempt: rec.Attempt, Worker: rec.Worker, At: rec.At, Detail: rec.Reason}
	switch rec.Event {
	case flow.Started:
		news.State = Queued
	case flow.Begun:
		news.State = Begun
	case flow.Erred:
		news.State = Again
	case flow.Done:
		news.State = Done
	case flow.WentBack:
		news.State = Back
	case flow.Buried:
		news.State = Failed
	default:
		news.State, news.Detail = Other, fmt.Sprintf("%s %s", rec.Event, rec.Reason)
	}
	if !begun.IsZero() {
		news.Elapsed = rec.At.Sub(begun)
	}
	if raw := rec.Notes[noteKey]; raw != nil {
		news.Entry = new(Entry)
		if err := json.Unmarshal(raw, news.Entry); err != nil {
			return news, fmt.Errorf("delivery: run %q: its record %d: %w: %w", rec.Run, rec.N, port.ErrInvalid, err)
		}
		news.Detail = cmp.Or(news.Detail, news.Entry.Detail)
	}
	return news, nil
}

// summary is what in has come to.
func (p *Pipeline) summary(in deployed, s signer, trail []Entry) Summary {
	out := Summary{
		Run: in.Run, Program: in.Program, Rounds: in.Round, Trail: trail, Digest: in.Report.Binary,
		Release: p.target.release(in.Release), Binary: p.target.binary(in.Program),
		Statement: p.target.release(in.Release, statementFile), Signer: s.String(),
	}
	if in.Previous != "" {
		out.Previous = p.target.release(in.Previous)
	}
	out.Models, out.Usage = used(trail)
	out.Scripted = slices.ContainsFunc(out.Models, IsScripted)
	for _, e := range trail {
		switch {
		case e.Phase == phaseValidate && !e.OK:
			out.Retried = append(out.Retried, e.Detail)
		case e.Answers > 1:
			out.Retried = append(out.Retried, fmt.Sprintf("%s: %s until one was in order", e.Phase, count(e.Answers, "answer")))
		}
	}
	return out
}

// used are the models that answered and their tokens.
func used(trail []Entry) (models []string, usage port.Usage) {
	for _, e := range trail {
		usage.Input += e.Usage.Input
		usage.Output += e.Usage.Output
		for _, m := range e.Models {
			if !slices.Contains(models, m) {
				models = append(models, m)
			}
		}
	}
	return models, usage
}
