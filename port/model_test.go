package port_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

var object = json.RawMessage(`{"type": "object"}`)

func conversation() port.Request {
	return port.Request{
		System: "Be brief.",
		Turns: []port.Turn{
			port.UserText("read a"),
			{Role: port.RoleAssistant, Parts: []port.Part{{Text: "Yes."}, {Call: &port.ToolCall{ID: "1", Name: "read", Arguments: json.RawMessage(`{}`)}}}},
			{Role: port.RoleUser, Parts: []port.Part{{Result: &port.ToolResult{CallID: "1"}}}},
		},
		Tools: []port.Tool{{Name: "read", Schema: object}, {Name: strings.Repeat("t", 64), Schema: object}}, Schema: object, MaxTokens: 1,
		Purpose: port.Purpose{Phase: "plan", Attempt: 1},
	}
}

func TestARequestThatNoModelTakesSaysWhatIsWrong(t *testing.T) {
	if err := conversation().Check(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(r *port.Request){
		"no turns":                         func(r *port.Request) { r.Turns = nil },
		"not the user's":                   func(r *port.Request) { r.Turns = r.Turns[:2] },
		"MaxTokens -1":                     func(r *port.Request) { r.MaxTokens = -1 },
		`attempt -1 of phase "plan"`:       func(r *port.Request) { r.Purpose.Attempt = -1 },
		"schema of the answer":             func(r *port.Request) { r.Schema = json.RawMessage(`"object"`) },
		`tool "a b": a name`:               func(r *port.Request) { r.Tools[0].Name = "a b" },
		"a name has 1 to 64":               func(r *port.Request) { r.Tools[0].Name = strings.Repeat("t", 65) },
		"is there twice":                   func(r *port.Request) { r.Tools[1] = r.Tools[0] },
		`tool "read": its schema`:          func(r *port.Request) { r.Tools[0].Schema = json.RawMessage(`{`) },
		`role "system"`:                    func(r *port.Request) { r.Turns[0].Role = "system" },
		"turn 0: it has no parts":          func(r *port.Request) { r.Turns[0].Parts = nil },
		"turn 0: part 0 has 0 of":          func(r *port.Request) { r.Turns[0].Parts = []port.Part{{}} },
		"turn 1: part 1 has 2 of":          func(r *port.Request) { r.Turns[1].Parts[1].Text = "and" },
		"only the assistant calls":         func(r *port.Request) { r.Turns[1].Role = port.RoleUser },
		"results are the user's":           func(r *port.Request) { r.Turns[1].Parts = r.Turns[2].Parts },
		`call "2", which was not made`:     func(r *port.Request) { r.Turns[2].Parts[0].Result.CallID = "2" },
		"tool \"\": a name has 1 to 64 of": func(r *port.Request) { r.Tools[0].Name = "" },
	} {
		r := conversation()
		spoil(&r)
		err := r.Check()
		e, ok := errors.AsType[*port.ModelError](err)
		if !ok || e.Kind != port.ModelInvalid || !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v, want an invalid request that says %q", err, says)
		}
	}
}

