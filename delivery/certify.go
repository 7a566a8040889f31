package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// Review is what a model said about a program. It is recorded, and decides nothing.
type Review struct {
	Model    string   `json:"model,omitempty"` // as served; "" when there was no review
	Summary  string   `json:"summary"`         // or why there was none
	Concerns []string `json:"concerns,omitempty"`
}

const reviewSchema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["summary"],
  "properties": {
    "summary": {"type": "string", "minLength": 1, "maxLength": 1000},
    "concerns": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 500}}
  }
}`

const reviewSystem = `You review small Go programs against their requirements.
Answer with one JSON document that satisfies the schema. Your review is recorded beside the program; it does not decide anything.`

// certifyPhase checks the policy and signs what is known of the program.
func (p *Pipeline) certifyPhase(ctx context.Context, in checked) (certified, error) {
	w := begin(phaseCertify, 0, in.Trail)
	files, err := p.files(ctx, in.Files)
	if err != nil {
		return certified{}, w.failed(ctx, err)
	}
	held, err := p.policy(in.Report, files)
	if err != nil {
		return certified{}, w.failed(ctx, final("the program is not certified: %w", err))
	}
	out := certified{checked: in}
	if out.Review, err = p.review(ctx, w, in, files); err != nil {
		return certified{}, w.failed(ctx, err)
	}
	key, err := p.signer(ctx)
	if err != nil {
		return certified{}, w.failed(ctx, err)
	}
	envelope, err := p.statement(ctx, key, out, held, w.entry)
	if err != nil {
		return certified{}, w.failed(ctx, err)
	}
	if out.Statement, err = p.contents.Put(ctx, envelope); err != nil {
		return certified{}, err
	}
	detail := fmt.Sprintf("%s hold, signed with %s; review: %s", count(len(held), "rule"), key, out.Review)
	out.Trail, err = w.end(ctx, true, detail)
	return out, err
}

// String is a line about the review.
func (r Review) String() string {
	if r.Model == "" {
		return "none, " + r.Summary
	}
	return count(len(r.Concerns), "concern")
}

// review asks a model for its opinion, once. That there is none is recorded instead, whatever the reason: it must not hold up a
// program that passed.
func (p *Pipeline) review(ctx context.Context, w *work, in checked, files []file) (Review, error) {
	requirements, err := p.load(ctx, "the requirements", in.Subject)
	if err != nil {
		return Review{}, err
	}
	body, err := json.Marshal(written{Files: files})
	if err != nil {
		return Review{}, final("the files: %w", err)
	}
	request := port.Request{
		System:  reviewSystem,
		Turns:   []port.Turn{port.UserText(fmt.Sprintf("The requirements:\n\n%s\n\nThe files:\n\n%s\n", requirements, body))},
		Schema:  json.RawMessage(reviewSchema),
		Purpose: port.Purpose{Phase: "review", Attempt: 1, Subject: in.Subject},
	}
	digest, err := flow.Do(ctx, "review", func(ctx context.Context) (string, error) {
		a, err := p.call(ctx, request)
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case err != nil:
			return p.keep(ctx, "the review", answer{Problem: err.Error()})
		default:
			return p.keep(ctx, "the review", a)
		}
	})
	if err != nil {
		return Review{}, err
	}
	var a answer
	if err := p.loadJSON(ctx, "the review", digest, &a); err != nil {
		return Review{}, err
	}
	if a.Problem != "" {
		return Review{Summary: clip(a.Problem, maxShown)}, nil
	}
	w.answered(a.Response)
	r, err := decode[Review](p.schemas[reviewSchema], a.Response.Text())
	if err != nil {
		//nolint:nilerr // What is wrong with a review is recorded in its place, and decides as little.
		return Review{Summary: clip("the answer cannot be used: "+err.Error(), maxShown)}, nil
	}
	r.Model = a.Response.Model
	return r, nil
}

// statement is the signed statement about all files of the release.
func (p *Pipeline) statement(ctx context.Context, key signer, in certified, held []string, last Entry) ([]byte, error) {
	var tree []kept
	if err := p.loadJSON(ctx, "the list of files", in.Files, &tree); err != nil {
		return nil, err
	}
	s := Statement{
		Type: StatementType, PredicateType: PredicateType,
		Subject: []Subject{subject("bin/"+in.Program, in.Report.Binary), subject(planFile, in.Plan)},
		Predicate: Predicate{
			Run: in.Run, Release: releaseID(in.At, in.Run), Program: in.Program, Requirements: in.Subject,
			Report: in.Report, Policy: held, Review: in.Review, Trail: in.Trail,
		},
	}
	for _, k := range tree {
		s.Subject = append(s.Subject, subject("src/"+k.Path, k.SHA256))
	}
	s.Predicate.Models, s.Predicate.Usage = used(append(in.Trail[:len(in.Trail):len(in.Trail)], last))
	s.Predicate.Scripted = slices.ContainsFunc(s.Predicate.Models, IsScripted)
	return key.sign(s)
}
