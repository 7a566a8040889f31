package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// written is what a model answers when it writes code.
type written struct {
	Files []file `json:"files"`
	Notes string `json:"notes,omitempty"`
}

const codeSchema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["files"],
  "properties": {
    "files": {
      "type": "array", "minItems": 1, "maxItems": 200, "description": "every file of the program",
      "items": {
        "type": "object",
        "additionalProperties": false,
        "required": ["path", "content"],
        "properties": {
          "path": {"type": "string", "description": "relative, with slashes"},
          "content": {"type": "string"}
        }
      }
    },
    "notes": {"type": "string", "maxLength": 4000}
  }
}`

const codeSystem = `You write small Go command-line programs that need the standard library alone.
Answer with one JSON document that satisfies the schema: every file of the program, package main in the top folder, with tests that
go test runs. Leave out go.mod: it is written for you. The program is checked by go vet, go build, go test and the plan's acceptance cases.`

// codePhase asks for files until they are in order, and keeps them by content.
func (p *Pipeline) codePhase(ctx context.Context, in draft) (source, error) {
	w := begin(phaseCode, in.Round, in.Trail)
	text, err := p.briefing(ctx, in)
	if err != nil {
		return source{}, err
	}
	q := question{system: codeSystem, text: text, schema: codeSchema, subject: in.Subject, answer: in.Answer}
	code, last, err := ask(ctx, p, w, q, func(c written) error { return checkFiles(c.Files) })
	if err != nil {
		return source{}, w.failed(ctx, err)
	}
	code.Files = append(code.Files, file{Path: "go.mod", Content: goMod(in.Program)})
	out := source{in}
	out.Answer, out.Findings = last+1, nil
	size := 0
	tree := make([]kept, 0, len(code.Files))
	for _, f := range code.Files {
		digest, err := p.contents.Put(ctx, []byte(f.Content))
		if err != nil {
			return source{}, fmt.Errorf("file %q: %w", f.Path, err)
		}
		size += len(f.Content)
		tree = append(tree, kept{Path: f.Path, SHA256: digest, Size: len(f.Content)})
	}
	slices.SortFunc(tree, func(a, b kept) int { return cmp.Compare(a.Path, b.Path) })
	if out.Files, err = p.keep(ctx, "the list of files", tree); err != nil {
		return source{}, err
	}
	out.Trail, err = w.end(ctx, true, fmt.Sprintf("round %d: %s, %s", in.Round, count(len(tree), "file"), count(size, "byte")))
	return out, err
}

// briefing is what code is to be written for: the requirements, the plan, and what was wrong with the files before.
func (p *Pipeline) briefing(ctx context.Context, in draft) (string, error) {
	requirements, err := p.load(ctx, "the requirements", in.Subject)
	if err != nil {
		return "", err
	}
	plan, err := p.load(ctx, "the plan", in.Plan)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The requirements:\n\n%s\n\nThe plan:\n\n%s\n", requirements, plan)
	if in.Files == "" {
		return b.String(), nil
	}
	files, err := p.files(ctx, in.Files)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(written{Files: files})
	if err != nil {
		return "", final("the files of round %d: %w", in.Round-1, err)
	}
	fmt.Fprintf(&b, "\nThe files of the last round:\n\n%s\n\nThey did not pass. What was found:\n", body)
	for _, f := range in.Findings {
		fmt.Fprintf(&b, "\n%s\n", f)
	}
	return b.String(), nil
}

// files are a program's files with their contents.
func (p *Pipeline) files(ctx context.Context, digest string) ([]file, error) {
	var tree []kept
	if err := p.loadJSON(ctx, "the list of files", digest, &tree); err != nil {
		return nil, err
	}
	files := make([]file, len(tree))
	for i, k := range tree {
		body, err := p.load(ctx, fmt.Sprintf("file %q", k.Path), k.SHA256)
		if err != nil {
			return nil, err
		}
		files[i] = file{Path: k.Path, Content: string(body)}
	}
	return files, nil
}

// materialise writes a program's files below a folder of root.
func materialise(root *os.Root, folder string, files []file) error {
	for _, f := range files {
		if err := writeFile(root, path.Join(folder, f.Path), []byte(f.Content), 0o644); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return nil
}