func TestAnAnswerThatIsNotWhatWasAskedForIsBadOutput(t *testing.T) {
	call := func(id, name, arguments string) port.Part {
		return port.Part{Call: &port.ToolCall{ID: id, Name: name, Arguments: json.RawMessage(arguments)}}
	}
	answer := func(stop port.StopReason, parts ...port.Part) port.Response {
		return port.Response{Parts: parts, Stop: stop, Model: "m", Usage: port.Usage{Input: 1, Output: 1}}
	}
	text := port.Part{Text: "x"}
	free, schema := conversation(), conversation()
	free.Schema = nil
	for _, good := range []struct {
		r port.Request
		a port.Response
	}{
		{free, answer(port.StopEnd, text, text)},
		{schema, answer(port.StopEnd, port.Part{Text: `{"a":`}, port.Part{Text: `1}`})},
		{schema, answer(port.StopMaxTokens, text)},
		{schema, answer(port.StopRefusal)},
		{schema, answer(port.StopContextExceeded)},
		{schema, answer(port.StopToolUse, text, call("1", "read", `{}`), call("2", "read", ` {"a": 1}`))},
	} {
		if err := good.a.Check(good.r); err != nil {
			t.Errorf("%+v: %v", good.a, err)
		}
	}
	nobody, counted := answer(port.StopEnd, text), answer(port.StopEnd, text)
	nobody.Model, counted.Usage.Output = "", -1
	for _, bad := range []struct {
		r    port.Request
		a    port.Response
		says string
	}{
		{free, answer(port.StopEnd), "nothing said"},
		{free, answer(port.StopEnd, port.Part{}), "neither a text nor a call"},
		{free, answer(port.StopEnd, port.Part{Result: &port.ToolResult{}}), "neither a text nor a call"},
		{free, answer("tired", text), `unknown reason "tired"`},
		{free, answer(port.StopToolUse, text), "calls none"},
		{free, answer(port.StopEnd, call("1", "read", `{}`)), "has 1 calls"},
		{free, answer(port.StopToolUse, call("1", "write", `{}`)), `calls "write"`},
		{free, answer(port.StopToolUse, call("", "read", `{}`)), "is empty or was used"},
		{free, answer(port.StopToolUse, call("1", "read", `{}`), call("1", "read", `{}`)), "was used before"},
		{free, answer(port.StopToolUse, call("1", "read", `[]`)), "no JSON object"},
		{schema, answer(port.StopEnd, text), "no JSON document"},
		{free, nobody, "which model"},
		{free, counted, "counts 1 and -1 tokens"},
	} {
		err := bad.a.Check(bad.r)
		e, ok := errors.AsType[*port.ModelError](err)
		if !ok || e.Kind != port.ModelBadOutput || !e.Retryable() || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%+v: error is %v, want bad output that says %q", bad.a, err, bad.says)
		}
	}
}

func TestAnAnswerIsReadByTextByCallsAndAsATurn(t *testing.T) {
	a := port.Response{Parts: []port.Part{{Text: "a"}, {Call: &port.ToolCall{ID: "1"}}, {Text: "b"}, {Call: &port.ToolCall{ID: "2"}}}}
	if a.Text() != "ab" || len(a.Calls()) != 2 || a.Calls()[1].ID != "2" {
		t.Errorf("text %q and calls %+v", a.Text(), a.Calls())
	}
	if turn := a.Turn(); turn.Role != port.RoleAssistant || len(turn.Parts) != 4 {
		t.Errorf("turn %+v", turn)
	}
}

func TestAModelErrorSaysWhatItMatchesAndWhetherToRepeat(t *testing.T) {
	sentinels := []error{port.ErrUnavailable, port.ErrUncertain, port.ErrInvalid}
	for kind, want := range map[port.ModelErrorKind]struct {
		sentinel error
		repeat   bool
	}{
		port.ModelRateLimited:    {port.ErrUnavailable, true},
		port.ModelOverloaded:     {port.ErrUnavailable, true},
		port.ModelQuotaExhausted: {port.ErrUnavailable, false},
		port.ModelAuth:           {port.ErrUnavailable, false},
		port.ModelTimeout:        {port.ErrUncertain, true},
		port.ModelInvalid:        {port.ErrInvalid, false},
		port.ModelContextTooLong: {port.ErrInvalid, false},
		port.ModelBadOutput:      {nil, true},
		port.ModelRefused:        {nil, false},
	} {
		err := fmt.Errorf("plan: %w", &port.ModelError{Kind: kind, Model: "m", Err: io.ErrClosedPipe})
		e, ok := errors.AsType[*port.ModelError](err)
		if !ok || e.Retryable() != want.repeat || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v, retryable %v, want %v", kind, err, e.Retryable(), want.repeat)
		}
		for _, s := range sentinels {
			if errors.Is(err, s) != (s == want.sentinel) {
				t.Errorf("%s matches %q: %v", kind, s, errors.Is(err, s))
			}
		}
	}
	for want, e := range map[string]*port.ModelError{
		"model: refused": {Kind: port.ModelRefused},
		"model opus: rate limited, retry after 2s: slow down": {Kind: port.ModelRateLimited, Model: "opus", RetryAfter: 2 * time.Second, Err: errors.New("slow down")},
	} {
		if e.Error() != want {
			t.Errorf("error says %q, want %q", e, want)
		}
	}
}

func ExampleModelError() {
	ask := func() error {
		return &port.ModelError{Kind: port.ModelRateLimited, Model: "opus", RetryAfter: 2 * time.Second}
	}
	if e, ok := errors.AsType[*port.ModelError](ask()); ok && e.Retryable() {
		fmt.Println("again in", e.RetryAfter)
	}
	// Output: again in 2s
}
