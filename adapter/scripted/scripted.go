// Package scripted is a model (port.Model) that answers from a script file, so that what is built on models runs, and can be
// tested and shown, with none at hand. It understands nothing: it finds the answer by the Purpose of the request (its subject,
// phase and attempt), holds no state, and so gives the same answer to the same request in every process, after every restart.
// It never passes for a real model: what served an answer is "scripted:" and the script's name.
//
// What may not enter: the network, randomness, templates, anything that would look like thinking.
package scripted

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/musterhq/muster/port"
)

// bytesPerToken is what this model counts as a token.
const bytesPerToken = 4

// Model answers from a script. Open and Parse make one.
type Model struct {
	name    string
	place   string // of the script, for errors
	scripts []conversation
}

var _ port.Model = (*Model)(nil)

// conversation is what is answered about a subject.
type conversation struct {
	subjects []string // digests; none: any subject
	answers  []answer
}

type answer struct {
	phase   string
	attempt int // 0: every attempt that has no answer of its own
	parts   []port.Part
	stop    port.StopReason
}

// Generate gives the answer of the script. When the script does not know the subject, or has no answer for the phase and
// attempt, the error is a [port.ModelError] of kind [port.ModelInvalid] that also matches [port.ErrNotFound]. A token is four
// bytes, begun ones counted; MaxTokens cuts the text there.
func (m *Model) Generate(ctx context.Context, r port.Request) (port.Response, error) {
	if err := r.Check(); err != nil {
		return port.Response{}, err
	}
	if ctx.Err() != nil {
		return port.Response{}, fmt.Errorf("scripted: %s: %w", m.name, context.Cause(ctx))
	}
	a, err := m.find(r.Purpose)
	if err != nil {
		return port.Response{}, &port.ModelError{Kind: port.ModelInvalid, Model: m.served(), Err: err}
	}
	res := port.Response{Parts: cloneParts(a.parts), Stop: a.stop, Model: m.served(), Usage: port.Usage{Input: tokens(inputSize(r))}}
	res.Usage.Output = tokens(partsSize(res.Parts))
	if r.MaxTokens > 0 && res.Usage.Output > r.MaxTokens {
		res.Parts, res.Stop = cut(res.Parts, r.MaxTokens*bytesPerToken), port.StopMaxTokens
		res.Usage.Output = tokens(partsSize(res.Parts))
	}
	if err := res.Check(r); err != nil {
		return port.Response{}, fmt.Errorf("scripted: %s: %w", m.place, err)
	}
	return res, nil
}

func (m *Model) served() string { return "scripted:" + m.name }

// find is the answer for a purpose. A conversation about the subject goes before one about any; an answer for the attempt goes
// before one for every attempt.
func (m *Model) find(p port.Purpose) (answer, error) {
	known := false
	for _, general := range []bool{false, true} {
		for _, c := range m.scripts {
			if general && len(c.subjects) > 0 || !general && !slices.Contains(c.subjects, p.Subject) {
				continue
			}
			known = true
			for _, attempt := range []int{p.Attempt, 0} {
				i := slices.IndexFunc(c.answers, func(a answer) bool { return a.phase == p.Phase && a.attempt == attempt })
				if i >= 0 {
					return c.answers[i], nil
				}
			}
		}
	}
	const remedy = "use a script that has it (--script)"
	if !known {
		return answer{}, fmt.Errorf("script %s does not know the requirements with the SHA-256 %s; %s: %w", m.place, orNone(p.Subject), remedy, port.ErrNotFound)
	}
	return answer{}, fmt.Errorf("script %s has no answer for phase %q, attempt %d, of the requirements with the SHA-256 %s; %s: %w",
		m.place, p.Phase, p.Attempt, orNone(p.Subject), remedy, port.ErrNotFound)
}

func orNone(subject string) string {
	if subject == "" {
		return "(none was given)"
	}
	return subject
}

func tokens(size int) int { return (size + bytesPerToken - 1) / bytesPerToken }

func inputSize(r port.Request) int {
	n := len(r.System) + len(r.Schema)
	for _, t := range r.Turns {
		n += partsSize(t.Parts)
	}
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Schema)
	}
	return n
}

func partsSize(parts []port.Part) int {
	n := 0
	for _, p := range parts {
		n += len(p.Text)
		if p.Call != nil {
			n += len(p.Call.Name) + len(p.Call.Arguments)
		}
		if p.Result != nil {
			n += len(p.Result.Text)
		}
	}
	return n
}

// cut keeps the parts that fit into size bytes, and of the first text that does not, its beginning in whole characters.
func cut(parts []port.Part, size int) []port.Part {
	var kept []port.Part
	for i, p := range parts {
		n := partsSize(parts[i : i+1])
		if n <= size {
			kept, size = append(kept, p), size-n
			continue
		}
		if p.Call == nil {
			for size > 0 && !utf8.RuneStart(p.Text[size]) {
				size--
			}
			if size > 0 {
				kept = append(kept, port.Part{Text: p.Text[:size]})
			}
		}
		return kept
	}
	return kept
}

// cloneParts makes the answer the caller's own.
func cloneParts(parts []port.Part) []port.Part {
	own := slices.Clone(parts)
	for i, p := range own {
		if p.Call != nil {
			call := *p.Call
			call.Arguments = slices.Clone(call.Arguments)
			own[i].Call = &call
		}
	}
	return own
}
