//go:build unix

package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// failing is a testing.TB that ends the goroutine on a fatal failure and keeps its message.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatal returns what fn fails with.
func fatal(t *testing.T, fn func(testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(f)
	}()
	<-done
	return f.said
}

func TestAServerThatIsNotInstalledIsAFailureThatSaysWhatToDo(t *testing.T) {
	said := fatal(t, func(t testing.TB) { serverBinary(t, "no-such-server", "/nowhere/*/no-such-server") })
	if want := "testserver: no-such-server is not installed: run scripts/test once, which installs it"; said != want {
		t.Fatalf("said %q, want %q", said, want)
	}
}

func TestOfSeveralVersionsTheNewestIsTaken(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"9", "15", "17"} {
		if err := os.MkdirAll(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "no-such-server"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := serverBinary(t, "no-such-server", dir+"/*/no-such-server"), dir+"/17/no-such-server"; got != want {
		t.Fatalf("took %s, want %s", got, want)
	}
}

func TestAServerThatDoesNotStartIsAFailureWithItsOwnWords(t *testing.T) {
	said := fatal(t, func(t testing.TB) { Redis(t, RedisConfig{Lines: []string{"no-such-directive yes"}}) })
	if !strings.Contains(said, "redis-server does not answer") || !strings.Contains(said, "no-such-directive") {
		t.Fatalf("said %q, want the server's complaint", said)
	}
}

func TestAServerThatDoesNotRunCannotBePaused(t *testing.T) {
	s := Redis(t, RedisConfig{Appendfsync: "off"})
	s.Stop()
	s.t = &failing{TB: t}
	said := fatal(t, func(f testing.TB) { s.t = f; s.Pause() })
	s.t = t
	if said != "testserver: redis-server does not run, so it cannot be paused" {
		t.Fatalf("said %q", said)
	}
}

func TestATakenPortIsExchangedForAnother(t *testing.T) {
	first := Redis(t, RedisConfig{Appendfsync: "off"})
	clash := clashing{kind: redis{path: serverBinary(t, "redis-server"), config: RedisConfig{Appendfsync: "off"}}, port: first.port, once: new(bool)}
	second := start(t, clash, t.TempDir())
	if !*clash.once || second.port == first.port {
		t.Fatalf("both at port %d", second.port)
	}
}

// clashing starts its server on a taken port the first time.
type clashing struct {
	kind
	port int
	once *bool
}

func (c clashing) command(dir string, port int) *exec.Cmd {
	if !*c.once {
		*c.once = true
		port = c.port
	}
	return c.kind.command(dir, port)
}

// doomed tells the test binary to be the process that starts a server and is killed.
const doomed = "MUSTER_TESTSERVER_DOOMED"

func TestAServerDiesWithItsTestProcessHoweverThatDies(t *testing.T) {
	if os.Getenv(doomed) != "" {
		s := Redis(t, RedisConfig{Appendfsync: "off"})
		fmt.Printf("\npid %d\n", s.Pid())
		select {} // until it is killed
	}
	if runtime.GOOS != "linux" {
		return // documented: only Linux can be asked for it
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), doomed+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var server int
	for lines := bufio.NewScanner(out); server == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			if server, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(cmd.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it should be
	if server == 0 {
		t.Fatal("the other process started no server")
	}
	if err := awaitDeath(server); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(server, 0); err == nil {
		t.Logf("process %d has ended, and nobody has taken note of it yet", server)
	}
}
