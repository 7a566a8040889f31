package delivery

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a program's files.
const (
	maxFiles    = 200
	maxFile     = 256 << 10 // bytes
	maxTree     = 4 << 20   // bytes of all files
	maxPath     = 200       // bytes
	maxPathPart = 100       // bytes
)

// file is one file of a program, as a model writes it.
type file struct {
	Path    string `json:"path"`
	Content string `json:"content"`
}

// kept is one file of a program whose content is in the blobs.
type kept struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"` // bytes
}

// checkFiles answers what is wrong with the files of a program; all of it, so that one answer can mend it.
func checkFiles(files []file) error {
	var wrong []error
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(files) > maxFiles {
		report("%d files, at most %d are allowed", len(files), maxFiles)
	}
	total, tests, mains := 0, 0, 0
	taken := map[string]string{}
	for _, f := range files {
		total += len(f.Content)
		if err := checkPath(f.Path); err != nil {
			report("file %.200q: %w", f.Path, err)
			continue
		}
		// Letters that differ in case alone are one file on some systems, and a file cannot also be a folder.
		for p := strings.ToLower(f.Path); p != "."; p = path.Dir(p) {
			isFile := p == strings.ToLower(f.Path)
			if other, ok := taken[p]; ok && (isFile || other == p) {
				report("file %q: its place is taken by another file", f.Path)
				break
			}
			if isFile {
				taken[p] = p
			} else {
				taken[p] = "folder"
			}
		}
		switch {
		case len(f.Content) > maxFile:
			report("file %q: it has %d bytes, at most %d are allowed", f.Path, len(f.Content), maxFile)
		case !utf8.ValidString(f.Content) || strings.Contains(f.Content, "\x00"):
			report("file %q: it is no UTF-8 text", f.Path)
		}
		switch {
		case strings.HasSuffix(f.Path, "_test.go"):
			tests++
		case path.Dir(f.Path) == "." && path.Ext(f.Path) == ".go":
			mains++
			if name := packageOf(f.Content); name != "" && name != "main" {
				report("file %q: it is of package %s; the top folder holds package main", f.Path, name)
			}
		}
	}
	if total > maxTree {
		report("all files have %d bytes, at most %d are allowed", total, maxTree)
	}
	if tests == 0 {
		report("there is no test: a file *_test.go is needed")
	}
	if mains == 0 {
		report("there is no program: a file of package main in the top folder is needed")
	}
	return errors.Join(wrong...)
}

// packageOf is the name in a Go file's package clause; "" when it has none, which is left to the compiler to tell.
func packageOf(text string) string {
	f, err := parser.ParseFile(token.NewFileSet(), "", text, parser.PackageClauseOnly)
	if err != nil {
		return ""
	}
	return f.Name.Name
}

// checkPath refuses every path that is not one of a source file below the program's top folder.
func checkPath(name string) error {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return errors.New("it must be a relative path with slashes, without empty parts, dots and double dots")
	case len(name) > maxPath:
		return fmt.Errorf("its path has %d bytes, at most %d are allowed", len(name), maxPath)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-/", c) >= 0) {
			return fmt.Errorf("its path has %q, allowed are A-Z a-z 0-9 . _ - /", string(rune(c)))
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case len(part) > maxPathPart || strings.HasSuffix(part, "."):
			return fmt.Errorf("part %q of its path is longer than %d bytes or ends in a dot", part, maxPathPart)
		case strings.HasPrefix(part, "."):
			return errors.New("a part of its path begins with a dot")
		case strings.EqualFold(part, "vendor"):
			return errors.New("only the standard library is allowed, nothing is vendored")
		}
	}
	switch base := strings.ToLower(path.Base(name)); {
	case slices.Contains([]string{"go.mod", "go.sum", "go.work", "go.work.sum"}, base):
		return errors.New("the module's files are written by the pipeline; only the standard library is allowed")
	case slices.Contains([]string{".a", ".c", ".cc", ".cpp", ".cxx", ".dll", ".exe", ".h", ".m", ".o", ".s", ".so", ".swig", ".sx", ".syso"}, path.Ext(base)):
		return errors.New("only Go is built: no objects, C or assembly")
	}
	return nil
}

// goMod is the module file of a program.
func goMod(program string) string { return "module " + program + "\n\ngo 1.26\n" }

// writeFile writes a new file below root, and the folders above it.
func writeFile(root *os.Root, name string, body []byte, mode fs.FileMode) (err error) {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
