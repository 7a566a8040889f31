package delivery

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

func replace(path, body string) error { return os.WriteFile(path, []byte(body), 0o755) }

// ready is a program that may be deployed.
func ready(t *testing.T, w *world) certified {
	t.Helper()
	if err := w.target.prepare(); err != nil {
		t.Fatal(err)
	}
	out, err := alone(t, "certify", w.certifyPhase, tested(t, w, file{"main.go", goodProgram}))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestADeployMayBeRepeated(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	in := ready(t, w)
	for range 2 {
		out, err := alone(t, "deploy", w.deployPhase, in)
		if err != nil || out.Previous != "" || out.Release != w.current(t) || len(w.releases(t)) != 1 {
			t.Errorf("release %q after %q, %v; current %q of %q", out.Release, out.Previous, err, w.current(t), w.releases(t))
		}
	}
}

// Rule: the signature and every digest are verified first; what fails leaves nothing behind.
func TestWhatWasChangedIsNotDeployed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, w *world, in *certified, blobs *memoryBlobs)
		says   string
	}{
		"the program":   {func(_ *testing.T, _ *world, in *certified, b *memoryBlobs) { b.damage(in.Report.Binary) }, "damaged"},
		"the statement": {func(_ *testing.T, _ *world, in *certified, b *memoryBlobs) { b.damage(in.Statement) }, "damaged"},
		"a statement of somebody else": {func(t *testing.T, w *world, in *certified, _ *memoryBlobs) {
			other := newWorld(t, script(t), Config{})
			key, err := other.signer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			body, err := key.sign(Statement{Type: StatementType, PredicateType: PredicateType, Subject: []Subject{subject("a", "b")}})
			if err != nil {
				t.Fatal(err)
			}
			if in.Statement, err = w.contents.Put(t.Context(), body); err != nil {
				t.Fatal(err)
			}
		}, "signed by another"},
		"a statement about another program": {func(_ *testing.T, _ *world, in *certified, _ *memoryBlobs) { in.Report.Binary = port.Digest(nil) }, "not about"},
		"a statement of another run":        {func(_ *testing.T, _ *world, in *certified, _ *memoryBlobs) { in.Run = "other" }, "not about"},
		"the release that is there already": {func(t *testing.T, w *world, in *certified, _ *memoryBlobs) {
			if err := os.MkdirAll(w.target.release(releaseID(in.At, in.Run)), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "statement.json"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(t), Config{})
			blobs := &memoryBlobs{}
			w.blobs, w.contents = blobs, port.Contents{Blobs: blobs}
			in := ready(t, w)
			c.change(t, w, &in, blobs)
			before := len(w.releases(t))
			_, err := alone(t, "deploy", w.deployPhase, in)
			wants(t, err, c.says)
			left, readErr := os.ReadDir(filepath.Join(w.out, staging))
			if readErr != nil || len(left) > 0 || w.current(t) != "" || len(w.releases(t)) != before {
				t.Errorf("left behind: %v, releases %q, current %q, %v", left, w.releases(t), w.current(t), readErr)
			}
		})
	}
}

func TestAReleaseIsVerifiedAsItIsOnTheDisk(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"is not the one that was signed": func(dir string) error { return replace(filepath.Join(dir, "bin", "echo"), "changed") },
		"does not belong to it":          func(dir string) error { return replace(filepath.Join(dir, "extra"), "") },
		"missing":                        func(dir string) error { return os.Remove(filepath.Join(dir, "src", "main.go")) },
		"it was changed":                 func(dir string) error { return replace(filepath.Join(dir, statementFile), "{}") },
		"is about release":               func(dir string) error { return os.Rename(dir, filepath.Join(filepath.Dir(dir), "renamed")) },
		"does not belong": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, planFile)), os.Symlink("src/main.go", filepath.Join(dir, planFile)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(t), Config{})
			out, err := alone(t, "deploy", w.deployPhase, ready(t, w))
			if err != nil {
				t.Fatal(err)
			}
			if err := change(w.target.release(out.Release)); err != nil {
				t.Fatal(err)
			}
			key, err := w.PublicKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.target.verify(w.releases(t)[0], key)
			wants(t, err, name)
		})
	}
}

// Rule: what was current before is written down before the switch, so a worker that dies between loses nothing.
func TestTheReleaseBeforeIsKnownAfterEveryRepetition(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	if err := w.target.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ id, before string }{{"a", ""}, {"a", ""}, {"b", "a"}, {"b", "a"}, {"c", "b"}} {
		before, err := w.target.activate(step.id)
		if err != nil || before != step.before || w.current(t) != step.id {
			t.Fatalf("activate %s: before it %q, want %q; current %q, %v", step.id, before, step.before, w.current(t), err)
		}
	}
	for range 2 {
		if err := w.target.withdraw("c", "b"); err != nil || w.current(t) != "b" {
			t.Fatalf("current is %q, %v", w.current(t), err)
		}
	}
	if err := w.target.withdraw("a", "c"); err != nil || w.current(t) != "b" {
		t.Errorf("withdrawing what is not current switched to %q, %v", w.current(t), err)
	}
}

func TestAPlaceThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	if err := w.target.prepare(); err != nil {
		t.Fatal(err)
	}
	err := w.target.place("x", func(root *os.Root) error {
		return errors.Join(writeFile(root, "half", nil, 0o644), errors.New("the disk is full"))
	})
	wants(t, err, "the disk is full")
	err = w.target.place("x", func(root *os.Root) error { return writeFile(root, "../../escaped", nil, 0o644) })
	wants(t, err, "escapes")
	left, err := os.ReadDir(filepath.Join(w.out, staging))
	if err != nil || len(left) > 0 || len(w.releases(t)) > 0 {
		t.Errorf("left behind: %v, %q, %v", left, w.releases(t), err)
	}
}

func TestWhatWorkersLeftUnfinishedIsRemovedAfterADay(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	if err := w.target.prepare(); err != nil {
		t.Fatal(err)
	}
	old, fresh := filepath.Join(w.out, staging, "old"), filepath.Join(w.out, staging, "fresh")
	if err := errors.Join(os.MkdirAll(filepath.Join(old, "bin"), 0o755), os.Mkdir(fresh, 0o755)); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * stagingKeep)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if err := w.target.prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is old is still there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error(err)
	}
}

func TestARunnerThatCannotProbeCountsAsUnhealthy(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	out, err := alone(t, "deploy", w.deployPhase, ready(t, w))
	if err != nil {
		t.Fatal(err)
	}
	w.tools.fail = func(port.Command) error { return fmt.Errorf("no processes left: %w", port.ErrUnavailable) }
	_, err = alone(t, "monitor", w.monitorPhase, out)
	wants(t, err, "no processes left", "no release is current")
	if w.current(t) != "" || !strings.Contains(err.Error(), out.Release) {
		t.Errorf("current is %q", w.current(t))
	}
}
