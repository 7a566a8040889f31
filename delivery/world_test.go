package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

const requirements = "Print what comes in.\n"

// A program of these tests is a text with words that toolbox understands; it is its own binary.
const (
	goodProgram  = "package main\n// echo\n"
	buggyProgram = "package main\n// echo BUG\n"
	testFile     = "package main\n"
)

// toolbox stands in for the go command and for the programs that it builds.
type toolbox struct {
	mu       sync.Mutex
	version  string                          // of go; default go1.26.0
	missing  bool                            // there is no go command
	override func(port.Command) *port.Result // answers instead, unless nil
	fail     func(port.Command) error        // default none
	ran      []string                        // the first argument of each go command, "run" for a program
}

func (b *toolbox) Run(ctx context.Context, c port.Command) (port.Result, error) {
	if err := c.Check(); err != nil {
		return port.Result{}, err
	}
	if ctx.Err() != nil {
		return port.Result{}, context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	name := "run"
	if c.Program == "go" {
		name = c.Args[0]
	}
	b.ran = append(b.ran, name)
	if b.fail != nil {
		if err := b.fail(c); err != nil {
			return port.Result{}, err
		}
	}
	if b.override != nil {
		if res := b.override(c); res != nil {
			return *res, nil
		}
	}
	if c.Program != "go" {
		return runProgram(c)
	}
	if b.missing {
		return port.Result{}, fmt.Errorf("run %q: %w", c.Program, port.ErrNotFound)
	}
	return b.run(c)
}

func (b *toolbox) run(c port.Command) (port.Result, error) {
	version := b.version
	if version == "" {
		version = "go1.26.0"
	}
	main, err := os.ReadFile(filepath.Join(c.Dir, "main.go"))
	if c.Args[0] != "env" && err != nil {
		return port.Result{}, err
	}
	said := func(format string, args ...any) (port.Result, error) {
		return says(0, fmt.Sprintf(format, args...)), nil
	}
	switch {
	case c.Args[0] == "env":
		return said(`{"GOVERSION": %q, "GOCACHE": "/cache"}`, version)
	case c.Args[0] == "build":
		if err := os.MkdirAll(filepath.Dir(c.Args[2]), 0o755); err != nil {
			return port.Result{}, err
		}
		return says(0, ""), os.WriteFile(c.Args[2], main, 0o755)
	case c.Args[0] == "test" && strings.Contains(string(main), "BUG"):
		return says(1, `{"Action":"output","Package":"x","Test":"TestEcho","Output":"echo_test.go:7: it has a bug\n"}
{"Action":"fail","Package":"x","Test":"TestEcho"}
`), nil
	case c.Args[0] == "test":
		return said(`{"Action":"pass","Package":"x","Test":"TestEcho"}` + "\n")
	}
	return said("")
}

// runProgram runs a program of these tests.
func runProgram(c port.Command) (port.Result, error) {
	body, err := os.ReadFile(c.Program)
	if err != nil {
		return port.Result{}, fmt.Errorf("%w: %w", port.ErrNotFound, err)
	}
	if strings.Contains(string(body), "SICK") && strings.Contains(c.Program, releasesFolder) {
		return says(0, "unwell"), nil
	}
	return says(0, string(c.Stdin)), nil
}

func says(exit int, text string) port.Result {
	return port.Result{Exit: exit, Stdout: port.Output{Head: []byte(text)}}
}

// script is a model's answers: the plan, one program for each round, and a review.
func script(t *testing.T, programs ...string) *scripted.Model {
	t.Helper()
	quote := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	plan := Plan{Name: "echo", Summary: "Prints what comes in.", Steps: []string{"copy"}, Acceptance: []Case{{Name: "a word", Stdin: "hello\n", Stdout: "hello\n"}}}
	answers := []string{`{"phase": "plan", "json": ` + quote(plan) + `}`, `{"phase": "review", "json": {"summary": "Fine.", "concerns": ["none to speak of"]}}`}
	for i, p := range programs {
		answers = append(answers, fmt.Sprintf(`{"phase": "code", "attempt": %d, "json": %s}`, i+1, quote(written{Files: []file{{"main.go", p}, {"main_test.go", testFile}}})))
	}
	return parse(t, answers...)
}

func parse(t *testing.T, answers ...string) *scripted.Model {
	t.Helper()
	m, err := scripted.Parse("script.json", []byte(`{"model": "echo", "scripts": [{"requirements": [{"text": "Print what comes in."}], "answers": [`+strings.Join(answers, ",")+`]}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// world is a pipeline and all that it stands on.
type world struct {
	*Pipeline
	backend *memory.Backend
	tools   *toolbox
	blobs   port.Blobs
	out     string
}

func newWorld(t *testing.T, model port.Model, c Config) *world {
	t.Helper()
	base := t.TempDir()
	blobs, err := dir.Open(filepath.Join(base, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{backend: memory.New(memory.Config{}), tools: &toolbox{}, blobs: blobs, out: filepath.Join(base, "out")}
	if c.Scratch == "" {
		c.Scratch = t.TempDir()
	}
	if w.Pipeline, err = New(model, blobs, w.tools, w.out, c); err != nil {
		t.Fatal(err)
	}
	return w
}

// with is the world with another model, as when somebody starts the next run.
func (w *world) with(t *testing.T, model port.Model) *world {
	t.Helper()
	p, err := New(model, w.blobs, w.tools, w.out, w.c)
	if err != nil {
		t.Fatal(err)
	}
	next := *w
	next.Pipeline = p
	return &next
}

var errOver = errors.New("the run is over")

func quiet() flow.Worker { return flow.Worker{Group: bus.Group{Log: slog.New(slog.DiscardHandler)}} }

// deliver starts a run and works until it is over.
func (w *world) deliver(t *testing.T) (Summary, []Record, error) {
	t.Helper()
	return w.deliverText(t, requirements)
}

func (w *world) deliverText(t *testing.T, text string) (Summary, []Record, error) {
	t.Helper()
	run, err := w.Start(t.Context(), w.backend, "", Requirements{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	var s Summary
	var news []Record
	var failed error
	err = muster.Run(t.Context(),
		func(ctx context.Context) error { return w.Work(ctx, w.backend, quiet()) },
		func(ctx context.Context) error {
			for r, err := range run.Watch(ctx) {
				if err != nil {
					return err
				}
				news = append(news, r)
			}
			s, failed = run.Wait(ctx)
			return errOver
		})
	if !errors.Is(err, errOver) {
		t.Fatal(err)
	}
	return s, news, failed
}

// alone runs one phase in a pipeline of its own.
func alone[I, O any](t *testing.T, name string, h flow.Handler[I, O], in I) (out O, err error) {
	t.Helper()
	phase := flow.First(name, h)
	p, err := flow.NewPipeline("alone", phase, phase)
	if err != nil {
		t.Fatal(err)
	}
	b := memory.New(memory.Config{})
	run, err := p.Start(t.Context(), b, "", in)
	if err != nil {
		t.Fatal(err)
	}
	worker := quiet()
	worker.Group.Retry.Tries = 1
	workErr := muster.Run(t.Context(),
		func(ctx context.Context) error { return p.Work(ctx, b, worker) },
		func(ctx context.Context) error {
			out, err = run.Wait(ctx)
			return errOver
		})
	if !errors.Is(workErr, errOver) {
		t.Fatal(workErr)
	}
	return out, err
}

// current is the release that current leads to.
func (w *world) current(t *testing.T) string {
	t.Helper()
	id, err := w.target.now()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// releases are the ids of the releases that are there.
func (w *world) releases(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.out, releasesFolder))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

func wants(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error %q does not say %q", err, p)
		}
	}
}

// memoryBlobs keeps blobs in memory, so that a test can damage them.
type memoryBlobs struct {
	mu    sync.Mutex
	blobs map[string][]byte
}

func (m *memoryBlobs) Put(_ context.Context, key string, body io.Reader, o port.PutOptions) (port.Blob, error) {
	all, err := io.ReadAll(body)
	if err != nil {
		return port.Blob{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blobs[key]; ok && o.IfAbsent {
		return port.Blob{}, port.ErrConflict
	}
	if m.blobs == nil {
		m.blobs = map[string][]byte{}
	}
	m.blobs[key] = all
	return port.Blob{Key: key, Size: int64(len(all))}, nil
}

func (m *memoryBlobs) Get(_ context.Context, key string) (io.ReadCloser, port.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.blobs[key]
	if !ok {
		return nil, port.Blob{}, fmt.Errorf("blob %q: %w", key, port.ErrNotFound)
	}
	return io.NopCloser(strings.NewReader(string(body))), port.Blob{Key: key, Size: int64(len(body))}, nil
}

func (m *memoryBlobs) Stat(ctx context.Context, key string) (port.Blob, error) {
	_, b, err := m.Get(ctx, key)
	return b, err
}

func (m *memoryBlobs) List(context.Context, string) iter.Seq2[port.Blob, error] {
	return func(yield func(port.Blob, error) bool) {
		m.mu.Lock()
		keys := slices.Sorted(maps.Keys(m.blobs))
		m.mu.Unlock()
		for _, key := range keys {
			if !yield(port.Blob{Key: key, At: time.Time{}}, nil) {
				return
			}
		}
	}
}

func (m *memoryBlobs) Delete(_ context.Context, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.blobs, key)
	}
	return nil
}

// damage changes the content with a digest.
func (m *memoryBlobs) damage(digest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs["sha256/"+digest[:2]+"/"+digest] = []byte("something else")
}

var _ port.Blobs = (*memoryBlobs)(nil)
