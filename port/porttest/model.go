package porttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/musterhq/muster/port"
)

// ModelSuite says how to open the model that is to be proved, and what it can be asked. An adapter of a server gives one that
// stands in for the server.
type ModelSuite struct {
	Open func(t *testing.T) port.Model
	Text port.Request // answered with a text of 8 tokens at least, and StopEnd
	JSON port.Request // has a Schema; answered with a document, and StopEnd
	Tool port.Request // has Tools; answered with one call at least, and StopToolUse
}

// Model proves the model that s opens, with one subtest for each case.
func Model(t *testing.T, s ModelSuite) { proveAll(t, s, modelPromises()) }

func modelPromises() []promise[ModelSuite] {
	return []promise[ModelSuite]{
		{"an answer says what was said, why it ended, what it took and who gave it", "Response has parts, a stop reason, usage, and which model answered.", modelText},
		{"an answer under a schema is one JSON document", "Schema: the text of the answer is then one JSON document.", modelJSON},
		{"an answer may call tools of the request", "ToolCall.Name is of a tool of the request, Arguments are a JSON object.", modelTool},
		{"an answer that does not fit says that it was cut", "StopMaxTokens: MaxTokens or the adapter's limit cut it.", modelCut},
		{"a request that no model takes is refused", "Check answers a ModelError of kind ModelInvalid; adapters call it first.", modelInvalid},
		{"a request is not changed", "What is given to an adapter is not modified by it.", modelUntouched},
		{"a call whose context has ended says why", "The error of a context that ended wraps context.Cause.", modelEnded},
		{"many may ask at once", "Everything is safe for use by many goroutines at once.", modelCrowd},
	}
}

// answer asks and fails unless the answer is whole and sound.
func (e *exam) answer(m port.Model, r port.Request, stop port.StopReason) port.Response {
	a, err := m.Generate(e.ctx, r)
	e.must(err, "Generate")
	e.must(a.Check(r), "the answer")
	e.check(a.Stop == stop, "the answer stopped for %q, want %q", a.Stop, stop)
	return a
}

func modelText(e *exam, s ModelSuite) {
	a := e.answer(s.Open(e.t), s.Text, port.StopEnd)
	e.check(a.Text() != "", "the answer has no text")
	e.check(a.Usage.Input > 0 && a.Usage.Output > 0, "the usage is %+v", a.Usage)
}

func modelJSON(e *exam, s ModelSuite) {
	e.check(len(s.JSON.Schema) > 0, "the suite's request JSON has no Schema")
	a := e.answer(s.Open(e.t), s.JSON, port.StopEnd)
	e.check(json.Valid([]byte(a.Text())), "the answer %.80q is no JSON document", a.Text())
}

func modelTool(e *exam, s ModelSuite) {
	m := s.Open(e.t)
	a := e.answer(m, s.Tool, port.StopToolUse)
	e.check(len(a.Calls()) > 0, "the answer has no calls")

	none := s.Tool
	none.Tools = nil
	b, err := m.Generate(e.ctx, none)
	e.check(err != nil || len(b.Calls()) == 0, "the answer to a request without tools calls %v", b.Calls())
}

func modelCut(e *exam, s ModelSuite) {
	r := s.Text
	r.MaxTokens = 2
	a := e.answer(s.Open(e.t), r, port.StopMaxTokens)
	e.check(a.Usage.Output <= 2, "of at most 2 tokens, %d were written", a.Usage.Output)
}

func modelInvalid(e *exam, s ModelSuite) {
	m := s.Open(e.t)
	call := port.Part{Call: &port.ToolCall{ID: "1", Name: "t", Arguments: json.RawMessage(`{}`)}}
	tool := port.Tool{Name: "t", Schema: json.RawMessage(`{"type":"object"}`)}
	bad := []func(r *port.Request){
		func(r *port.Request) { r.Turns = nil },
		func(r *port.Request) { r.Turns = []port.Turn{{Role: port.RoleUser}} },
		func(r *port.Request) { r.Turns = []port.Turn{{Role: "system", Parts: []port.Part{{Text: "x"}}}} },
		func(r *port.Request) {
			r.Turns = append(slices.Clone(r.Turns), port.Turn{Role: port.RoleAssistant, Parts: []port.Part{{Text: "x"}}})
		},
		func(r *port.Request) { r.Turns = []port.Turn{{Role: port.RoleUser, Parts: []port.Part{{}}}} },
		func(r *port.Request) { r.Turns = []port.Turn{{Role: port.RoleUser, Parts: []port.Part{call}}} },
		func(r *port.Request) {
			r.Turns = []port.Turn{{Role: port.RoleUser, Parts: []port.Part{{Result: &port.ToolResult{CallID: "none"}}}}}
		},
		func(r *port.Request) { r.Tools = []port.Tool{tool, tool} },
		func(r *port.Request) { r.Tools = []port.Tool{{Name: "a b", Schema: tool.Schema}} },
		func(r *port.Request) { r.Tools = []port.Tool{{Name: "t"}} },
		func(r *port.Request) { r.Schema = json.RawMessage(`[`) },
		func(r *port.Request) { r.MaxTokens = -1 },
		func(r *port.Request) { r.Purpose.Attempt = -1 },
	}
	for i, spoil := range bad {
		r := s.Text
		spoil(&r)
		_, err := m.Generate(e.ctx, r)
		e.is(err, port.ErrInvalid, fmt.Sprintf("Generate of bad request %d", i))
		me, ok := errors.AsType[*port.ModelError](err)
		e.check(ok && me.Kind == port.ModelInvalid && !me.Retryable(), "bad request %d: the error %v is no ModelError of kind %q", i, err, port.ModelInvalid)
	}
}

func modelUntouched(e *exam, s ModelSuite) {
	m := s.Open(e.t)
	for _, r := range []port.Request{s.Text, s.JSON, s.Tool} {
		before, err := json.Marshal(r)
		e.must(err, "encode the request")
		_, err = m.Generate(e.ctx, r)
		e.must(err, "Generate")
		after, err := json.Marshal(r)
		e.must(err, "encode the request")
		e.check(reflect.DeepEqual(before, after), "the request was\n%s\nand is\n%s", before, after)
	}
}

func modelEnded(e *exam, s ModelSuite) {
	_, err := s.Open(e.t).Generate(e.ended(), s.Text)
	e.is(err, errEnough, "Generate under an ended context")
}

func modelCrowd(e *exam, s ModelSuite) {
	m := s.Open(e.t)
	e.crowd(16, func(i int) {
		switch i % 3 {
		case 0:
			e.answer(m, s.Text, port.StopEnd)
		case 1:
			e.answer(m, s.JSON, port.StopEnd)
		default:
			e.answer(m, s.Tool, port.StopToolUse)
		}
	})
}
