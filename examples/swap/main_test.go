//go:build unix

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/musterhq/muster/adapter/nats" // the programs are built from it
	"github.com/musterhq/muster/internal/testserver"
)

const (
	path = `"github.com/musterhq/muster/adapter/memory"`
	line = `return memory.New(memory.Config{}), ctx.Err()`
)

// The program is built and run on each backend. What differs is the line that makes the backend, and the import that goes with it.
func TestOneLineNamesTheBackend(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, once := range []string{path, line} {
		if n := strings.Count(string(source), once); n != 1 {
			t.Fatalf("%q is there %d times, want once", once, n)
		}
	}
	if n := strings.Count(string(source), "memory"); n != 3 {
		t.Fatalf("the program names its backend %d times, want once beside its import", n)
	}
	want := "atomic within a family: true\nshipped 1\nshipped 2\nshipped 3\nclosed the books of 3 orders, held: true\n"
	for name, c := range map[string]struct{ line, where string }{
		"memory": {line, ""},
		"redis":  {`return redis.Open(ctx, redis.Config{URL: os.Getenv("SWAP")})`, testserver.Redis(t, testserver.RedisConfig{}).URL()},
		"nats":   {`return nats.Embedded(ctx, nats.EmbeddedConfig{Dir: os.Getenv("SWAP")})`, t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(string(source), path, strings.Replace(path, "memory", name, 1), 1)
			text = strings.Replace(text, line, c.line, 1)
			run := exec.CommandContext(t.Context(), build(t, text))
			run.Env = append(os.Environ(), "SWAP="+c.where)
			out, err := run.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v, it printed\n%swant\n%s", err, out, want)
			}
		})
	}
}

// build compiles the program with another text in the place of main.go.
func build(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs("main.go")
	if err != nil {
		t.Fatal(err)
	}
	other, overlay, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "swap")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {here: other}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{other: []byte(text), overlay: list} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
