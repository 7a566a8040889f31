package delivery

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

func TestWhatFailsItsTestsIsWrittenAgainAndThenDeployed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, buggyProgram, goodProgram), Config{})
		s, news, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		if s.Rounds != 2 || len(s.Retried) != 1 || !strings.Contains(s.Retried[0], "1 test failed") || s.Previous != "" {
			t.Errorf("summary is %+v", s)
		}
		if !s.Scripted || !slices.Equal(s.Models, []string{"scripted:echo"}) || s.Usage.Output == 0 {
			t.Errorf("models are %q, scripted %t, usage %+v", s.Models, s.Scripted, s.Usage)
		}
		body, err := os.ReadFile(s.Binary)
		if err != nil || string(body) != goodProgram || port.Digest(body) != s.Digest {
			t.Errorf("the deployed program is %q, %v", body, err)
		}
		var steps []string
		for _, r := range news {
			if r.State != Queued && r.State != Begun {
				steps = append(steps, r.Phase+" "+string(r.State))
			}
			if (r.State == Done || r.State == Back) && (r.Entry == nil || r.Detail == "" || r.Worker == "" || r.Attempt != 1) {
				t.Errorf("news without what it came to: %+v", r)
			}
			if r.Phase == phaseCode && r.State == Done && !strings.Contains(r.Detail, "scripted:echo (a script, not a model)") {
				t.Errorf("the news does not say plainly that a script answered: %q", r.Detail)
			}
		}
		want := []string{"plan done", "code done", "validate back", "code done", "validate done", "certify done", "deploy done", "monitor done"}
		if !slices.Equal(steps, want) {
			t.Errorf("steps are %q, want %q", steps, want)
		}
		if len(s.Trail) != len(want) {
			t.Errorf("the trail has %d entries, want %d", len(s.Trail), len(want))
		}
		left, err := os.ReadDir(w.c.Scratch)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the scratch directory: %v, %v", left, err)
		}
	})
}

func TestASecondRunMakesASecondReleaseAndKeepsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram), Config{})
		first, _, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		if second.Previous != first.Release || second.Release == first.Release || filepath.Base(second.Release) != w.current(t) || len(w.releases(t)) != 2 {
			t.Errorf("first %s, second %s after %s; current is %s", first.Release, second.Release, second.Previous, w.current(t))
		}
		if second.Digest != first.Digest {
			t.Error("the same answers made two programs")
		}
	})
}

func TestAnUnhealthyReleaseGivesWayToTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram), Config{})
		first, _, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		_, news, err := w.with(t, script(t, goodProgram+"// SICK\n")).deliver(t)
		wants(t, err, "is unhealthy", `case "a word"`, "unwell", "rolled back to "+filepath.Base(first.Release)+", which is healthy")
		failed, ok := errors.AsType[*flow.RunError](err)
		if !ok || failed.Phase != phaseMonitor || failed.Failure.Attempts > 1 {
			t.Errorf("the failure is %+v", failed)
		}
		if w.current(t) != filepath.Base(first.Release) {
			t.Errorf("current is %s", w.current(t))
		}
		if last := news[len(news)-1]; last.State != Failed || last.Entry == nil || last.Entry.OK {
			t.Errorf("the last news is %+v", last)
		}
		// A worker that wakes up late does not bring it back.
		for _, id := range w.releases(t) {
			if id == w.current(t) {
				continue
			}
			_, err := w.target.activate(id)
			wants(t, err, "withdrawn")
		}
	})
}

func TestAnUnhealthyFirstReleaseIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram+"// SICK\n"), Config{})
		_, _, err := w.deliver(t)
		wants(t, err, "unwell", "no release is current")
		if w.current(t) != "" {
			t.Errorf("current is %s", w.current(t))
		}
	})
}

func TestARollBackDoesNotGoToAReleaseThatWasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram), Config{})
		first, _, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(first.Binary, []byte("changed"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, _, err = w.with(t, script(t, goodProgram+"// SICK\n")).deliver(t)
		wants(t, err, "no release is current", "not back to "+filepath.Base(first.Release), "is not the one that was signed")
		if w.current(t) != "" {
			t.Errorf("current is %s", w.current(t))
		}
	})
}

func TestAProgramThatNeverPassesIsNotDeployed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, buggyProgram, buggyProgram, goodProgram), Config{Rounds: 2})
		_, _, err := w.deliver(t)
		wants(t, err, `phase "validate"`, "did not pass in 2 rounds", "it has a bug")
		if w.current(t) != "" || len(w.releases(t)) > 0 {
			t.Errorf("something is deployed: %q", w.releases(t))
		}
	})
}

