package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/port"
)

// answers is a model that gives one answer after the other, and keeps what it was asked.
type answers struct {
	texts []string
	errs  []error // instead of the text of the same place, unless nil
	stop  port.StopReason
	asked []port.Request
}

func (a *answers) Generate(_ context.Context, r port.Request) (port.Response, error) {
	i := len(a.asked)
	a.asked = append(a.asked, r)
	if i < len(a.errs) && a.errs[i] != nil {
		return port.Response{}, a.errs[i]
	}
	if i >= len(a.texts) {
		return port.Response{}, &port.ModelError{Kind: port.ModelInvalid, Err: errors.New("nothing more to say")}
	}
	stop := a.stop
	if stop == "" {
		stop = port.StopEnd
	}
	return port.Response{Parts: []port.Part{{Text: a.texts[i]}}, Stop: stop, Usage: port.Usage{Input: 10, Output: 1}, Model: "fake-1"}, nil
}

const plain = `{"name": "echo", "summary": "s", "steps": ["a"], "acceptance": [{"name": "c", "stdin": "x", "stdout": "x"}]}`

// begun is a job whose requirements are kept.
func begun(t *testing.T, w *world) job {
	t.Helper()
	subject, err := w.contents.Put(t.Context(), []byte(requirements))
	if err != nil {
		t.Fatal(err)
	}
	return job{Run: "run", Name: "requirements.md", Subject: subject}
}

