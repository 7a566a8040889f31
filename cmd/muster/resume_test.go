//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/delivery"
)

// itself is a process of this program.
func itself(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asItself+"=1")
	return cmd
}

// story is what a process of muster run prints.
type story struct {
	lines   *bufio.Scanner
	records []delivery.Record
	errs    bytes.Buffer // standard error, when it has ended
}

// begunIn starts a delivery in a process of its own, and returns when a phase is begun.
func begunIn(t *testing.T, phase, backend, out string) (*exec.Cmd, *story) {
	t.Helper()
	cmd := itself(t, "run", "--json", "--backend", backend, "--out", out, wordcount)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &story{lines: bufio.NewScanner(pipe)}
	cmd.Stderr = &s.errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for s.lines.Scan() {
		var line struct{ Record delivery.Record }
		if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		s.records = append(s.records, line.Record)
		if line.Record.Phase == phase && line.Record.State == delivery.Begun {
			return cmd, s
		}
	}
	t.Fatalf("phase %s was not begun: %v", phase, cmd.Wait())
	return nil, nil
}

// drain reads on to the end of the process.
func (s *story) drain() {
	for s.lines.Scan() {
	}
}

// killedIn runs a delivery in a process that is killed when a phase is begun, and returns the records that it printed.
func killedIn(t *testing.T, phase, backend, out string) (before []delivery.Record) {
	t.Helper()
	cmd, in := begunIn(t, phase, backend, out)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process ended otherwise: %v", err)
	}
	return in.records
}

// repeatsNothing checks what a run that was resumed prints: it begins with what was recorded before, and each phase was begun as often as
// it needs to be, once more the one that its process died in.
func repeatsNothing(t *testing.T, phase string, before []delivery.Record, text string) {
	t.Helper()
	var after []delivery.Record
	begun := map[string]int{}
	for line := range strings.Lines(text) {
		var l struct{ Record *delivery.Record }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Record != nil {
			after = append(after, *l.Record)
			if l.Record.State == delivery.Begun {
				begun[l.Record.Phase]++
			}
		}
	}
	for i, rec := range before {
		if i >= len(after) || after[i].State != rec.State || after[i].Phase != rec.Phase || !after[i].At.Equal(rec.At) {
			t.Fatalf("record %d was %+v and is not there any more", i, rec)
		}
	}
	want := map[string]int{"plan": 1, "code": 2, "validate": 2, "certify": 1, "deploy": 1, "monitor": 1}
	want[phase]++ // the one that the process died in, and no other
	for name, n := range want {
		if begun[name] != n {
			t.Errorf("phase %s was begun %d times, want %d", name, begun[name], n)
		}
	}
}

func TestARunThatWasKilledGoesOnAndRepeatsNothingThatWasRecorded(t *testing.T) {
	for _, phase := range []string{"plan", "code", "validate", "certify", "deploy", "monitor"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			backend, out := "embedded:"+filepath.Join(folder, "data"), filepath.Join(folder, "out")
			before := killedIn(t, phase, backend, out)
			status, list, errs := command(t, "runs", "list", "--json", "--backend", backend)
			lines := values[runLine](t, list)
			if status != exitOK || len(lines) != 1 || lines[0].Alive != "" || lines[0].Phase != phase || lines[0].Out != out {
				t.Fatalf("runs list: status %d: %s%s", status, list, errs)
			}
			status, text, errs := command(t, "resume", "--json", "--backend", backend, lines[0].Run)
			if status != exitOK || errs != "" {
				t.Fatalf("resume: status %d: %s\n%s", status, errs, text)
			}
			if s := lastSummary(t, text); s.Run != lines[0].Run {
				t.Errorf("the summary is of run %s", s.Run)
			}
			repeatsNothing(t, phase, before, text)
			if _, err := os.Stat(filepath.Join(out, "current", "bin", "wordcount")); err != nil {
				t.Error(err)
			}
			if status, _, errs := command(t, "resume", "--backend", backend, lines[0].Run); status != exitConflict || !strings.Contains(errs, "has succeeded") {
				t.Errorf("resumed again: status %d: %s", status, errs)
			}
		})
	}
}

func TestARunThatIsAliveElsewhereIsNotResumed(t *testing.T) {
	folder := t.TempDir()
	backend := "embedded:" + filepath.Join(folder, "data")
	if status, _, errs := command(t, "resume", "--backend", backend); status != exitNotFound || !strings.Contains(errs, "muster runs list") {
		t.Errorf("without any run: status %d: %s", status, errs)
	}
	if status, _, errs := command(t, "resume", "--backend", backend, "nosuch"); status != exitNotFound || !strings.Contains(errs, "muster runs list") {
		t.Errorf("a run that is not there: status %d: %s", status, errs)
	}
	cmd := itself(t, "run", "--backend", backend, "--out", filepath.Join(folder, "out"), wordcount)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(pipe)
	for in.Scan() && !strings.HasPrefix(in.Text(), "validate  begun") {
	}
	if status, _, errs := command(t, "resume", "--backend", backend); status != exitConflict || !strings.Contains(errs, "alive in") {
		t.Errorf("beside it: status %d: %s", status, errs)
	}
	for in.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the run beside which it was tried: %v: %s", err, said.String())
	}
}

