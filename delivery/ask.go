package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// question is what a model is asked until its answer is in order.
type question struct {
	system, text, schema string
	subject              string
	answer               int // the number of the first answer
}

// answer is what came of asking once, as it is recorded so that a repeated phase does not ask again.
type answer struct {
	Response port.Response `json:"response"`
	Problem  string        `json:"problem,omitempty"` // why there is no Response that can be used
}

// resolve prepares schemas, by their text.
func resolve(texts ...string) (map[string]*jsonschema.Resolved, error) {
	all := map[string]*jsonschema.Resolved{}
	for _, text := range texts {
		var s jsonschema.Schema
		err := json.Unmarshal([]byte(text), &s)
		if err == nil {
			all[text], err = s.Resolve(nil)
		}
		if err != nil {
			return nil, fmt.Errorf("delivery: schema: %w", err)
		}
	}
	return all, nil
}

// ask asks until an answer satisfies the schema and check, at most Config.Answers times, and each time tells the model what was wrong
// with the last one. It returns the number of the answer that it took.
func ask[T any](ctx context.Context, p *Pipeline, w *work, q question, check func(T) error) (T, int, error) {
	var none T
	turns := []port.Turn{port.UserText(q.text)}
	problem := ""
	for n := q.answer; n < q.answer+p.c.Answers; n++ {
		a, err := p.generate(ctx, port.Request{
			System: q.system, Turns: turns, Schema: json.RawMessage(q.schema),
			Purpose: port.Purpose{Phase: w.entry.Phase, Attempt: n, Subject: q.subject},
		})
		if err != nil {
			return none, n, err
		}
		problem = a.Problem
		if problem != "" {
			w.entry.Answers++
		} else {
			w.answered(a.Response)
			switch a.Response.Stop {
			case port.StopRefusal, port.StopContextExceeded, port.StopToolUse:
				return none, n, final("model %s gave no answer for %s: it stopped for the reason %q; change the requirements or take another model", a.Response.Model, w.entry.Phase, a.Response.Stop)
			case port.StopMaxTokens:
				problem = "the answer was cut off at the limit of tokens; it must be shorter"
			}
		}
		if problem == "" {
			v, err := decode[T](p.schemas[q.schema], a.Response.Text())
			if err == nil {
				err = check(v)
			}
			if err == nil {
				return v, n, nil
			}
			problem = err.Error()
		}
		problem = clip(problem, maxFinding)
		if len(a.Response.Parts) > 0 {
			turns = append(turns, a.Response.Turn())
		}
		turns = append(turns, port.UserText("That answer cannot be used: "+problem+"\nAnswer again, with the whole document."))
	}
	return none, q.answer + p.c.Answers - 1, final("none of %s for %s was in order; the last: %s", count(p.c.Answers, "answer"), w.entry.Phase, problem)
}

// generate asks once in this stay of the run in its phase: repeated after a crash or a failure, it gives what came the first time.
func (p *Pipeline) generate(ctx context.Context, r port.Request) (answer, error) {
	var a answer
	digest, err := flow.Do(ctx, fmt.Sprintf("answer-%d", r.Purpose.Attempt), func(ctx context.Context) (string, error) {
		a, err := p.call(ctx, r)
		if err != nil {
			return "", err
		}
		return p.keep(ctx, "the model's answer", a)
	})
	if err == nil {
		err = p.loadJSON(ctx, "the model's answer", digest, &a)
	}
	return a, err
}

func (p *Pipeline) call(ctx context.Context, r port.Request) (answer, error) {
	res, err := p.model.Generate(ctx, r)
	if err == nil {
		return answer{Response: res}, nil
	}
	e, ok := errors.AsType[*port.ModelError](err)
	switch {
	case !ok:
		return answer{}, err
	case e.Kind == port.ModelBadOutput:
		return answer{Problem: e.Error()}, nil
	case !e.Retryable():
		return answer{}, retry.Permanent(err)
	case e.RetryAfter > 0:
		return answer{}, retry.After(e.RetryAfter, err)
	default:
		return answer{}, err
	}
}

// decode is a document that satisfies a schema.
func decode[T any](s *jsonschema.Resolved, text string) (T, error) {
	var v T
	var loose any
	if err := json.Unmarshal([]byte(text), &loose); err != nil {
		return v, fmt.Errorf("it is no JSON document: %w", err)
	}
	if err := s.Validate(loose); err != nil {
		return v, fmt.Errorf("it does not satisfy the schema: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields() // as the schema, also where letters differ in case alone
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("it does not satisfy the schema: %w", err)
	}
	return v, nil
}
