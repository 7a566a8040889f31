package muster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules stand in house_rules_test.go; the checker is tested in house_checker_test.go.

func TestEveryImportPointsDown(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range p.files() {
			full := filepath.Join(p.Dir, file)
			text, err := os.ReadFile(full)
			if err != nil {
				t.Fatal(err)
			}
			s := source{path: below(t, full), pkg: strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/"), root: p.Module.Path == module, text: text}
			for _, wrong := range inspect(s) {
				t.Error(wrong)
			}
		}
	}
}

func TestNoFileNamesTheWorkplace(t *testing.T) {
	for _, file := range files(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue // not text
		}
		for _, wrong := range inspectText(filepath.ToSlash(file), text) {
			t.Error(wrong)
		}
	}
}

func TestEveryModuleBuildsAloneAndInTheWorkspace(t *testing.T) {
	var work struct{ Use []struct{ DiskPath string } }
	read(t, ".", &work, "work", "edit", "-json")
	var used []string
	for _, u := range work.Use {
		used = append(used, path.Clean(u.DiskPath))
	}
	var found []string
	for _, file := range files(t) {
		dir := filepath.ToSlash(filepath.Dir(file))
		if filepath.Base(file) != "go.mod" || slices.Contains(strings.Split(dir, "/"), "testdata") {
			continue
		}
		found = append(found, dir)
		if dir != "tools" && !slices.Contains(used, dir) {
			t.Errorf("go.work does not use ./%s: go work use ./%s", dir, dir)
		}
		var m goMod
		read(t, dir, &m, "mod", "edit", "-json")
		for _, wrong := range inspectModule(dir, m) {
			t.Error(wrong)
		}
	}
	for _, dir := range used {
		if !slices.Contains(found, dir) || dir == "tools" {
			t.Errorf("go.work uses ./%s, which is no module of the workspace", dir)
		}
	}
}

// listed is a package as go list prints it.
type listed struct {
	Dir, ImportPath string
	Module          struct{ Path string }

	GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
}

func (p listed) files() []string {
	return slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles)
}

// packages lists the packages of every module of the workspace.
func packages(t *testing.T) []listed {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(run(t, ".", "list", "-find", "-json=Dir,ImportPath,Module,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "work")))
	var all []listed
	for {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// files lists the repository's files, without what git and the scripts keep for themselves. The walk also tells the go command
// which files this test depends on, so that its cached result never outlives a change.
func files(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "_artifacts" || file == "bin" || file == filepath.Join(".ci", "out")) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() && d.Name() != ".git" { // in a worktree it is a file
			all = append(all, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func below(t *testing.T, file string) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(root, file)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(rel)
}

func read(t *testing.T, dir string, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal(run(t, dir, args...), into); err != nil {
		t.Fatalf("go %s in %s: %v", strings.Join(args, " "), dir, err)
	}
}

// run runs the go command in dir, in this repository's workspace whatever the caller's environment says.
func run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK="+filepath.Join(root, "go.work"), "GOFLAGS=")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go %s in %s: %v\n%s", strings.Join(args, " "), dir, err, stderr.Bytes())
	}
	return out
}
