package scripted

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/musterhq/muster/port"
)

// scriptFile is a script as it is written:
//
//	{
//	  "model": "wordcount",
//	  "scripts": [{
//	    "requirements": [{"sha256": "2cf2..."}, {"text": "Print the number of words."}],
//	    "answers": [
//	      {"phase": "plan", "json": {"steps": ["count", "print"]}},
//	      {"phase": "code", "attempt": 1, "file": "attempt1.json"},
//	      {"phase": "review", "text": "Fine.", "stop": "end"}
//	    ]
//	  }]
//	}
type scriptFile struct {
	Model   string          `json:"model"`   // its name: 1 to 128 of A-Z a-z 0-9 . _ -
	Scripts []scriptSection `json:"scripts"` // at least one
}

type scriptSection struct {
	Requirements []scriptRequirement `json:"requirements"` // any one of them; default every subject that no other section names
	Answers      []scriptAnswer      `json:"answers"`      // at least one
}

// scriptRequirement has one of its fields.
type scriptRequirement struct {
	SHA256 string `json:"sha256"` // of the requirements, as sha256sum(1) prints it
	Text   string `json:"text"`   // the requirements themselves; the last line's end may be left out
}

// scriptAnswer has one of text, json and file, or calls, or a text and calls.
type scriptAnswer struct {
	Phase   string          `json:"phase"`   // of Purpose
	Attempt int             `json:"attempt"` // of Purpose; default every attempt that has no answer of its own
	Text    string          `json:"text"`    // the answer
	JSON    json.RawMessage `json:"json"`    // the answer, a document
	File    string          `json:"file"`    // the answer is in this file, in the script's folder or below
	Calls   []scriptCall    `json:"calls"`   // of tools, after the text
	Stop    port.StopReason `json:"stop"`    // default tool_use with calls, else end
}

type scriptCall struct {
	ID        string          `json:"id"`        // default call- and the place among the calls, from 1
	Name      string          `json:"name"`      // of a tool of the request
	Arguments json.RawMessage `json:"arguments"` // an object
}

// Open reads the script at path, and the files that it names. [port.ErrNotFound] when there is no such file,
// [port.ErrInvalid], with the place, when the script is not in order, an unknown field being one reason.
func Open(path string) (*Model, error) {
	body, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("scripted: script %q: name another (--script): %w: %w", path, port.ErrNotFound, err)
	case err != nil:
		return nil, fmt.Errorf("scripted: script %q: %w: %w", path, port.ErrUnavailable, err)
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("scripted: script %q: %w: %w", path, port.ErrUnavailable, err)
	}
	m, err := Parse(path, body, root.FS())
	return m, errors.Join(err, root.Close())
}

// Parse is Open for a script at hand. Place names it in errors; files has the files that it names.
func Parse(place string, body []byte, files fs.FS) (*Model, error) {
	fail := func(err error) (*Model, error) {
		return nil, fmt.Errorf("scripted: script %q: %w: %w", place, port.ErrInvalid, err)
	}
	var s scriptFile
	if err := decode(body, &s); err != nil {
		return fail(err)
	}
	if err := port.CheckName("model", s.Model); err != nil {
		return fail(err)
	}
	if len(s.Scripts) == 0 {
		return fail(errors.New("scripts: there is none"))
	}
	m := &Model{name: s.Model, place: fmt.Sprintf("%q", place)}
	taken := map[string]int{}
	for i, section := range s.Scripts {
		c, err := section.conversation(files)
		if err != nil {
			return fail(fmt.Errorf("scripts[%d]: %w", i, err))
		}
		of := c.subjects
		if len(of) == 0 {
			of = []string{""}
		}
		for _, subject := range of {
			if first, ok := taken[subject]; ok && first != i {
				return fail(fmt.Errorf("scripts[%d]: its requirements are those of scripts[%d]", i, first))
			}
			taken[subject] = i
		}
		m.scripts = append(m.scripts, c)
	}
	return m, nil
}

func (s scriptSection) conversation(files fs.FS) (conversation, error) {
	var c conversation
	for i, r := range s.Requirements {
		switch {
		case (r.SHA256 == "") == (r.Text == ""):
			return c, fmt.Errorf("requirements[%d]: exactly one of sha256 and text is needed", i)
		case r.Text != "":
			c.subjects = append(c.subjects, port.Digest([]byte(r.Text)), port.Digest([]byte(r.Text+"\n")))
		case len(r.SHA256) != 64 || strings.Trim(r.SHA256, "0123456789abcdef") != "":
			return c, fmt.Errorf("requirements[%d]: sha256 %q is not 64 lower-case hexadecimal digits", i, r.SHA256)
		default:
			c.subjects = append(c.subjects, r.SHA256)
		}
	}
	if len(s.Answers) == 0 {
		return c, errors.New("answers: there is none")
	}
	for i, w := range s.Answers {
		a, err := w.answer(files)
		if err != nil {
			return c, fmt.Errorf("answers[%d] (phase %q, attempt %d): %w", i, w.Phase, w.Attempt, err)
		}
		for _, other := range c.answers {
			if other.phase == a.phase && other.attempt == a.attempt {
				return c, fmt.Errorf("answers[%d]: phase %q, attempt %d, has an answer already", i, a.phase, a.attempt)
			}
		}
		c.answers = append(c.answers, a)
	}
	return c, nil
}

func (w scriptAnswer) answer(files fs.FS) (answer, error) {
	a := answer{phase: w.Phase, attempt: w.Attempt, stop: w.Stop}
	if w.Attempt < 0 {
		return a, errors.New("the attempt is negative; the first is 1")
	}
	text, err := w.text(files)
	if err != nil {
		return a, err
	}
	if text != "" {
		a.parts = append(a.parts, port.Part{Text: text})
	}
	var tools []port.Tool
	for i, call := range w.Calls {
		id := call.ID
		if id == "" {
			id = fmt.Sprintf("call-%d", i+1)
		}
		a.parts = append(a.parts, port.Part{Call: &port.ToolCall{ID: id, Name: call.Name, Arguments: call.Arguments}})
		tools = append(tools, port.Tool{Name: call.Name})
	}
	if a.stop == "" {
		a.stop = port.StopEnd
		if len(w.Calls) > 0 {
			a.stop = port.StopToolUse
		}
	}
	if err := (port.Response{Parts: a.parts, Stop: a.stop, Model: "script"}).Check(port.Request{Tools: tools}); err != nil {
		if e, ok := errors.AsType[*port.ModelError](err); ok {
			err = e.Err
		}
		return a, err
	}
	return a, nil
}

func (w scriptAnswer) text(files fs.FS) (string, error) {
	given := 0
	for _, is := range []bool{w.Text != "", len(w.JSON) > 0, w.File != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return "", errors.New("at most one of text, json and file is allowed")
	case len(w.JSON) > 0:
		var b bytes.Buffer
		if err := json.Compact(&b, w.JSON); err != nil {
			return "", err
		}
		return b.String(), nil
	case w.File != "":
		body, err := fs.ReadFile(files, w.File)
		if err != nil {
			return "", fmt.Errorf("file: %w", err)
		}
		return string(body), nil
	default:
		return w.Text, nil
	}
}