func TestRequirementsThatTheScriptDoesNotKnowFailWithWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram), Config{})
		_, _, err := w.deliverText(t, "Do something else.")
		wants(t, err, `phase "plan"`, "does not know the requirements", "--script")
		if len(w.releases(t)) > 0 {
			t.Errorf("something is deployed: %q", w.releases(t))
		}
	})
}

// Rule: nothing begins when it is known that it cannot end.
func TestPreflightRefusesBeforeTheRunBegins(t *testing.T) {
	blocked := func(t *testing.T, w *world, at string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(w.out, at)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.out, at), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		set  func(t *testing.T, w *world)
		says []string
	}{
		"the target is a file":          {func(t *testing.T, w *world) { blocked(t, w, "") }, []string{"cannot be made", "--out"}},
		"a folder in it is a file":      {func(t *testing.T, w *world) { blocked(t, w, "releases") }, []string{"cannot be written", "--out"}},
		"current is no link":            {func(t *testing.T, w *world) { blocked(t, w, "current") }, []string{"no symbolic link", "--out"}},
		"current leads elsewhere":       {func(t *testing.T, w *world) { link(t, w, "elsewhere") }, []string{"no release", "--out"}},
		"there is no go command":        {func(_ *testing.T, w *world) { w.tools.missing = true }, []string{"no go command", "install Go 1.26"}},
		"the go command is old":         {func(_ *testing.T, w *world) { w.tools.version = "go1.25.9" }, []string{"go1.25.9", "install Go 1.26"}},
		"the go command is another one": {func(_ *testing.T, w *world) { w.tools.override = answer1(says(0, "go (board game)")) }, []string{"go env"}},
		"the go command fails":          {func(_ *testing.T, w *world) { w.tools.override = answer1(says(2, "")) }, []string{"failed with status 2"}},
		"the key is none":               {func(t *testing.T, w *world) { blocked(t, w, ".muster/signing-key.pem") }, []string{"signing key", "openssl"}},
		"no scratch directory":          {func(t *testing.T, w *world) { w.c.Scratch = filepath.Join(w.out, "none") }, []string{"TMPDIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(t, goodProgram), Config{})
			c.set(t, w)
			_, err := w.Start(t.Context(), w.backend, "", Requirements{Text: requirements})
			wants(t, err, c.says...)
			for key, err := range w.backend.Keys(t.Context(), "*") {
				t.Fatalf("a run has begun: %q, %v", key, err)
			}
		})
	}
}

func answer1(r port.Result) func(port.Command) *port.Result {
	return func(port.Command) *port.Result { return &r }
}

func link(t *testing.T, w *world, to string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(w.out, 0o755), os.Symlink(to, filepath.Join(w.out, currentLink))); err != nil {
		t.Fatal(err)
	}
}

func TestRequirementsAreChecked(t *testing.T) {
	w := newWorld(t, script(t, goodProgram), Config{})
	for text, says := range map[string]string{"": "nothing in it", "\xff": "UTF-8", strings.Repeat("x", MaxRequirements+1): "at most"} {
		_, err := w.Start(t.Context(), w.backend, "", Requirements{Name: "r.md", Text: text})
		wants(t, err, "r.md", says)
	}
}

func TestAStartIsRepeatable(t *testing.T) {
	w := newWorld(t, script(t, goodProgram), Config{})
	for range 2 {
		run, err := w.Start(t.Context(), w.backend, "one", Requirements{Text: requirements})
		if err != nil || run.ID != "one" {
			t.Fatalf("%+v, %v", run, err)
		}
	}
	if _, err := w.Start(t.Context(), w.backend, "one", Requirements{Text: "other"}); !errors.Is(err, port.ErrConflict) {
		t.Errorf("other requirements under the same id: %v", err)
	}
	if _, err := w.Find(t.Context(), w.backend, "one"); err != nil {
		t.Error(err)
	}
	if _, err := w.Find(t.Context(), w.backend, "two"); !errors.Is(err, port.ErrNotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
	if !slices.Equal(w.Phases(), []string{"plan", "code", "validate", "certify", "deploy", "monitor"}) {
		t.Errorf("phases are %q", w.Phases())
	}
}

func TestAConfigThatCannotBeIsRefused(t *testing.T) {
	tools, blobs, model := &toolbox{}, &memoryBlobs{}, script(t, goodProgram)
	for _, c := range []Config{{Answers: -1}, {Rounds: -1}, {CommandTime: -1}, {ProbeTime: -1}, {Key: "a b"}, {Name: "a.b"}} {
		if _, err := New(model, blobs, tools, "out", c); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := New(nil, blobs, tools, "out", Config{}); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("no model: %v", err)
	}
	if _, err := New(model, blobs, tools, "", Config{}); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("no target: %v", err)
	}
}

