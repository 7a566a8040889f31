//go:build unix

package testserver_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// psql returns what one statement prints.
func psql(t *testing.T, s *testserver.Server, statement string) string {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		found, globErr := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
		if globErr != nil || len(found) == 0 {
			t.Fatalf("psql is not installed: run scripts/test once, which installs it: %v, %v", err, globErr)
		}
		path = found[0]
	}
	out, err := exec.CommandContext(t.Context(), path, "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--command="+statement, s.URL()).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestWhatPostgresCommittedSurvivesAKillAndARestart(t *testing.T) {
	s := testserver.Postgres(t, testserver.PostgresConfig{Lines: []string{"max_connections = 33"}})
	if got := psql(t, s, "SHOW max_connections"); got != "33" {
		t.Errorf("max_connections is %q, want 33", got)
	}
	psql(t, s, "CREATE TABLE kept AS SELECT 42 AS n")
	s.Kill()
	s.Restart()
	if got := psql(t, s, "SELECT n FROM kept"); got != "42" {
		t.Fatalf("read %q, want 42", got)
	}
	s.Pause()
	c := dial(t, s.Addr()) // the kernel accepts for the server
	c.send("")
	c.wantSilence()
	s.Resume()
	s.Restart() // does not wait long for the connection that has not said who it is
	if got := psql(t, s, "SELECT n FROM kept"); got != "42" {
		t.Fatalf("read %q after an orderly restart, want 42", got)
	}
}