func TestCommandsAtOnceShareTheDirectory(t *testing.T) {
	backend := "embedded:" + filepath.Join(t.TempDir(), "data")
	const n = 12
	var all [n]*exec.Cmd
	var said [n]bytes.Buffer
	for i := range all {
		all[i] = itself(t, "publish", "orders", "x", "--backend", backend)
		all[i].Stderr = &said[i]
		if err := all[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, said[i].String())
		}
	}
	_, out, _ := command(t, "topics", "--json", "--backend", backend)
	if l := values[topicLine](t, out); len(l) != 1 || l[0].Count != n {
		t.Errorf("there is %s", out)
	}
}

func TestWhatIsWrongWithAnEmbeddedBackendSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for backend, c := range map[string]struct {
		status int
		says   string
	}{
		"embedded:":                        {exitUsage, "names no directory"},
		"embedded:" + file:                 {exitUnavailable, "embedded:DIR"},
		"relaxed:" + file + "/below":       {exitUnavailable, "embedded:DIR"},
		"nats://127.0.0.1:1":               {exitUnavailable, "see that the server runs"},
		"nats://user:s3cr3t@127.0.0.1:bad": {exitUsage, "cannot be read"},
		"memory":                           {exitUsage, "gone when the command ends"},
	} {
		for _, args := range [][]string{{"stats"}, {"runs", "list"}, {"resume"}} {
			status, _, errs := command(t, append(args, "--backend", backend)...)
			if status != c.status || !strings.Contains(errs, c.says) || strings.Contains(errs, "s3cr3t") {
				t.Errorf("%s with %s: status %d, want %d and %q: %s", args, backend, status, c.status, c.says, errs)
			}
		}
	}
}

func TestTheDataDirectoryIsThatOfTheSystem(t *testing.T) {
	home := func() (string, error) { return "/home/ann", nil }
	for _, c := range []struct {
		system, name, value, want string
	}{
		{"linux", "", "", "/home/ann/.local/share/muster"},
		{"linux", "XDG_DATA_HOME", "/data", "/data/muster"},
		{"linux", "XDG_DATA_HOME", "not/absolute", "/home/ann/.local/share/muster"},
		{"darwin", "", "", "/home/ann/Library/Application Support/muster"},
		{"windows", "LocalAppData", "/local", "/local/muster"},
	} {
		got, err := dataDir(c.system, func(name string) string {
			if name == c.name {
				return c.value
			}
			return ""
		}, home)
		if err != nil || got != c.want {
			t.Errorf("%s with %s=%s: %s, %v, want %s", c.system, c.name, c.value, got, err, c.want)
		}
	}
}

// The run is finished once, whoever of those that want to go on with it gets it, and the other is told what became of it.
func TestOfTwoThatResumeARunAtOnceOneDoes(t *testing.T) {
	for i, phase := range []string{"plan", "code", "validate", "certify", "deploy", "monitor"} {
		t.Run(fmt.Sprint(i, " ", phase), func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			backend, out := "embedded:"+filepath.Join(folder, "data"), filepath.Join(folder, "out")
			before := killedIn(t, phase, backend, out)
			args := []string{"resume", "--json", "--backend", backend}
			if i%2 == 0 {
				_, list, _ := command(t, "runs", "list", "--json", "--backend", backend)
				args = append(args, values[runLine](t, list)[0].Run)
			}
			var both [2]*exec.Cmd
			var outs, errs [2]bytes.Buffer
			for i := range both {
				both[i] = itself(t, args...)
				both[i].Stdout, both[i].Stderr = &outs[i], &errs[i]
			}
			for _, cmd := range both {
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
			}
			done := 0
			for i, cmd := range both {
				_ = cmd.Wait() // its status is looked at
				said := errs[i].String()
				switch status := cmd.ProcessState.ExitCode(); {
				case status == exitOK && said == "":
					done++
					repeatsNothing(t, phase, before, outs[i].String())
				case status == exitConflict && (strings.Contains(said, "alive in") || strings.Contains(said, "has succeeded")):
				case status == exitNotFound && strings.Contains(said, "no run is to be resumed"):
				default:
					t.Errorf("one ends with status %d: %s%s", status, said, outs[i].String())
				}
			}
			_, list, said := command(t, "runs", "list", "--json", "--backend", backend)
			if l := values[runLine](t, list); done == 0 || len(l) != 1 || l[0].State != "succeeded" || l[0].Alive != "" {
				t.Errorf("%d have finished it: %s%s", done, list, said)
			}
			if releases, err := os.ReadDir(filepath.Join(out, "releases")); err != nil || len(releases) != 1 {
				t.Errorf("the releases are %v, %v", releases, err)
			}
		})
	}
}