// Rule: a worker killed anywhere is continued by another, and what it did to the target directory is not done twice.
func TestAnotherWorkerGoesOnAfterACrashInEachPhase(t *testing.T) {
	crashed := map[string]int{}
	var cut atomic.Bool
	cut.Store(true)
	for at := 1; cut.Load(); at += 5 {
		cut.Store(false)
		t.Run(fmt.Sprintf("at operation %d", at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, script(t, buggyProgram, goodProgram), Config{})
				run, err := w.Start(t.Context(), w.backend, "run", Requirements{Text: requirements})
				if err != nil {
					t.Fatal(err)
				}
				first := w.backend.Open(memory.Config{Fault: func(o memory.Op) memory.Fault {
					if o.N == at {
						cut.Store(true)
					}
					return memory.Fault{Cut: o.N == at}
				}})
				var s Summary
				err = muster.Run(t.Context(),
					func(ctx context.Context) error {
						err := w.Work(ctx, first, quiet())
						if status, statusErr := w.flow.Status(ctx, w.backend, "run"); statusErr == nil && cut.Load() {
							crashed[status.Phase]++
						}
						if errors.Is(err, port.ErrClosed) {
							err = w.Work(ctx, w.backend, quiet())
						}
						return err
					},
					func(ctx context.Context) (err error) {
						if s, err = run.Wait(ctx); err != nil {
							return err
						}
						return errOver
					})
				if !errors.Is(err, errOver) {
					t.Fatal(err)
				}
				if ids := w.releases(t); len(ids) != 1 || ids[0] != w.current(t) || s.Previous != "" || s.Rounds != 2 {
					t.Errorf("releases %q, current %q, summary %+v", ids, w.current(t), s)
				}
				left, err := os.ReadDir(filepath.Join(w.out, staging))
				if err != nil || len(left) > 0 {
					t.Errorf("left in staging: %v, %v", left, err)
				}
			})
		})
	}
	for _, phase := range []string{phasePlan, phaseCode, phaseValidate, phaseCertify, phaseDeploy, phaseMonitor} {
		if crashed[phase] == 0 {
			t.Errorf("no worker crashed in phase %s: %v", phase, crashed)
		}
	}
}

// Rule: whoever has the public key can check a release without this package.
func TestTheSignatureHoldsForAnIndependentReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, script(t, goodProgram), Config{})
		s, _, err := w.deliver(t)
		if err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(s.Statement)
		if err != nil {
			t.Fatal(err)
		}
		var envelope struct {
			PayloadType, Payload string
			Signatures           []struct{ KeyID, Sig string }
		}
		if err := json.Unmarshal(body, &envelope); err != nil {
			t.Fatal(err)
		}
		payload, err := base64.StdEncoding.DecodeString(envelope.Payload)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
		if err != nil {
			t.Fatal(err)
		}
		public, err := os.ReadFile(filepath.Join(w.out, ".muster", "signing-key.pub.pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(public)
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		signed := fmt.Sprintf("DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload)
		if !ed25519.Verify(key.(ed25519.PublicKey), []byte(signed), sig) {
			t.Error("the signature does not verify")
		}
		if envelope.PayloadType != "application/vnd.in-toto+json" || envelope.Signatures[0].KeyID != port.Digest(block.Bytes) {
			t.Errorf("the envelope is %+v", envelope)
		}
		var statement struct {
			Type    string `json:"_type"`
			Subject []struct {
				Name   string
				Digest map[string]string
			}
			Predicate struct {
				Models   []string
				Scripted bool
			}
		}
		if err := json.Unmarshal(payload, &statement); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range statement.Subject {
			body, err := os.ReadFile(filepath.Join(s.Release, f.Name))
			if err != nil || port.Digest(body) != f.Digest["sha256"] {
				t.Errorf("%s: %v", f.Name, err)
			}
			names = append(names, f.Name)
		}
		if !slices.Equal(names, []string{"bin/echo", "plan.json", "src/go.mod", "src/main.go", "src/main_test.go"}) || statement.Type != "https://in-toto.io/Statement/v1" {
			t.Errorf("the statement is about %q", names)
		}
		if !statement.Predicate.Scripted || !slices.Equal(statement.Predicate.Models, []string{"scripted:echo"}) {
			t.Errorf("the statement says %+v of the models", statement.Predicate)
		}
	})
}
