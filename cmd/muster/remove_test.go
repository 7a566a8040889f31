//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// rawStore is a store without Muster in between.
type rawStore struct {
	backend string
	keys    func() []string // subjects or keys that do not end by themselves
	stays   func(key string) bool
}

// rawStores are a server of each kind.
func rawStores(t *testing.T) map[string]rawStore {
	redis := testserver.Redis(t, testserver.RedisConfig{})
	url := natsServer(t, "").URL()
	// A topic that was dropped leaves where its log ended, so that an offset of it is never taken for one of the next.
	ends := func(key string) bool { return strings.HasPrefix(key, "t.") || strings.HasPrefix(key, "m.") }
	return map[string]rawStore{
		"redis": {redis.URL(), func() []string { return redisKeys(t, redis) }, func(string) bool { return false }},
		"nats":  {url, func() []string { return natsSubjects(t, url) }, ends},
	}
}

// redisKeys are the keys of a server that have no time to live.
func redisKeys(t *testing.T, s *testserver.Server) (kept []string) {
	t.Helper()
	ask := func(args ...string) []string {
		_, at, _ := strings.Cut(s.Addr(), ":")
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", at}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	for _, key := range ask("--scan") {
		if ttl := ask("ttl", key); ttl[0] == "-1" {
			kept = append(kept, key)
		}
	}
	return kept
}

// unknownRequirements are some that the script has no answer to: their run fails.
func unknownRequirements(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ship.md")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"run", "--out", t.TempDir(), "--script", "../../examples/wordcount/script.json", file}
}

func TestARemovedRunLeavesNothingInTheStore(t *testing.T) {
	for name, store := range rawStores(t) {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envBackend, store.backend)
			c := &cli{t: t}
			c.ok("run", "--out", t.TempDir(), wordcount)
			c.refused(exitError, "use a script that has it", unknownRequirements(t, "Build a ship.\n")...)
			lines := values[runLine](t, c.ok("runs", "list", "--json"))
			if len(lines) != 2 || lines[0].State != "failed" || lines[1].State != "succeeded" {
				t.Fatalf("runs list: %+v", lines)
			}
			if out := c.ok("topics"); !strings.Contains(out, "dead") {
				t.Errorf("the failed run has no dead letters:\n%s", out)
			}
			same(t, c.ok("runs", "remove", "--yes", lines[0].Run, lines[1].Run), "removed "+lines[0].Run, "removed "+lines[1].Run)
			same(t, c.ok("runs", "list"), "RUN STATE PHASE ALIVE AGE FILE OUT")
			same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS")
			same(t, c.ok("kv", "keys"))
			for _, key := range store.keys() {
				if (strings.Contains(key, lines[0].Run) || strings.Contains(key, lines[1].Run)) && !store.stays(key) {
					t.Errorf("the store keeps %q", key)
				}
			}
			c.refused(exitNotFound, "muster runs list", "runs", "remove", "--yes", lines[0].Run)
			c.refused(exitNotFound, "muster runs list", "resume", lines[0].Run)
		})
	}
}

// openStore is a backend of the test's own beside the commands.
func openStore(t *testing.T, url string) port.Backend {
	t.Helper()
	b, err := (&backendFlags{url: url}).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestARemovalThatWasCutOffIsRepeated(t *testing.T) {
	backend := "embedded:" + filepath.Join(t.TempDir(), "data")
	b := openStore(t, backend)
	t.Setenv(envBackend, backend)
	c := &cli{t: t}
	launched := func(run string) []port.Change { return []port.Change{{Key: launchKey(run), Delete: true}} }
	for name, cut := range map[string]func(run string) error{
		"when the launch is gone": func(string) error { return nil },
		"when the topics are gone": func(run string) error {
			for info, err := range b.Inspect(t.Context(), pipelineOf(run)+".*") {
				if err := errors.Join(err, b.Drop(t.Context(), info.Topic.Name, "")); err != nil {
					return err
				}
			}
			return nil
		},
		"when the record is gone": func(run string) error { return flow.Drop(t.Context(), b, pipelineOf(run)) },
	} {
		c.refused(exitError, "use a script that has it", unknownRequirements(t, "Build a ship.\n")...)
		run := values[runLine](t, c.ok("runs", "list", "--json"))[0].Run
		if _, err := b.Apply(t.Context(), launched(run)...); err != nil {
			t.Fatal(err)
		}
		if err := cut(run); err != nil {
			t.Fatal(err)
		}
		if l := values[runLine](t, c.ok("runs", "list", "--json", run)); len(l) != 1 || l[0].State != "removing" {
			t.Errorf("%s: runs list: %+v", name, l)
		}
		c.refused(exitConflict, "muster runs remove "+run, "resume", run)
		c.refused(exitNotFound, "no run is to be resumed", "resume")
		same(t, c.ok("runs", "prune", "--older-than", "30d", "--yes"), "removed "+run)
		same(t, c.ok("kv", "keys"))
		same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS")
	}
}

func TestARemovalThatIsKilledIsRepeated(t *testing.T) {
	backend := "embedded:" + filepath.Join(t.TempDir(), "data")
	b := openStore(t, backend)
	t.Setenv(envBackend, backend)
	c := &cli{t: t}
	cut := 0
	for range 5 {
		c.refused(exitError, "use a script that has it", unknownRequirements(t, "Build a ship.\n")...)
		run := values[runLine](t, c.ok("runs", "list", "--json"))[0].Run
		cmd := itself(t, "runs", "remove", "--yes", run)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			vs, err := b.Get(t.Context(), launchKey(run))
			if err != nil {
				t.Fatal(err)
			}
			if !vs[0].Found {
				break
			}
		}
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // the same
		if l := values[runLine](t, c.ok("runs", "list", "--json")); len(l) > 0 {
			cut++
			same(t, c.ok("runs", "remove", "--yes", run), "removed "+run)
		}
		same(t, c.ok("kv", "keys"))
		same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS")
	}
	if cut == 0 {
		t.Error("no removal was cut off")
	}
}