// planned is a draft whose plan is kept.
func planned(t *testing.T, w *world) draft {
	t.Helper()
	d := draft{job: begun(t, w), At: time.Unix(1_700_000_000, 0), Program: "echo", Round: 1, Answer: 1}
	var err error
	d.Plan, err = w.keep(t.Context(), "the plan", Plan{Name: "echo", Summary: "s", Steps: []string{"a"}, Acceptance: []Case{{Name: "c", Stdin: "x", Stdout: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// coded is a program whose files are kept.
func coded(t *testing.T, w *world, files ...file) source {
	t.Helper()
	d := planned(t, w)
	tree := []kept{}
	for _, f := range files {
		digest, err := w.contents.Put(t.Context(), []byte(f.Content))
		if err != nil {
			t.Fatal(err)
		}
		tree = append(tree, kept{Path: f.Path, SHA256: digest, Size: len(f.Content)})
	}
	var err error
	if d.Files, err = w.keep(t.Context(), "the files", tree); err != nil {
		t.Fatal(err)
	}
	return source{d}
}

func TestPlanIsRepairedAndKept(t *testing.T) {
	m := &answers{texts: []string{`{"name": "Echo!"}`, `{"name": "echo", "summary": "s", "steps": ["a"], "acceptance": []}`, plain}}
	w := newWorld(t, m, Config{})
	out, err := alone(t, "plan", w.planPhase, begun(t, w))
	if err != nil {
		t.Fatal(err)
	}
	var plan Plan
	if err := w.loadJSON(t.Context(), "the plan", out.Plan, &plan); err != nil || plan.Name != "echo" || out.Program != "echo" {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if s := w.summary(deployed{}, signer{}, out.Trail); !slices.Equal(s.Retried, []string{"plan: 3 answers until one was in order"}) || s.Scripted {
		t.Errorf("the summary says %q was retried", s.Retried)
	}
	e := out.Trail[0]
	if len(m.asked) != 3 || e.Answers != 3 || e.Usage != (port.Usage{Input: 30, Output: 3}) || !slices.Equal(e.Models, []string{"fake-1"}) || !e.OK {
		t.Errorf("%d answers, entry %+v", len(m.asked), e)
	}
	if strings.Contains(e.Detail, "script") {
		t.Errorf("a model is called a script: %q", e.Detail)
	}
	last := m.asked[2]
	if last.Purpose != (port.Purpose{Phase: "plan", Attempt: 3, Subject: out.Subject}) || len(last.Turns) != 5 {
		t.Errorf("the third request is %+v", last)
	}
	if told := last.Turns[4].Parts[0].Text; !strings.Contains(told, "acceptance") {
		t.Errorf("the model is not told what was wrong: %q", told)
	}
}

func TestPlanIsAskedForABoundedNumberOfTimes(t *testing.T) {
	twice := strings.Replace(plain, `{"name": "c"`, `{"name": "c", "stdin": "", "stdout": ""}, {"name": "c"`, 1)
	m := &answers{texts: []string{"no", plain + plain, twice, plain}}
	w := newWorld(t, m, Config{})
	_, err := alone(t, "plan", w.planPhase, begun(t, w))
	wants(t, err, "none of 3 answers", `two acceptance cases are named "c"`)
	if len(m.asked) != 3 {
		t.Errorf("asked %d times", len(m.asked))
	}
}

func TestAModelsErrorsDecideWhetherItIsAskedAgain(t *testing.T) {
	limited := &port.ModelError{Kind: port.ModelRateLimited, RetryAfter: time.Hour, Err: errors.New("slow down")}
	busy := &port.ModelError{Kind: port.ModelOverloaded, Err: errors.New("busy")}
	bad := &port.ModelError{Kind: port.ModelBadOutput, Err: errors.New("garbled")}
	for name, c := range map[string]struct {
		errs  []error
		stop  port.StopReason
		asked int
		says  string
		took  time.Duration
	}{
		"rate limited":   {errs: []error{limited}, asked: 2, took: time.Hour},
		"overloaded":     {errs: []error{busy, busy}, asked: 3},
		"bad output":     {errs: []error{bad}, asked: 2},
		"not authorised": {errs: []error{&port.ModelError{Kind: port.ModelAuth, Err: errors.New("who are you")}}, asked: 1, says: "who are you"},
		"another error":  {errs: []error{errors.New("a stumble")}, asked: 2},
		"refusal":        {stop: port.StopRefusal, asked: 1, says: "another model"},
		"cut off":        {stop: port.StopMaxTokens, asked: 3, says: "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &answers{texts: []string{plain, plain, plain, plain}, errs: c.errs, stop: c.stop}
				w := newWorld(t, m, Config{})
				from := time.Now()
				_, _, err := w.deliver(t)
				plans := 0
				for _, r := range m.asked {
					if r.Purpose.Phase == phasePlan {
						plans++
					}
				}
				if plans != c.asked || time.Since(from) < c.took {
					t.Errorf("asked for a plan %d times, want %d; took %v: %v", plans, c.asked, time.Since(from), err)
				}
				if c.says != "" {
					wants(t, err, `phase "plan"`, c.says)
				} else {
					wants(t, err, `phase "code"`) // no script for it: the plan is done
				}
			})
		})
	}
}

func TestCodeIsRepairedAndKeptByContent(t *testing.T) {
	m := &answers{texts: []string{
		`{"files": [{"path": "../main.go", "content": "package main\n"}]}`,
		`{"files": [{"path": "main.go", "content": "package main\n"}, {"path": "x_test.go", "content": "package main\n"}]}`,
	}}
	w := newWorld(t, m, Config{})
	in := planned(t, w)
	in.Answer = 4
	out, err := alone(t, "code", w.codePhase, in)
	if err != nil {
		t.Fatal(err)
	}
	files, err := w.files(t.Context(), out.Files)
	if err != nil || len(files) != 3 || files[0] != (file{"go.mod", "module echo\n\ngo 1.26\n"}) || files[1].Path != "main.go" {
		t.Errorf("files %+v, %v", files, err)
	}
	if m.asked[0].Purpose.Attempt != 4 || out.Answer != 6 {
		t.Errorf("answers are counted from %d to %d", m.asked[0].Purpose.Attempt, out.Answer)
	}
	if told := m.asked[1].Turns[2].Parts[0].Text; !strings.Contains(told, "relative path") || !strings.Contains(told, "there is no test") {
		t.Errorf("the model is told %q", told)
	}
}

func TestCodeIsToldWhatWasFoundInTheRoundBefore(t *testing.T) {
	m := &answers{texts: []string{`{"files": [{"path": "main.go", "content": "package main\n"}, {"path": "x_test.go", "content": "package main\n"}]}`}}
	w := newWorld(t, m, Config{})
	in := coded(t, w, file{"main.go", "the old program"}).draft
	in.Round, in.Findings = 2, []string{"go test: it has a bug"}
	if _, err := alone(t, "code", w.codePhase, in); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"Print what comes in.", `"acceptance"`, "the old program", "it has a bug"} {
		if !strings.Contains(m.asked[0].Turns[0].Parts[0].Text, s) {
			t.Errorf("the model is not told %q", s)
		}
	}
}

func TestFilesThatAreNoProgramAreRefused(t *testing.T) {
	ok := []file{{"main.go", "package main"}, {"main_test.go", "package main"}, {"LICENSE", ""}, {"inner/testdata/x.txt", ""}, {"broken.go", "pack"}}
	if err := checkFiles(ok); err != nil {
		t.Errorf("a program is refused: %v", err)
	}
	many := slices.Repeat([]file{{"x", strings.Repeat("x", maxFile)}}, maxFiles+1)
	for name, c := range map[string]struct {
		add  []file
		says string
	}{
		"absolute":               {[]file{{"/etc/passwd", ""}}, "relative"},
		"upwards":                {[]file{{"a/../../b", ""}}, "relative"},
		"nothing":                {[]file{{"", ""}}, "relative"},
		"backslashes":            {[]file{{`a\b`, ""}}, "its path has"},
		"hidden":                 {[]file{{".git/config", ""}}, "dot"},
		"ends in a dot":          {[]file{{"a./b", ""}}, "ends in a dot"},
		"long":                   {[]file{{strings.Repeat("a/", 150) + "b", ""}}, "bytes"},
		"a long part":            {[]file{{strings.Repeat("a", 101), ""}}, "longer than"},
		"its own module":         {[]file{{"inner/go.mod", ""}}, "module"},
		"vendored":               {[]file{{"vendor/x/x.go", ""}}, "standard library"},
		"C":                      {[]file{{"x.C", ""}}, "only Go"},
		"twice":                  {[]file{{"MAIN.go", "package main"}}, "taken"},
		"a file and a folder":    {[]file{{"a", ""}, {"a/b", ""}}, "taken"},
		"a folder and a file":    {[]file{{"a/b", ""}, {"a", ""}}, "taken"},
		"too large":              {[]file{{"x", strings.Repeat("x", maxFile+1)}}, "at most"},
		"too many":               {many, "at most"},
		"not text":               {[]file{{"x", "\xff"}}, "UTF-8"},
		"zero bytes":             {[]file{{"x", "\x00"}}, "UTF-8"},
		"another package on top": {[]file{{"x.go", "package x"}}, "package main"},
	} {
		t.Run(name, func(t *testing.T) { wants(t, checkFiles(append(slices.Clone(ok), c.add...)), c.says) })
	}
	wants(t, checkFiles([]file{{"inner/x.go", "package x"}}), "no test", "no program")
}

func TestValidateSendsBackWhatDoesNotPass(t *testing.T) {
	failing := func(command string, res port.Result) func(port.Command) *port.Result {
		return func(c port.Command) *port.Result {
			if c.Program == "go" && c.Args[0] == command || c.Program != "go" && command == "run" {
				return &res
			}
			return nil
		}
	}
	late := port.Result{Ending: port.TimedOut, Exit: -1}
	noisy := says(0, `{"Action":"pass","Test":"TestX"}`+"\n")
	noisy.Stdout.Dropped = 7
	for name, c := range map[string]struct {
		override func(port.Command) *port.Result
		says     string
	}{
		"vet":                      {failing("vet", port.Result{Exit: 1, Stderr: port.Output{Head: []byte("vet: wrong")}}), "vet: wrong"},
		"build":                    {failing("build", port.Result{Exit: 1, Stderr: port.Output{Head: []byte("undefined: x")}}), "undefined: x"},
		"tests that fail":          {failing("test", says(1, `{"Action":"fail","Test":"TestX"}`)), "1 test failed"},
		"tests that do not build":  {failing("test", says(1, "{\"Action\":\"build-output\",\"Output\":\"no such thing\\n\"}\n")), "no such thing"},
		"tests without end":        {failing("test", late), "longer than allowed"},
		"no tests":                 {failing("test", says(0, "")), "no test passed"},
		"skipped tests alone":      {failing("test", says(0, `{"Action":"skip","Test":"TestX"}`)), "no test passed"},
		"characters that grow":     {failing("vet", port.Result{Exit: 1, Stderr: port.Output{Head: []byte(strings.Repeat("<\x01", 20_000))}}), "bytes left out"},
		"a signal":                 {failing("vet", port.Result{Ending: port.Signaled, Exit: -1, Signal: "SIGSEGV"}), "SIGSEGV"},
		"an acceptance case":       {failing("run", says(0, "wrong")), `the program printed "wrong", expected is "x"`},
		"an exit status":           {failing("run", says(3, "x")), "status 3, status 0 is expected"},
		"a program without an end": {failing("run", late), "longer than allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(t), Config{Rounds: 1})
			w.tools.override = c.override
			_, err := alone(t, "validate", w.validatePhase, coded(t, w, file{"main.go", goodProgram}))
			wants(t, err, "did not pass in 1 round", c.says)
		})
	}
	t.Run("an output that is cut and passes", func(t *testing.T) {
		w := newWorld(t, script(t), Config{})
		w.tools.override = failing("test", noisy)
		out, err := alone(t, "validate", w.validatePhase, coded(t, w, file{"main.go", goodProgram}))
		if err != nil || out.Report.Tests.Passed != 1 || out.Report.Cases != 1 || out.Report.Go != "go1.26.0" || out.Report.Binary != port.Digest([]byte(goodProgram)) {
			t.Errorf("%+v, %v", out.Report, err)
		}
	})
}

func TestValidateShutsTheCommandsIn(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	var seen []port.Command
	w.tools.fail = func(c port.Command) error { seen = append(seen, c); return nil }
	if _, err := alone(t, "validate", w.validatePhase, coded(t, w, file{"main.go", goodProgram})); err != nil {
		t.Fatal(err)
	}
	for _, c := range seen {
		switch {
		case c.Program == "go" && c.Args[0] == "env":
		case !c.Offline || c.Time <= 0 || c.Output <= 0:
			t.Errorf("%s %q runs with the network or without limits", c.Program, c.Args)
		case c.Program != "go" && len(c.Env) > 0:
			t.Errorf("the program sees %q", c.Env)
		case c.Program == "go" && (!slices.Contains(c.Env, "GOPROXY=off") || slices.Contains(c.Env, "HOME") || !slices.Contains(c.Env, "GOCACHE=/cache")):
			t.Errorf("go %s sees %q", c.Args[0], c.Env)
		}
	}
	if want := []string{"env", "vet", "build", "test", "run"}; !slices.Equal(w.tools.ran, want) {
		t.Errorf("it ran %q, want %q", w.tools.ran, want)
	}
}

func TestATestThatChangesTheProgramIsFound(t *testing.T) {
	w := newWorld(t, script(t), Config{Rounds: 1})
	built := ""
	w.tools.fail = func(c port.Command) error {
		switch {
		case c.Program == "go" && c.Args[0] == "build":
			built = c.Args[2]
		case c.Program == "go" && c.Args[0] == "test":
			return replace(built, "package main // another")
		}
		return nil
	}
	_, err := alone(t, "validate", w.validatePhase, coded(t, w, file{"main.go", goodProgram}))
	wants(t, err, "the tests changed the program")
}

func TestARunnerThatDoesNotAnswerIsNoFault(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	w.tools.fail = func(c port.Command) error {
		if c.Program == "go" && c.Args[0] == "vet" {
			return fmt.Errorf("out of processes: %w", port.ErrUnavailable)
		}
		return nil
	}
	_, err := alone(t, "validate", w.validatePhase, coded(t, w, file{"main.go", goodProgram}))
	wants(t, err, "go vet: out of processes")
	if strings.Contains(err.Error(), "did not pass") {
		t.Errorf("the program is blamed: %v", err)
	}
}

func TestContentsThatAreGoneFailTheRunAtOnce(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	gone := planned(t, w)
	gone.Files = port.Digest([]byte("never kept"))
	for name, run := range map[string]func() error{
		"plan": func() error { _, err := alone(t, "plan", w.planPhase, job{Run: "r", Subject: gone.Files}); return err },
		"code": func() error {
			_, err := alone(t, "code", w.codePhase, draft{job: gone.job, Plan: gone.Files})
			return err
		},
		"validate": func() error { _, err := alone(t, "validate", w.validatePhase, source{gone}); return err },
		"certify":  func() error { _, err := alone(t, "certify", w.certifyPhase, checked{source: source{gone}}); return err },
		"deploy": func() error {
			_, err := alone(t, "deploy", w.deployPhase, certified{Statement: gone.Files})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wants(t, run(), gone.Files, "not found") })
	}
}
