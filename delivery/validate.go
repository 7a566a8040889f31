package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// Report is what validate found out about a program that passed.
type Report struct {
	Go        string  `json:"go"`        // the version of the go command, as in "go1.26.8"
	Checks    []Check `json:"checks"`    // the commands that ran
	Tests     Tests   `json:"tests"`     // of go test
	Cases     int     `json:"cases"`     // acceptance cases that passed
	Binary    string  `json:"binary"`    // SHA-256 of the program that was built, kept by content
	Size      int     `json:"size"`      // of it, in bytes
	Isolation string  `json:"isolation"` // how far the runner shut the commands in
}

// Check is one command of validate.
type Check struct {
	Command string        `json:"command"`
	OK      bool          `json:"ok"`
	Took    time.Duration `json:"took"` // nanoseconds
}

// Limits of validate.
const (
	minGo       = "go1.26"
	maxOutput   = 4 << 20  // bytes of a command's output that are read
	maxReason   = 700      // bytes of findings in the reason of a run that failed
	maxFinding  = 8 << 10  // bytes of one finding
	maxBinary   = 64 << 20 // bytes of the program
	keptFailing = 5        // acceptance cases that are told of
)

// errFound ends the checks of a program: what was found goes back to code.
var errFound = errors.New("the program did not pass")

// validatePhase builds and tests the program, and sends back what does not pass.
func (p *Pipeline) validatePhase(ctx context.Context, in source) (checked, error) {
	w := begin(phaseValidate, in.Round, in.Trail)
	files, err := p.files(ctx, in.Files)
	if err != nil {
		return checked{}, w.failed(ctx, err)
	}
	var plan Plan
	if err := p.loadJSON(ctx, "the plan", in.Plan, &plan); err != nil {
		return checked{}, w.failed(ctx, err)
	}
	v := validation{p: p, plan: plan}
	err = p.inScratch(phaseValidate, func(dir string) error { return v.run(ctx, dir, files) })
	switch {
	case errors.Is(err, errFound):
		return checked{}, p.sendBack(ctx, w, in, v)
	case err != nil:
		return checked{}, w.failed(ctx, err)
	}
	out := checked{source: in, Report: v.report}
	out.Trail, err = w.end(ctx, true, fmt.Sprintf("round %d: vet, build, %s and %s passed", in.Round, count(v.report.Tests.Passed, "test"), count(v.report.Cases, "acceptance case")))
	return out, err
}

// sendBack is the verdict on a program that did not pass.
func (p *Pipeline) sendBack(ctx context.Context, w *work, in source, v validation) error {
	why := fmt.Sprintf("round %d: %s", in.Round, v.short)
	if in.Round >= p.c.Rounds {
		return w.failed(ctx, final("the program did not pass in %s: %s\n%s", count(p.c.Rounds, "round"), v.short, clip(strings.Join(v.findings, "\n"), maxReason)))
	}
	next := in.draft
	next.Round, next.Findings = in.Round+1, v.findings
	var err error
	if next.Trail, err = w.end(ctx, false, why); err != nil {
		return err
	}
	return flow.Back(p.code, next, p.c.Rounds)
}

// validation is the checks of one program.
type validation struct {
	p        *Pipeline
	plan     Plan
	report   Report
	short    string   // what did not pass, in a few words
	findings []string // the same, for who writes the code
}

// found ends the checks.
func (v *validation) found(short, finding string) error {
	v.short = short
	v.findings = append(v.findings, short+":\n"+clip(strings.TrimSpace(finding), maxFinding))
	return errFound
}

func (v *validation) run(ctx context.Context, dir string, files []file) error {
	env, err := v.p.toolchain(ctx, dir)
	if err != nil {
		return err
	}
	v.report.Go = env.version
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open %q: %w: %w", dir, port.ErrUnavailable, err)
	}
	err = materialise(root, "src", files)
	if err = errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("write the program into %q: %w: %w", dir, port.ErrUnavailable, err)
	}
	binary := filepath.Join(dir, "bin", v.plan.Name)
	if _, err := v.command(ctx, env, dir, "vet", "./..."); err != nil {
		return err
	}
	if _, err := v.command(ctx, env, dir, "build", "-o", binary, "."); err != nil {
		return err
	}
	body, err := v.built(binary)
	if err != nil {
		return err
	}
	if err := v.test(ctx, env, dir); err != nil {
		return err
	}
	if err := v.accept(ctx, dir, binary); err != nil {
		return err
	}
	// The program's own tests ran beside it, and may write what this user may write.
	if after, err := os.ReadFile(binary); err != nil || !bytes.Equal(after, body) {
		return v.found("the tests changed the program", "The tests must not touch the folder that the program was built in.")
	}
	v.report.Size = len(body)
	v.report.Binary, err = v.p.contents.Put(ctx, body)
	return err
}

// command runs go with arguments in the program's folder.
func (v *validation) command(ctx context.Context, env goEnv, dir string, args ...string) (port.Result, error) {
	res, err := v.p.runner.Run(ctx, port.Command{
		Program: "go", Args: args, Dir: filepath.Join(dir, "src"), Env: env.vars,
		Time: v.p.c.CommandTime, Output: maxOutput, Offline: true,
	})
	if err != nil {
		return res, fmt.Errorf("go %s: %w", args[0], err)
	}
	name := "go " + strings.ReplaceAll(strings.Join(args, " "), dir+string(filepath.Separator), "")
	v.report.Checks = append(v.report.Checks, Check{Command: name, OK: res.OK(), Took: res.Time})
	v.report.Isolation = isolation(res)
	if res.OK() || args[0] == "test" && res.Ending == port.Exited {
		return res, nil
	}
	return res, v.found("go "+args[0]+" "+ending(res), scrub(res.Stderr.String()+res.Stdout.String(), dir))
}

