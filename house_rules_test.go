package muster_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	module   = "github.com/musterhq/muster"
	maxLines = 600
)

// room is one row of the house that ARCHITECTURE.md draws: who may import whom. A room may always import itself.
type room struct {
	path    string   // below the module's path; * stands for one element; packages below it that have no row belong to it
	code    []string // the rooms of this project that its code may import
	tests   []string // the rooms that its tests may import besides
	testing bool     // its code may import testing; default false
	why     string   // the rule behind the row, told to whoever breaks it
}

var (
	ground = []string{"", "port", "envelope", "retry"}
	held   = append(slices.Clone(ground), "internal/hold")
	uses   = []string{"once", "bus", "cluster", "flow", "cache", "delivery"}
	above  = slices.Concat(ground, uses, []string{"adapter/*"})
	suites = []string{"port/porttest", "bus/bustest", "internal/testserver"}

	whyGround = "the ground is the standard library only: nothing of this project, nothing from outside"
	whyUse    = "the use packages are written once and hold no backend's name: a backend comes in through a port"
	whyTop    = "an arrow only points down, and the rooms of one floor do not look sideways"
)

// floors is the house. A new room is a row here and a section in ARCHITECTURE.md.
var floors = []room{
	{path: "", why: whyGround},
	{path: "port", tests: []string{"adapter/memory"}, why: whyGround},
	{path: "envelope", why: whyGround},
	{path: "retry", why: whyGround},
	{path: "internal/hold", why: whyGround},
	{path: "internal/testserver", testing: true, why: whyGround},
	{path: "port/porttest", code: []string{"port"}, tests: []string{"adapter/memory"}, testing: true, why: "the contract knows the ports and no backend by name"},

	{path: "adapter/*", code: []string{"port", "envelope"}, tests: slices.Concat(ground, []string{"once", "bus", "cluster", "flow", "adapter/memory"}, suites), why: "an adapter stands on the ports, so that one from outside has equal rights"},

	{path: "once", code: held, tests: []string{"adapter/memory"}, why: whyUse},
	{path: "bus", code: held, tests: []string{"adapter/memory", "bus/bustest"}, why: whyUse},
	{path: "bus/bustest", code: slices.Concat(ground, []string{"bus", "adapter/memory"}), testing: true, why: "bustest helps to test handlers: the bus, its ports and the memory backend are enough"},
	{path: "cluster", code: held, tests: []string{"adapter/memory"}, why: whyUse},
	{path: "flow", code: slices.Concat(ground, []string{"bus", "once"}), tests: []string{"adapter/memory", "bus/bustest"}, why: whyUse},
	{path: "cache", code: slices.Concat(ground, []string{"bus", "cluster"}), tests: []string{"adapter/memory", "bus/bustest"}, why: whyUse},
	{path: "delivery", code: slices.Concat(ground, []string{"flow", "bus", "once"}), tests: []string{"adapter/memory", "adapter/scripted", "adapter/dir", "adapter/env", "adapter/local", "bus/bustest"}, why: whyUse},

	{path: "cmd/*", code: above, tests: suites, why: whyTop},
	{path: "examples", code: above, tests: suites, why: whyTop},
	{path: "bench", code: above, tests: suites, why: whyTop},
	{path: "proof", code: above, tests: suites, why: whyTop},
}

// roomOf finds the row of a package, the longest that fits, and the room's own path, in which * is filled in.
func roomOf(pkg string) (room, string, bool) {
	var found room
	own, depth := "", -1
	for _, r := range floors {
		want, have := elements(r.path), elements(pkg)
		if len(want) > len(have) || (len(want) == 0 && len(have) > 0) || len(want) <= depth {
			continue
		}
		if fits, err := path.Match(r.path, path.Join(have[:len(want)]...)); err == nil && fits {
			found, own, depth = r, path.Join(have[:len(want)]...), len(want)
		}
	}
	return found, own, depth >= 0
}

