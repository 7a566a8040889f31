package port

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Model is one language model, as it was opened: its name, its credentials and its limits belong to the adapter.
type Model interface {
	// Generate asks once and returns the whole answer. An answer that came is a Response, whatever its Stop says; an error
	// means that there is no answer. Every error is a [ModelError], save that of a context that ended, which wraps
	// context.Cause. A call is never repeated by the adapter itself: [ModelError].Retryable says whether to repeat it.
	Generate(ctx context.Context, r Request) (Response, error)
}

// Request is what a model is asked. Adapters call Check first.
type Request struct {
	System    string          // instructions that stand above the conversation; default none
	Turns     []Turn          // the conversation, oldest first; at least one, the last is the user's
	Tools     []Tool          // what the model may call; default none
	Schema    json.RawMessage // JSON Schema of the answer: its text is then one JSON document; default free text
	MaxTokens int             // at most so many tokens are written; default the adapter's own limit
	Purpose   Purpose         // what the request is for; default nothing
}

// Purpose says what a request is for, in the caller's terms. The model does not see it: it goes to records, and it is how a
// model that answers from a script finds the answer, the same one each time.
type Purpose struct {
	Phase   string // of the work, as in "plan"; default none
	Attempt int    // of the phase, from 1; default 0, not counted
	Subject string // what the work is about: [Digest] of the requirements; default none
}

// Role says who speaks.
type Role string

// The two who speak. What a tool answered is a turn of the user.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
)

// Turn is what one side says at once.
type Turn struct {
	Role  Role
	Parts []Part // at least one
}

// UserText is a turn in which the user says text.
func UserText(text string) Turn { return Turn{Role: RoleUser, Parts: []Part{{Text: text}}} }

// Part is a piece of a turn: exactly one of its fields is set.
type Part struct {
	Text   string
	Call   *ToolCall   // the assistant's
	Result *ToolResult // the user's, after the call that it answers
}

// Tool is something that the model may ask its caller to do.
type Tool struct {
	Name        string // 1 to 64 of A-Z a-z 0-9 _ -, once in a request
	Description string
	Schema      json.RawMessage // JSON Schema of the arguments, an object
}

// ToolCall asks for a tool.
type ToolCall struct {
	ID        string          // of this call, for the result
	Name      string          // of a tool of the request
	Arguments json.RawMessage // a JSON object; only the tool knows whether it satisfies the tool's schema
}

// ToolResult is what came of a call.
type ToolResult struct {
	CallID string
	Text   string
	Failed bool // the text says what went wrong
}

// StopReason says why an answer ended.
type StopReason string

// Why an answer ended. With any other than StopEnd and StopToolUse the text is incomplete or missing.
const (
	StopEnd             StopReason = "end"              // the model had finished
	StopMaxTokens       StopReason = "max_tokens"       // MaxTokens or the adapter's limit cut it
	StopToolUse         StopReason = "tool_use"         // it waits for the results of its calls
	StopRefusal         StopReason = "refusal"          // it does not want to answer
	StopContextExceeded StopReason = "context_exceeded" // request and answer did not fit its context window
)

// Response is an answer. Adapters call Check before they return one.
type Response struct {
	Parts []Part // texts and calls, as they came
	Stop  StopReason
	Usage Usage
	Model string // which model answered, as the server names it; a script says "scripted:" and its name
}

// Usage counts tokens, as the model counts them.
type Usage struct {
	Input, Output int
}

