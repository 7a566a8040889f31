package scripted_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

const script = `{
  "model": "wordcount",
  "scripts": [
    {
      "requirements": [{"text": "Count words."}, {"sha256": "` + "%" + `"}],
      "answers": [
        {"phase": "plan", "json": {"steps": [ "count" ]}},
        {"phase": "code", "attempt": 1, "file": "code/first.txt"},
        {"phase": "code", "attempt": 2, "text": "the second attempt"},
        {"phase": "review", "text": "No.", "stop": "refusal"},
        {"phase": "tool", "text": "Let me see.", "calls": [{"name": "read", "arguments": {"path": "a"}}, {"id": "x", "name": "read", "arguments": {}}]},
        {"phase": "long", "text": "äöü and then a good many words more"}
      ]
    },
    {"answers": [{"phase": "plan", "text": "a plan for anything"}, {"phase": "hello", "text": "hello to anybody"}]}
  ]
}`

func parse(t *testing.T) *scripted.Model {
	t.Helper()
	body := strings.Replace(script, "%", port.Digest([]byte("by digest")), 1)
	m, err := scripted.Parse("script.json", []byte(body), fstest.MapFS{"code/first.txt": {Data: []byte("the first attempt\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(phase string, attempt int, requirements string) port.Request {
	return port.Request{
		Turns:   []port.Turn{port.UserText("whatever")},
		Purpose: port.Purpose{Phase: phase, Attempt: attempt, Subject: port.Digest([]byte(requirements))},
	}
}

func readTool() []port.Tool {
	return []port.Tool{{Name: "read", Schema: json.RawMessage(`{"type":"object"}`)}}
}

func TestModelPassesTheContract(t *testing.T) {
	withSchema, withTools := ask("plan", 1, "Count words."), ask("tool", 1, "Count words.")
	withSchema.Schema = json.RawMessage(`{"type":"object"}`)
	withTools.Tools = readTool()
	porttest.Model(t, porttest.ModelSuite{
		Open: func(t *testing.T) port.Model { return parse(t) },
		Text: ask("long", 1, "Count words."),
		JSON: withSchema,
		Tool: withTools,
	})
}

func TestTheAnswerIsFoundBySubjectPhaseAndAttempt(t *testing.T) {
	m := parse(t)
	for _, c := range []struct {
		request port.Request
		text    string
		stop    port.StopReason
	}{
		{ask("plan", 1, "Count words."), `{"steps":["count"]}`, port.StopEnd},
		{ask("plan", 7, "Count words."), `{"steps":["count"]}`, port.StopEnd},
		{ask("plan", 0, "Count words.\n"), `{"steps":["count"]}`, port.StopEnd},
		{ask("plan", 0, "by digest"), `{"steps":["count"]}`, port.StopEnd},
		{ask("code", 1, "Count words."), "the first attempt\n", port.StopEnd},
		{ask("code", 2, "Count words."), "the second attempt", port.StopEnd},
		{ask("code", 1, "Count words."), "the first attempt\n", port.StopEnd}, // a resumed run asks again
		{ask("review", 1, "Count words."), "No.", port.StopRefusal},
		{ask("plan", 1, "something else"), "a plan for anything", port.StopEnd},
		{ask("hello", 1, "Count words."), "hello to anybody", port.StopEnd},
	} {
		got, err := m.Generate(t.Context(), c.request)
		if err != nil || got.Text() != c.text || got.Stop != c.stop || got.Model != "scripted:wordcount" {
			t.Errorf("%+v: %+v, %v; want %q and %q", c.request.Purpose, got, err, c.text, c.stop)
		}
	}
}

func TestAMissingAnswerSaysWhatWasAskedAndWhatToDo(t *testing.T) {
	only, err := scripted.Parse("s.json", []byte(`{"model": "m", "scripts": [{"requirements": [{"text": "known"}], "answers": [{"phase": "plan", "attempt": 1, "text": "x"}]}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	nothing := ask("plan", 1, "")
	nothing.Purpose.Subject = ""
	for _, c := range []struct {
		request port.Request
		says    []string
	}{
		{ask("plan", 1, "unknown"), []string{port.Digest([]byte("unknown")), "does not know the requirements"}},
		{nothing, []string{"(none was given)"}},
		{ask("plan", 2, "known"), []string{`phase "plan", attempt 2`, port.Digest([]byte("known"))}},
		{ask("code", 1, "known"), []string{`phase "code", attempt 1`}},
	} {
		_, err := only.Generate(t.Context(), c.request)
		e, ok := errors.AsType[*port.ModelError](err)
		if !errors.Is(err, port.ErrNotFound) || !ok || e.Retryable() {
			t.Fatalf("%+v: error is %v, want a ModelError that is ErrNotFound and not worth a retry", c.request.Purpose, err)
		}
		for _, s := range append(c.says, `"s.json"`, "--script") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%+v: the error %q does not say %q", c.request.Purpose, err, s)
			}
		}
	}
}

func TestACallOfAToolIsTheCallersOwn(t *testing.T) {
	m, r := parse(t), ask("tool", 1, "Count words.")
	r.Tools = readTool()
	first, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	calls := first.Calls()
	if len(calls) != 2 || calls[0].ID != "call-1" || calls[1].ID != "x" || string(calls[0].Arguments) != `{"path": "a"}` {
		t.Fatalf("calls are %+v", calls)
	}
	calls[0].Arguments[0] = 'X'
	again, err := m.Generate(t.Context(), r)
	if err != nil || string(again.Calls()[0].Arguments) != `{"path": "a"}` {
		t.Errorf("after a caller wrote into the arguments they are %s, %v", again.Calls()[0].Arguments, err)
	}
	r.Turns = append(r.Turns, first.Turn(), port.Turn{Role: port.RoleUser, Parts: []port.Part{{Result: &port.ToolResult{CallID: "x", Text: "four"}}}})
	more, err := m.Generate(t.Context(), r)
	if err != nil || more.Usage.Input <= first.Usage.Input {
		t.Errorf("usage with more turns: %+v, %v; before: %+v", more.Usage, err, first.Usage)
	}
}

func TestATextIsCutBetweenCharactersAndCallsAreNotCut(t *testing.T) {
	m, r := parse(t), ask("long", 1, "Count words.")
	for limit, want := range map[int]string{1: "äö", 2: "äöü a", 100: "äöü and then a good many words more"} {
		r.MaxTokens = limit
		got, err := m.Generate(t.Context(), r)
		if err != nil || got.Text() != want || got.Usage.Output > limit {
			t.Errorf("at most %d tokens: %q, %+v, %v; want %q", limit, got.Text(), got.Usage, err, want)
		}
	}
	r = ask("tool", 1, "Count words.")
	r.Tools, r.MaxTokens = readTool(), 3
	got, err := m.Generate(t.Context(), r)
	if err != nil || got.Text() != "Let me see." || len(got.Calls()) != 0 || got.Stop != port.StopMaxTokens {
		t.Errorf("calls that do not fit: %+v, %v", got, err)
	}
}

func TestAnAnswerThatDoesNotFitTheRequestIsBadOutput(t *testing.T) {
	m := parse(t)
	noJSON := ask("code", 1, "Count words.")
	noJSON.Schema = json.RawMessage(`{}`)
	for _, r := range []port.Request{noJSON, ask("tool", 1, "Count words.")} {
		_, err := m.Generate(t.Context(), r)
		if e, ok := errors.AsType[*port.ModelError](err); !ok || e.Kind != port.ModelBadOutput {
			t.Errorf("%+v: error is %v, want bad output", r.Purpose, err)
		}
	}
}

func TestAScriptThatIsNotInOrderIsRefusedWithThePlace(t *testing.T) {
	one := func(answer string) string {
		return "{\"model\": \"m\", \"scripts\": [{\"answers\": [\n" + answer + "\n]}]}"
	}
	for body, says := range map[string]string{
		"":                                   "line 1, column 1: unexpected EOF",
		"[]":                                 "an object is needed",
		`{"model": "m"`:                      "unexpected",
		`{"model": "m"} {}`:                  "something follows",
		"{\n \"model\": \"m\",\n x}":         "line 3",
		`{"model": "m"}`:                     "scripts: there is none",
		`{"model": "a b", "scripts":[]}`:     "character",
		"{\"model\": \"m\",\n\"modell\": 1}": `line 2, column 9: unknown field "modell"; there are model, scripts`,
		`{"Model": "m"}`:                     `unknown field "Model"`,
		`{"model": "m", "model": "n"}`:       "there twice",
		`{"model": 7, "scripts": []}`:        "line 1",
		`{"model": "m", "scripts": {}}`:      "a list is needed",
		`{"model": "m", "scripts": [{"answers": []}]}`:                                                                        "scripts[0]: answers: there is none",
		one(`{"phase": "a", "text": "x", "tekst": "y"}`):                                                                      `line 2, column 36: unknown field "tekst"`,
		one(`{"phase": "a", "json": {"tekst": [1, {"b": 2}]`):                                                                 "line 2, column 32: invalid character",
		one(`{"phase": "a"}`):                                                                                                 `answers[0] (phase "a", attempt 0): the answer ended with nothing said`,
		one(`{"phase": "a", "text": "x", "json": 1}`):                                                                         "at most one",
		one(`{"phase": "a", "text": "x", "attempt": -1}`):                                                                     "negative",
		one(`{"phase": "a", "text": "x", "stop": "tired"}`):                                                                   "unknown reason",
		one(`{"phase": "a", "file": "none.txt"}`):                                                                             "none.txt",
		one(`{"phase": "a", "file": "../up.txt"}`):                                                                            "invalid",
		one(`{"phase": "a", "calls": [{"name": "t"}]}`):                                                                       "no JSON object",
		one(`{"phase": "a", "text": "x"}, {"phase": "a", "text": "y"}`):                                                       "has an answer already",
		`{"model": "m", "scripts": [{"requirements": [{}], "answers": []}]}`:                                                  "requirements[0]: exactly one",
		`{"model": "m", "scripts": [{"requirements": [{"sha256": "ABC"}], "answers": []}]}`:                                   "64 lower-case",
		`{"model": "m", "scripts": [{"answers": [{"phase": "a", "text": "x"}]}, {"answers": [{"phase": "b", "text": "x"}]}]}`: "scripts[1]: its requirements are those of scripts[0]",
	} {
		_, err := scripted.Parse("s.json", []byte(body), fstest.MapFS{})
		if !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), `"s.json"`) {
			t.Errorf("script %s\nerror is %v, want one that says %q", body, err, says)
		}
	}
}

func TestAScriptIsReadWithTheFilesBesideIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "script.json")
	write := func(path, body string) {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, `{"model": "m", "scripts": [{"answers": [{"phase": "plan", "file": "plan.txt"}]}]}`)
	if _, err := scripted.Open(path); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), "plan.txt") {
		t.Errorf("a file that is missing: %v", err)
	}
	write(filepath.Join(dir, "plan.txt"), "the plan")
	m, err := scripted.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := scripted.Open(path)
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("opened twice, the models differ: %v", err)
	}
	got, err := m.Generate(t.Context(), ask("plan", 1, "any"))
	if err != nil || got.Text() != "the plan" {
		t.Errorf("the answer is %+v, %v", got, err)
	}
	if _, err := scripted.Open(filepath.Join(dir, "none.json")); !errors.Is(err, port.ErrNotFound) || !strings.Contains(err.Error(), "--script") {
		t.Errorf("a script that is missing: %v", err)
	}
	if _, err := scripted.Open(dir); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("a script that is a directory: %v", err)
	}
}