func elements(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// arrow is one import.
type arrow struct {
	from string // the importing package, below the module's path
	to   string // the imported path, in full
	test bool   // a _test.go file imports it
	root bool   // the importing package is of the root module
}

// judge returns what is wrong with an arrow, "" when nothing is.
func judge(a arrow) string {
	r, own, ok := roomOf(a.from)
	if !ok {
		return fmt.Sprintf("%q is no room of the house: give it a row in floors (house_rules_test.go) and a section in ARCHITECTURE.md", a.from)
	}
	if (a.to == "testing" || strings.HasPrefix(a.to, "testing/")) && !a.test && !r.testing {
		return fmt.Sprintf("%s imports %s in code that is not a test: only bus/bustest, port/porttest and internal/testserver may", name(own), a.to)
	}
	if first, _, _ := strings.Cut(a.to, "/"); !strings.Contains(first, ".") {
		return ""
	}
	inside, ok := strings.CutPrefix(a.to, module)
	if !ok {
		if a.root {
			return fmt.Sprintf("%s imports %s: the root module requires nothing, not even in tests; what needs a library is a module of its own", name(own), a.to)
		}
		return ""
	}
	inside = strings.TrimPrefix(inside, "/")
	target, targetOwn, ok := roomOf(inside)
	if !ok {
		return fmt.Sprintf("%s imports %q, which is no room of the house: give it a row in floors (house_rules_test.go)", name(own), inside)
	}
	may := r.code
	if a.test {
		may = slices.Concat(r.code, r.tests)
	}
	if targetOwn == own || slices.Contains(may, target.path) || slices.Contains(may, targetOwn) {
		return ""
	}
	where := "code"
	if a.test {
		where = "tests"
	}
	return fmt.Sprintf("%s imports %s; its %s may import %s. The rule: %s", name(own), name(targetOwn), where, list(may), r.why)
}

func name(p string) string {
	if p == "" {
		return "muster (the root)"
	}
	return p
}

func list(rooms []string) string {
	if len(rooms) == 0 {
		return "nothing of this project"
	}
	named := make([]string, len(rooms))
	for i, r := range rooms {
		named[i] = name(r)
	}
	return strings.Join(named, ", ")
}

// source is one Go file and where it stands.
type source struct {
	path string // below the repository's root
	pkg  string // its package, below the module's path
	root bool   // of the root module
	text []byte
}

// inspect returns what is wrong with a file, one sentence each, that begins with the place.
func inspect(s source) []string {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, s.path, s.text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	report := func(at token.Pos, format string, args ...any) {
		p := fset.Position(at)
		wrong = append(wrong, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
	}
	test := strings.HasSuffix(s.path, "_test.go")
	for _, im := range f.Imports {
		to, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			report(im.Pos(), "import path %s: %v", im.Path.Value, err)
			continue
		}
		if rule := judge(arrow{from: s.pkg, to: to, test: test, root: s.root}); rule != "" {
			report(im.Pos(), "%s", rule)
		}
	}
	if ast.IsGenerated(f) {
		return wrong
	}
	if n := fset.File(f.Pos()).LineCount(); n > maxLines {
		report(f.Pos(), "%d lines, the most is %d: is it still one noun?", n, maxLines)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				report(d.Pos(), "init(): nothing runs by being imported; the caller constructs what it wants")
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR && !test && !strings.HasPrefix(s.pkg, "cmd/") {
				for _, v := range d.Specs {
					if v := v.(*ast.ValueSpec); holdsMap(v) {
						report(v.Pos(), "package-level map %s: no globals and no registries; a switch in a function cannot be changed", v.Names[0].Name)
					}
				}
			}
		}
	}
	if r, _, _ := roomOf(s.pkg); test || r.testing {
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			on, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch called := on.Name + "." + sel.Sel.Name; called {
			case "time.Sleep":
				report(sel.Pos(), "time.Sleep in a test: wait for what happens (a channel, a condition with a deadline, <-time.After in a synctest bubble)")
			case "t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf", "b.SkipNow", "f.Skip", "f.Skipf", "f.SkipNow", "tb.Skip", "tb.Skipf", "tb.SkipNow":
				report(sel.Pos(), "%s: a skip hides what is missing; what a test needs it starts, and where that cannot be had it fails", called)
			}
			return true
		})
	}
	return wrong
}

func holdsMap(v *ast.ValueSpec) bool {
	if _, ok := v.Type.(*ast.MapType); ok {
		return true
	}
	for _, x := range v.Values {
		switch x := x.(type) {
		case *ast.CompositeLit:
			if _, ok := x.Type.(*ast.MapType); ok {
				return true
			}
		case *ast.CallExpr:
			if fn, ok := x.Fun.(*ast.Ident); ok && fn.Name == "make" && len(x.Args) > 0 {
				if _, ok := x.Args[0].(*ast.MapType); ok {
					return true
				}
			}
		}
	}
	return false
}

// strange matches what belongs to one workplace: its folders, its papers, its ticket numbers. The parts are joined here so that
// this file does not match itself.
var strange = regexp.MustCompile(strings.Join([]string{
	`(^|[^\w./-])/wo` + `rk/`,
	`\.\./sha` + `red\b`,
	`/tmp/br` + `ief`,
	`\b(SP` + `EC|DES` + `IGN|AP` + `I|STY` + `LE|LIBRA` + `RIES|COORDI` + `NATION|BR` + `IEF)\.md\b`,
	`(?i)\biss` + `ue #?\d{1,2}\b`,
}, "|"))

// inspectText returns what is wrong with the words of any file.
func inspectText(file string, text []byte) []string {
	var wrong []string
	for i, line := range strings.Split(string(text), "\n") {
		if m := strange.FindString(line); m != "" {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %q means something at one workplace only: say it without", file, i+1, strings.TrimSpace(m)))
		}
	}
	return wrong
}

// goMod is what go mod edit -json prints, as far as the rules look at it.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

// inspectModule returns what is wrong with the go.mod in dir, which is below the repository's root and "." for the root.
func inspectModule(dir string, m goMod) []string {
	var wrong []string
	report := func(format string, args ...any) {
		wrong = append(wrong, path.Join(dir, "go.mod")+": "+fmt.Sprintf(format, args...))
	}
	if want := path.Join(module, dir); m.Module.Path != want {
		report("the module is named %s; its place says %s", m.Module.Path, want)
	}
	if dir == "." && len(m.Require) > 0 {
		report("requires %s: the root module requires nothing, not even in tests", m.Require[0].Path)
	}
	for _, r := range m.Require {
		sibling, ok := strings.CutPrefix(r.Path, module)
		if !ok || (sibling != "" && sibling[0] != '/') {
			continue
		}
		if r.Version != "v0.0.0" {
			report("requires %s %s: until the first tag a sibling is required at v0.0.0", r.Path, r.Version)
		}
		replaced := false
		for _, p := range m.Replace {
			replaced = replaced || p.Old.Path == r.Path && path.Join(dir, p.New.Path) == path.Join(".", strings.TrimPrefix(sibling, "/"))
		}
		if !replaced {
			report("requires %s without replacing it by its folder in this repository: the module does not build with GOWORK=off", r.Path)
		}
	}
	return wrong
}