// test runs the program's tests, and believes only what go test itself tells of them.
func (v *validation) test(ctx context.Context, env goEnv, dir string) error {
	res, err := v.command(ctx, env, dir, "test", "-count=1", "-json", "./...")
	if err != nil {
		return err
	}
	tests, said := readTests(res.Stdout)
	v.report.Tests = tests
	said = scrub(res.Stderr.String()+said, dir)
	switch {
	case tests.Failed > 0:
		return v.found(fmt.Sprintf("go test: %s failed, %d passed", count(tests.Failed, "test"), tests.Passed), said)
	case !res.OK():
		return v.found("go test "+ending(res), said)
	case tests.Passed == 0:
		return v.found("go test: no test passed", "Every program needs tests that run.\n"+said)
	}
	return nil
}

// accept runs the acceptance cases.
func (v *validation) accept(ctx context.Context, dir, binary string) error {
	wrong, err := v.p.probe(ctx, dir, binary, v.plan.Acceptance)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return v.found(fmt.Sprintf("acceptance: %d of %s failed", len(wrong), count(len(v.plan.Acceptance), "case")), strings.Join(wrong[:min(len(wrong), keptFailing)], "\n"))
	}
	v.report.Cases = len(v.plan.Acceptance)
	return nil
}

// built is the program as it was built.
func (v *validation) built(binary string) ([]byte, error) {
	info, err := os.Stat(binary)
	if err != nil {
		return nil, fmt.Errorf("the program: %w: %w", port.ErrUnavailable, err)
	}
	if info.Size() > maxBinary {
		return nil, v.found("the program is too large", fmt.Sprintf("It has %d bytes, at most %d are allowed.", info.Size(), maxBinary))
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("the program: %w: %w", port.ErrUnavailable, err)
	}
	return body, nil
}

// goEnv is the go command that a runner has, and what its commands may see.
type goEnv struct {
	version string
	vars    []string
}

// toolchain asks the runner for its go command. What is built sees the build cache, an empty home in dir, and nothing else of the
// environment; no module is ever fetched. An old or missing go command does not get better by trying again.
func (p *Pipeline) toolchain(ctx context.Context, dir string) (goEnv, error) {
	res, err := p.runner.Run(ctx, port.Command{
		Program: "go", Args: []string{"env", "-json", "GOVERSION", "GOCACHE"}, Dir: dir,
		Env:  []string{"PATH", "HOME", "USERPROFILE", "LocalAppData", "XDG_CACHE_HOME", "GOCACHE", "GOROOT", "GOTOOLCHAIN=local", "GOWORK=off", "GO111MODULE=on"},
		Time: p.c.CommandTime,
	})
	const remedy = "install Go 1.26 or newer, and put its go command into the runner's PATH"
	if errors.Is(err, port.ErrNotFound) {
		return goEnv{}, final("delivery: the runner has no go command; %s: %w", remedy, err)
	}
	if err != nil {
		return goEnv{}, fmt.Errorf("delivery: go env: %w", err)
	}
	var has struct{ GOVERSION, GOCACHE string }
	if !res.OK() {
		return goEnv{}, final("delivery: go env %s: %s: %w", ending(res), clip(res.Stderr.String(), maxDetail), port.ErrUnsupported)
	}
	if err := json.Unmarshal([]byte(res.Stdout.String()), &has); err != nil {
		return goEnv{}, final("delivery: go env: %w: %w", port.ErrUnsupported, err)
	}
	// A development version ("devel go1.27-...") is not compared: the program's go.mod tells it what is needed.
	if version.IsValid(has.GOVERSION) && version.Compare(has.GOVERSION, minGo) < 0 {
		return goEnv{}, final("delivery: the runner's go command is %s; %s: %w", has.GOVERSION, remedy, port.ErrUnsupported)
	}
	vars := []string{
		"PATH", "GOROOT", "SYSTEMROOT", "GOCACHE=" + has.GOCACHE, "CGO_ENABLED=0", "GOENV=off", "GOFLAGS=-mod=readonly -trimpath -buildvcs=false",
		"GOPROXY=off", "GOSUMDB=off", "GOTELEMETRY=off", "GOTOOLCHAIN=local", "GOVCS=*:off", "GOWORK=off", "GO111MODULE=on",
	}
	for _, v := range []string{"HOME", "USERPROFILE", "GOPATH", "TMPDIR", "TMP", "TEMP"} {
		vars = append(vars, v+"="+filepath.Join(dir, "home"))
	}
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		return goEnv{}, fmt.Errorf("delivery: %w: %w", port.ErrUnavailable, err)
	}
	return goEnv{version: has.GOVERSION, vars: vars}, nil
}

// ending says how a command that did not succeed ended.
func ending(r port.Result) string {
	switch r.Ending {
	case port.Exited:
		return fmt.Sprintf("failed with status %d", r.Exit)
	case port.Signaled:
		return "was ended by " + r.Signal
	default:
		return "was ended: it took longer than allowed"
	}
}

// isolation says how far a command was shut in.
func isolation(r port.Result) string {
	missing := r.Isolation.Missing(port.Isolation{Network: true, Memory: port.MemoryTotal, Processes: true, Files: true})
	if len(missing) == 0 {
		return "full"
	}
	return "not given: " + strings.Join(missing, ", ")
}

// scrub takes the folder that was worked in out of a text, so that the same program gives the same text.
func scrub(text, dir string) string {
	return strings.ReplaceAll(text, dir+string(filepath.Separator), "")
}