func TestARunThatIsNotOverIsNotRemovedUnasked(t *testing.T) {
	folder := t.TempDir()
	backend := "embedded:" + filepath.Join(folder, "data")
	t.Setenv(envBackend, backend)
	c := &cli{t: t}
	cmd, in := begunIn(t, "validate", backend, filepath.Join(folder, "out"))
	run := values[runLine](t, c.ok("runs", "list", "--json"))[0].Run
	for _, flag := range []string{"--yes", "--unfinished"} {
		c.refused(exitConflict, "interrupt that process", "runs", "remove", "--yes", flag, run)
	}
	same(t, c.ok("runs", "prune", "--keep", "0", "--unfinished", "--yes"), "no run is to be removed")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	in.drain()
	_ = cmd.Wait() // tells that it was killed
	c.refused(exitConflict, "muster resume "+run, "runs", "remove", "--yes", run)
	same(t, c.ok("runs", "prune", "--keep", "0", "--yes"), "no run is to be removed")
	same(t, c.ok("runs", "remove", "--unfinished", "--yes", "--json", run), `{"run":"`+run+`"}`)
	same(t, c.ok("kv", "keys"))
}

func TestARunThatIsRemovedUnderItsProcessEnds(t *testing.T) {
	folder := t.TempDir()
	backend := "embedded:" + filepath.Join(folder, "data")
	b := openStore(t, backend)
	c, err := carry(t.Context(), b, "lost")
	if err != nil {
		t.Fatal(err)
	}
	l := &launch{entry: entry{Run: "lost", Created: time.Now()}}
	if err := l.save(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := carry(t.Context(), b, "lost"); !errors.Is(err, port.ErrConflict) {
		t.Errorf("a second claim: %v", err)
	}
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	removed := make(chan error, 1)
	go func() {
		all, err := runs(ctx, b, "lost")
		if err == nil {
			err = all[0].remove(ctx, b)
		}
		removed <- err
	}()
	if err := c.keep(ctx); !errors.Is(err, port.ErrConflict) || !strings.Contains(err.Error(), "removed by another process") {
		t.Errorf("the claim ends with %v", err)
	}
	c.free(ctx)
	if err := <-removed; err != nil {
		t.Error(err)
	}
	for key, err := range b.Keys(ctx, "*") {
		t.Errorf("key %q is left, %v", key, err)
	}
}

func TestPruneChoosesByAgeAndNumber(t *testing.T) {
	now := time.Now()
	run := func(name string, state flow.State, days int) *kept {
		at := now.Add(-time.Duration(days) * 24 * time.Hour)
		k := &kept{entry: entry{Run: name, Created: at}, now: flow.Status{State: state}}
		if state.Over() {
			k.now.Ended = at
		}
		return k
	}
	alive := run("alive", flow.Running, 0)
	alive.by = newClaim()
	cut := run("cut", flow.Pending, 1)
	cut.removal = true
	all := []*kept{alive, run("new", flow.Succeeded, 0), cut, run("dead", flow.Running, 3), run("failed", flow.Failed, 5), run("old", flow.Cancelled, 40)}
	for _, c := range []struct {
		unfinished bool
		days, keep int
		want       string
	}{
		{false, 0, 0, "new cut failed old"},
		{false, 4, 0, "cut failed old"},
		{false, 0, 2, "cut old"},
		{false, 30, 1, "cut old"},
		{false, 50, 0, "cut"},
		{true, 1, 0, "cut dead failed old"},
		{true, 0, 2, "cut failed old"},
	} {
		var got []string
		for _, k := range (&removeFlags{unfinished: c.unfinished}).old(all, now.Add(-time.Duration(c.days)*24*time.Hour), c.keep) {
			got = append(got, k.Run)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	for _, args := range [][]string{
		{"runs", "prune"},
		{"runs", "prune", "--keep", "-1"},
		{"runs", "prune", "--older-than", "1y"},
		{"runs", "prune", "--older-than", "-1h"},
		{"runs", "prune", "--older-than", "99999999d"},
		{"runs", "prune", "--keep", "1", "x"},
		{"runs", "remove"},
		{"runs", "remove", "a.b"},
	} {
		if status, _, errs := command(t, args...); status != exitUsage {
			t.Errorf("%s: status %d: %s", args, status, errs)
		}
	}
}