// Text is the text of the answer, all parts joined.
func (a Response) Text() string {
	var b strings.Builder
	for _, p := range a.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Calls are the calls of the answer, in order.
func (a Response) Calls() []ToolCall {
	var calls []ToolCall
	for _, p := range a.Parts {
		if p.Call != nil {
			calls = append(calls, *p.Call)
		}
	}
	return calls
}

// Turn is the answer as a turn of the conversation that goes on.
func (a Response) Turn() Turn { return Turn{Role: RoleAssistant, Parts: a.Parts} }

// Check answers a [ModelError] of kind [ModelInvalid] for a request that no model takes.
func (r Request) Check() error {
	if err := r.check(); err != nil {
		return &ModelError{Kind: ModelInvalid, Err: fmt.Errorf("request: %w", err)}
	}
	return nil
}

func (r Request) check() error {
	switch {
	case len(r.Turns) == 0:
		return fmt.Errorf("there are no turns; at least one of the user's is needed")
	case r.Turns[len(r.Turns)-1].Role != RoleUser:
		return fmt.Errorf("the last turn is not the user's: there is nothing to answer")
	case r.MaxTokens < 0:
		return fmt.Errorf("MaxTokens %d is negative; 0 is the adapter's own limit", r.MaxTokens)
	case r.Purpose.Attempt < 0:
		return fmt.Errorf("attempt %d of phase %q is negative; the first is 1", r.Purpose.Attempt, r.Purpose.Phase)
	case len(r.Schema) > 0 && !isJSONObject(r.Schema):
		return fmt.Errorf("the schema of the answer is no JSON object")
	}
	tools := map[string]bool{}
	for _, t := range r.Tools {
		switch {
		case !isToolName(t.Name):
			return fmt.Errorf("tool %s: a name has 1 to 64 of A-Z a-z 0-9 _ -", brief(t.Name))
		case tools[t.Name]:
			return fmt.Errorf("tool %q is there twice", t.Name)
		case !isJSONObject(t.Schema):
			return fmt.Errorf("tool %q: its schema is no JSON object", t.Name)
		}
		tools[t.Name] = true
	}
	calls := map[string]bool{}
	for i, t := range r.Turns {
		if err := t.check(calls); err != nil {
			return fmt.Errorf("turn %d: %w", i, err)
		}
	}
	return nil
}

func (t Turn) check(calls map[string]bool) error {
	if t.Role != RoleUser && t.Role != RoleAssistant {
		return fmt.Errorf("role %q is not %q or %q", t.Role, RoleUser, RoleAssistant)
	}
	if len(t.Parts) == 0 {
		return fmt.Errorf("it has no parts")
	}
	for i, p := range t.Parts {
		switch {
		case p.fields() != 1:
			return fmt.Errorf("part %d has %d of Text, Call and Result; exactly one is needed", i, p.fields())
		case p.Call != nil && t.Role != RoleAssistant:
			return fmt.Errorf("part %d is a call; only the assistant calls", i)
		case p.Call != nil:
			calls[p.Call.ID] = true
		case p.Result != nil && t.Role != RoleUser:
			return fmt.Errorf("part %d is a result; results are the user's", i)
		case p.Result != nil && !calls[p.Result.CallID]:
			return fmt.Errorf("part %d answers call %s, which was not made", i, brief(p.Result.CallID))
		}
	}
	return nil
}

func (p Part) fields() int {
	n := 0
	for _, set := range []bool{p.Text != "", p.Call != nil, p.Result != nil} {
		if set {
			n++
		}
	}
	return n
}

// Check answers a [ModelError] of kind [ModelBadOutput] for an answer that is not what r asked for: a call of an unknown tool
// or without a JSON object, a text that is no JSON where r has a schema, an end with nothing said. Whether the JSON satisfies
// the schema is left to the caller.
func (a Response) Check(r Request) error {
	if err := a.check(r); err != nil {
		return &ModelError{Kind: ModelBadOutput, Model: a.Model, Err: err}
	}
	return nil
}

func (a Response) check(r Request) error {
	tools := map[string]bool{}
	for _, t := range r.Tools {
		tools[t.Name] = true
	}
	ids := map[string]bool{}
	for i, p := range a.Parts {
		switch {
		case p.fields() != 1 || p.Result != nil:
			return fmt.Errorf("part %d of the answer is neither a text nor a call", i)
		case p.Call == nil:
		case !tools[p.Call.Name]:
			return fmt.Errorf("the answer calls %s, which is no tool of the request", brief(p.Call.Name))
		case p.Call.ID == "" || ids[p.Call.ID]:
			return fmt.Errorf("the call of %q has the ID %q, which is empty or was used before", p.Call.Name, p.Call.ID)
		case !isJSONObject(p.Call.Arguments):
			return fmt.Errorf("the arguments of the call of %q are no JSON object", p.Call.Name)
		default:
			ids[p.Call.ID] = true
		}
	}
	switch a.Stop {
	case StopEnd:
		switch {
		case len(ids) > 0:
			return fmt.Errorf("the answer ended, and yet has %d calls", len(ids))
		case len(a.Parts) == 0:
			return fmt.Errorf("the answer ended with nothing said")
		case len(r.Schema) > 0 && !json.Valid([]byte(a.Text())):
			return fmt.Errorf("the answer is no JSON document, and a schema was given")
		}
	case StopToolUse:
		if len(ids) == 0 {
			return fmt.Errorf("the answer waits for tools, and calls none")
		}
	case StopMaxTokens, StopRefusal, StopContextExceeded:
	default:
		return fmt.Errorf("the answer stopped for the unknown reason %q", a.Stop)
	}
	switch {
	case a.Model == "":
		return fmt.Errorf("the answer does not say which model served it")
	case a.Usage.Input < 0 || a.Usage.Output < 0:
		return fmt.Errorf("the answer counts %d and %d tokens", a.Usage.Input, a.Usage.Output)
	}
	return nil
}

func isToolName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	})
}

func isJSONObject(b []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(b), " \t\r\n"), "{") && json.Valid(b)
}
