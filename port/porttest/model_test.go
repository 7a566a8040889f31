package porttest

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster/port"
)

// parrot is a sound model that says what it is asked for in Purpose.Phase, unless spoil breaks it.
type parrot struct {
	spoil func(ctx context.Context, r port.Request, a port.Response, err error) (port.Response, error)
}

func (p parrot) Generate(ctx context.Context, r port.Request) (port.Response, error) {
	a, err := p.sound(ctx, r)
	if p.spoil != nil {
		return p.spoil(ctx, r, a, err)
	}
	return a, err
}

func (p parrot) sound(ctx context.Context, r port.Request) (port.Response, error) {
	if err := r.Check(); err != nil {
		return port.Response{}, err
	}
	if ctx.Err() != nil {
		return port.Response{}, context.Cause(ctx)
	}
	a := port.Response{Model: "parrot", Stop: port.StopEnd, Usage: port.Usage{Input: 1, Output: 9}, Parts: []port.Part{{Text: r.Purpose.Phase}}}
	if r.Purpose.Phase == "tool" && len(r.Tools) > 0 {
		a.Stop = port.StopToolUse
		a.Parts = []port.Part{{Call: &port.ToolCall{ID: "1", Name: r.Tools[0].Name, Arguments: json.RawMessage(`{}`)}}}
	}
	if r.MaxTokens > 0 && r.MaxTokens < a.Usage.Output {
		a.Stop, a.Usage.Output = port.StopMaxTokens, r.MaxTokens
	}
	return a, a.Check(r)
}

func modelSuite(spoil func(ctx context.Context, r port.Request, a port.Response, err error) (port.Response, error)) ModelSuite {
	ask := func(phase string) port.Request {
		return port.Request{Turns: []port.Turn{port.UserText("say it")}, Purpose: port.Purpose{Phase: phase}}
	}
	s := ModelSuite{Open: func(*testing.T) port.Model { return parrot{spoil} }, Text: ask("hello"), JSON: ask(`{"a":1}`), Tool: ask("tool")}
	s.JSON.Schema = json.RawMessage(`{}`)
	s.Tool.Tools = []port.Tool{{Name: "read", Schema: json.RawMessage(`{}`)}}
	return s
}

func TestBrokenModelsAreCaught(t *testing.T) {
	type spoiler = func(ctx context.Context, r port.Request, a port.Response, err error) (port.Response, error)
	answer := func(change func(r port.Request, a *port.Response)) spoiler {
		return func(_ context.Context, r port.Request, a port.Response, err error) (port.Response, error) {
			change(r, &a)
			return a, err
		}
	}
	var busy atomic.Int64
	one := func(how string, s spoiler, caught ...string) broken[ModelSuite] {
		return broken[ModelSuite]{how, modelSuite(s), caught}
	}
	const text, cut = "an answer says what was said, why it ended, what it took and who gave it", "an answer that does not fit says that it was cut"
	catchAll(t, modelPromises(), modelSuite(nil), []broken[ModelSuite]{
		one("does not say who served", answer(func(_ port.Request, a *port.Response) { a.Model = "" }), text),
		one("counts no tokens", answer(func(_ port.Request, a *port.Response) { a.Usage = port.Usage{} }), text),
		one("cuts and says that it had finished", answer(func(_ port.Request, a *port.Response) {
			if a.Stop == port.StopMaxTokens {
				a.Stop = port.StopEnd
			}
		}), cut),
		one("writes more than MaxTokens", answer(func(_ port.Request, a *port.Response) { a.Usage.Output = 9 }), cut),
		one("wraps JSON in a fence", answer(func(r port.Request, a *port.Response) {
			if r.Schema != nil {
				a.Parts = []port.Part{{Text: "```json\n{}\n```"}}
			}
		}), "an answer under a schema is one JSON document"),
		one("calls a tool of its own invention", answer(func(_ port.Request, a *port.Response) {
			if a.Stop == port.StopToolUse {
				a.Parts[0].Call.Name = "rm"
			}
		}), "an answer may call tools of the request"),
		one("takes any request", func(_ context.Context, _ port.Request, a port.Response, err error) (port.Response, error) {
			if errors.Is(err, port.ErrInvalid) {
				err = nil
			}
			return a, err
		}, "a request that no model takes is refused"),
		one("refuses by a bare error", func(_ context.Context, _ port.Request, a port.Response, err error) (port.Response, error) {
			if errors.Is(err, port.ErrInvalid) {
				err = port.ErrInvalid
			}
			return a, err
		}, "a request that no model takes is refused"),
		one("writes into the request", answer(func(r port.Request, _ *port.Response) {
			if len(r.Turns) > 0 && len(r.Turns[0].Parts) > 0 {
				r.Turns[0].Parts[0].Text += "!"
			}
		}), "a request is not changed"),
		one("hides why the context ended", func(ctx context.Context, _ port.Request, a port.Response, err error) (port.Response, error) {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return a, err
		}, "a call whose context has ended says why"),
		one("refuses every third call", func(_ context.Context, _ port.Request, a port.Response, err error) (port.Response, error) {
			if busy.Add(1)%3 == 0 {
				err = &port.ModelError{Kind: port.ModelOverloaded}
			}
			return a, err
		}, "many may ask at once"),
	})
}
