package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/delivery"
)

// asItself makes the test binary the program, for tests that need processes of their own.
const asItself = "MUSTER_TEST_AS_ITSELF"

func TestMain(m *testing.M) {
	if os.Getenv(asItself) != "" {
		main()
	}
	if at := os.Getenv(asServer); at != "" {
		serveNATS(at)
	}
	os.Exit(atHome(m))
}

// atHome runs the tests with a data directory of their own.
func atHome(m *testing.M) int {
	dir, err := os.MkdirTemp("", "muster-test-")
	if err == nil {
		err = os.Setenv("XDG_DATA_HOME", dir)
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	return status
}

const wordcount = "../../examples/wordcount/requirements.md"

// command runs a command line in this process.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestARequirementsFileBecomesADeployedProgramAndASecondRunSwitchesToItsOwn(t *testing.T) {
	out := t.TempDir()
	status, first, errs := command(t, "run", "--out", out, wordcount)
	if status != exitOK || errs != "" {
		t.Fatalf("status %d\n%s%s", status, first, errs)
	}
	for _, want := range []string{"validate  back", "1 test failed", "deploy    done", "healthy", "a script, not a model", "retried"} {
		if !strings.Contains(first, want) {
			t.Errorf("the output does not say %q:\n%s", want, first)
		}
	}
	program := filepath.Join(out, "current", "bin", "wordcount")
	text := "one two\nthree\tfour  \nfive"
	if ours, wc := counts(t, program, text), counts(t, "wc", text); strings.Join(strings.Fields(wc), " ") != strings.TrimSpace(ours) {
		t.Errorf("it says %q, wc %q", ours, wc)
	}
	before := current(t, out)
	status, second, errs := command(t, "run", "--json", "--out", out, wordcount)
	if status != exitOK || errs != "" {
		t.Fatalf("the second run: status %d\n%s%s", status, second, errs)
	}
	if current(t, out) == before {
		t.Error("current was not switched")
	}
	s := lastSummary(t, second)
	if filepath.Base(s.Previous) != filepath.Base(before) || s.Rounds != 2 || !s.Scripted {
		t.Errorf("the summary is %+v", s)
	}
}

func counts(t *testing.T, program, text string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func current(t *testing.T, out string) string {
	t.Helper()
	to, err := os.Readlink(filepath.Join(out, "current"))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// lastSummary checks that every line is JSON, and returns the last one.
func lastSummary(t *testing.T, out string) delivery.Summary {
	t.Helper()
	var line struct {
		Record  *delivery.Record
		Summary *delivery.Summary
	}
	for in := bufio.NewScanner(strings.NewReader(out)); in.Scan(); {
		line.Summary = nil
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", in.Text(), err)
		}
	}
	if line.Summary == nil {
		t.Fatalf("the last line is no summary:\n%s", out)
	}
	return *line.Summary
}

func TestWhatCannotGoWellSaysWhatToDoAndDeploysNothing(t *testing.T) {
	folder := t.TempDir()
	unknown := filepath.Join(folder, "unknown.md")
	file := filepath.Join(folder, "file")
	for _, name := range []string{unknown, file} {
		if err := os.WriteFile(name, []byte("Build a ship.\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(folder, "broken.json")
	if err := os.WriteFile(broken, []byte(`{"modell": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(folder, "out")
	script := "../../examples/wordcount/script.json"
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"requirements that the script does not know": {[]string{"run", "--out", out, "--script", script, unknown}, exitError, "use a script that has it"},
		"requirements that are not there":            {[]string{"run", "--out", out, filepath.Join(folder, "none.md")}, exitNotFound, "give the path of a readable file"},
		"a script that is not there":                 {[]string{"run", "--out", out, unknown}, exitNotFound, "--script"},
		"a script that is broken":                    {[]string{"run", "--out", out, "--script", broken, unknown}, exitError, "modell"},
		"a directory below a file":                   {[]string{"run", "--out", filepath.Join(file, "out"), wordcount}, exitUnavailable, "name one that can be written with --out"},
		"a file for a directory":                     {[]string{"run", "--out", file, wordcount}, exitUnavailable, "name one that can be written with --out"},
		"a model that is not there":                  {[]string{"run", "--model", "gpt", wordcount}, exitUsage, "the models are: scripted"},
		"no requirements":                            {[]string{"run"}, exitUsage, "one requirements file"},
		"a flag that is not there":                   {[]string{"run", "--outt", out, wordcount}, exitUsage, "muster run --help"},
		"a command that is not there":                {[]string{"rnu"}, exitUsage, "muster --help"},
	} {
		status, stdout, stderr := command(t, c.args...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: status %d, want %d, and %q in\n%s%s", name, status, c.status, c.says, stdout, stderr)
		}
	}
	if _, err := os.Lstat(filepath.Join(out, "current")); !os.IsNotExist(err) {
		t.Errorf("something was deployed: %v", err)
	}
}

func TestAnInterruptEndsTheRun(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan int, 1)
	var errs bytes.Buffer
	folder := t.TempDir()
	go func() {
		done <- run(ctx, []string{"run", "--out", folder, wordcount}, strings.NewReader(""), out, &errs)
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	}()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "validate  begun") {
			interrupt()
		}
	}
	if status := <-done; status != exitError || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("status %d: %s", status, errs.String())
	}
	interrupt()
	if _, err := os.Lstat(filepath.Join(folder, "current")); !os.IsNotExist(err) {
		t.Errorf("something was deployed: %v", err)
	}
}

func TestATerminalShowsThePhaseUnderWay(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, live: true}
	at := time.Now()
	for _, rec := range []delivery.Record{
		{Phase: "code", State: delivery.Queued, At: at},
		{Phase: "code", State: delivery.Begun, Attempt: 2, At: at},
		{Phase: "code", State: delivery.Done, Attempt: 2, At: at, Elapsed: time.Second, Detail: "4 files"},
	} {
		if err := p.record(rec); err != nil {
			t.Fatal(err)
		}
	}
	got := out.String()
	if !strings.Contains(got, "\r\x1b[Kcode      ...") || !strings.HasSuffix(got, "code      done       1.0s (attempt 2)  4 files\n") {
		t.Errorf("it shows %q", got)
	}
}

func TestTheVersionComesFromTheBuild(t *testing.T) {
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                     {Main: debug.Module{Version: "v1.2.3"}},
		"devel":                      {Main: debug.Module{Version: "(devel)"}},
		"devel-0123456789ab+changes": {Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}},
	} {
		if got := version(info, true); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if status, out, _ := command(t, "version"); status != exitOK || !strings.HasPrefix(out, "muster ") {
		t.Errorf("status %d: %s", status, out)
	}
	if status, out, _ := command(t, "completion", "bash"); status != exitOK || !strings.Contains(out, "muster") {
		t.Errorf("completion: status %d", status)
	}
	if status, out, _ := command(t); status != exitOK || !strings.Contains(out, "run ") {
		t.Errorf("help: status %d: %s", status, out)
	}
}
