//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/retry"
)

// cli is the commands on a server of the test's own.
type cli struct {
	t      *testing.T
	server testServer
}

// testServer is a server of the test's own.
type testServer interface {
	URL() string
	Addr() string
	Kill()
	Restart()
}

// newCLI starts a server and names it in the environment, as an operator does.
func newCLI(t *testing.T) *cli {
	t.Helper()
	c := &cli{t: t}
	if os.Getenv(onNATS) != "" {
		c.server = natsServer(t, "")
	} else {
		c.server = testserver.Redis(t, testserver.RedisConfig{})
	}
	t.Setenv(envBackend, c.server.URL())
	return c
}

// do runs a command with a standard input.
func (c *cli) do(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(c.t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

// ok is what a command prints that must succeed and say nothing on standard error.
func (c *cli) ok(args ...string) string { return c.okWith("", args...) }

func (c *cli) okWith(stdin string, args ...string) string {
	c.t.Helper()
	status, out, errs := c.do(stdin, args...)
	if status != exitOK || errs != "" {
		c.t.Fatalf("muster %s: status %d: %s", strings.Join(args, " "), status, errs)
	}
	return out
}

// refused is what a command says that must end with a status.
func (c *cli) refused(want int, says string, args ...string) {
	c.t.Helper()
	status, out, errs := c.do("", args...)
	if status != want || !strings.Contains(errs, says) || strings.Count(errs, "\n") != 1 {
		c.t.Errorf("muster %s: status %d, want %d and one line that says %q:\n%s%s", strings.Join(args, " "), status, want, says, out, errs)
	}
}

// values are the lines of JSON that a command prints.
func values[T any](t *testing.T, out string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(out) {
		var v T
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// same checks that a command printed these lines, the space between columns aside.
func same(t *testing.T, out string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(out) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it prints\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// handle works off a topic in this process until so many messages were handled.
func (c *cli) handle(topic, group string, n int, h func(m bus.Message[[]byte]) error) {
	c.t.Helper()
	b, err := (&backendFlags{url: c.server.URL()}).open(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, end := context.WithTimeout(c.t.Context(), time.Minute)
	defer end()
	got := 0
	err = raw(topic).Subscribe(ctx, b, bus.Group{Name: group, Workers: 1, Log: slog.New(slog.DiscardHandler), Retry: retry.Backoff{Tries: 1}}, func(_ context.Context, m bus.Message[[]byte]) error {
		got++
		if got >= n {
			defer end()
		}
		return h(m)
	})
	if err := errors.Join(err, b.Close()); err != nil || got < n {
		c.t.Fatalf("handled %d of %d: %v", got, n, err)
	}
}

func TestEveryStatusHasItsMeaning(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	c.ok("kv", "put", "taken", "1")
	c.refused(exitUsage, `muster topics --help`, "topics", "--nosuch")
	c.refused(exitUsage, "2 arguments, wanted is", "topics", "a", "b")
	c.refused(exitUsage, "1 argument, wanted is one of list, prune, remove", "runs", "nosuch")
	c.refused(exitUsage, "meant may be publish", "publsh")
	c.refused(exitUsage, `--ttl "1d" is no duration such as`, "kv", "put", "k", "v", "--ttl", "1d")
	c.refused(exitUsage, "too short for --drain", "lock", "x", "--ttl", "1s", "--drain", "2s", "--", "true")
	c.refused(exitUsage, "a longer --ttl", "lead", "x", "--ttl", "1ms", "--", "true")
	c.refused(exitUsage, "--out is empty", "run", "--out", "", wordcount)
	c.refused(exitUsage, "topic", "tail", "a b")
	c.refused(exitUsage, "the set", "topics", "[a")
	c.refused(exitUsage, "there are: embedded, memory, nats, redis", "stats", "--backend", "foo://secret@host")
	c.refused(exitUsage, "gone when the command ends", "stats", "--backend", "memory")
	c.refused(exitUsage, "neither a URL", "stats", "--backend", "localhost:6379")
	c.refused(exitUsage, "namespace", "stats", "--namespace", "a b")
	c.refused(exitNotFound, "muster topics", "tail", "nothing")
	c.refused(exitNotFound, "muster topics", "topics", "nothing")
	c.refused(exitNotFound, "muster topics", "groups", "nothing")
	c.refused(exitNotFound, "muster topics", "drop", "nothing", "--yes")
	c.refused(exitNotFound, "muster groups", "drop", "orders", "nobody", "--yes")
	c.refused(exitNotFound, "muster kv keys", "kv", "get", "nothing")
	c.refused(exitNotFound, "muster kv keys", "kv", "del", "nothing", "--yes")
	c.refused(exitNotFound, "muster groups orders", "dead", "show", "orders", "billing", "x")
	c.refused(exitNotFound, "muster groups orders", "dead", "list", "orders", "billing")
	c.refused(exitNotFound, "muster topics", "dead", "remove", "nothing", "billing", "--yes")
	c.handle("orders", "billing", 1, func(bus.Message[[]byte]) error { return nil })
	c.refused(exitNotFound, "muster dead list", "dead", "show", "orders", "billing", "x")
	c.refused(exitNotFound, "--watch", "leader", "nobody")
	c.refused(exitNotFound, "muster members", "who", "nobody")
	c.refused(exitNotFound, "name a program that can", "lock", "x", "--", "/no/such/program")
	c.refused(exitNotFound, "readable", "publish", "orders", "--file", filepath.Join(t.TempDir(), "none"))
	c.refused(exitConflict, "--if-absent", "kv", "put", "taken", "2", "--if-absent")
	c.refused(exitConflict, "muster kv get", "kv", "put", "taken", "2", "--if-equals", "3")
	c.refused(exitError, "--from earliest", "tail", "orders", "--from", "0")
	c.refused(exitError, "--from earliest", "tail", "orders", "--from", "yesterday")
	c.refused(exitUnavailable, "see that the server runs", "stats", "--backend", "unix://"+filepath.Join(t.TempDir(), "none"))

	free := testserver.Redis(t, testserver.RedisConfig{})
	free.Stop()
	for _, args := range [][]string{{"stats"}, {"publish", "orders", "1"}, {"health"}, {"kv", "get", "x"}, {"tail", "orders", "--follow"}} {
		c.refused(exitUnavailable, "see that the server runs", append(args, "--backend", free.URL())...)
	}
	t.Setenv(envBackend, "")
	c.ok("stats") // on this machine
}

func TestWithoutSomebodyToAskNothingIsDestroyed(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	c.handle("orders", "billing", 1, func(bus.Message[[]byte]) error { return bus.Reject(errors.New("no")) })
	c.ok("kv", "put", "k", "v")
	for _, args := range [][]string{{"drop", "orders"}, {"drop", "orders", "billing"}, {"dead", "remove", "orders", "billing"}, {"kv", "del", "k"}} {
		c.refused(exitUsage, "say --yes", args...)
	}
	same(t, c.ok("stats"), "topics 1", "messages 1", "groups 1", "lag 0", "loaned 0", "delayed 0", "dead 1", "oldest -")
	same(t, c.ok("kv", "get", "k"), "v")
	same(t, c.ok("kv", "del", "k", "--yes"), "1 deleted")
	same(t, c.ok("dead", "remove", "orders", "billing", "--yes"), "1 removed")
	same(t, c.ok("drop", "orders", "billing", "--yes"), "dropped")
	same(t, c.ok("drop", "orders", "--yes", "--json"), `{"topic":"orders"}`)
}

func TestAPasswordIsNeverPrinted(t *testing.T) {
	const password = "s3cr3t-%41"
	server := testserver.Redis(t, testserver.RedisConfig{Password: "right"})
	c := &cli{t: t, server: server}
	for _, url := range []string{
		"redis://user:" + password + "@" + server.Addr(),
		"redis://user:" + password + "@" + server.Addr() + "/nodb",
		"redis://user:" + password + "@127.0.0.1:1",
		"redis://user:" + password + "@[bad",
		"nosuch://user:" + password + "@" + server.Addr(),
		"user:" + password + "@" + server.Addr(),
	} {
		for _, args := range [][]string{{"health"}, {"stats", "--json"}, {"publish", "a", "1"}, {"stats", "--nosuch"}, {"stats", "--help"}} {
			t.Setenv(envBackend, url)
			status, out, errs := c.do("", args...)
			if status == exitOK && args[1%len(args)] != "--help" || strings.Contains(out+errs, "s3cr3t") {
				t.Errorf("%s with %s: status %d\n%s%s", args, url, status, out, errs)
			}
		}
	}
	t.Setenv(envBackend, "redis://"+server.Addr())
	c.refused(exitUnavailable, "asks for a password", "stats")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("stats", "--password-file", file)
	t.Setenv(envPassword, "right")
	c.ok("stats")
	t.Setenv(envPassword, "wrong")
	c.refused(exitUnavailable, "refused the user or the password", "stats")
	t.Setenv(envPasswordFile, file)
	c.ok("stats")
}

func TestNoNamespaceSeesAnother(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1", "--namespace", "other")
	same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS")
	t.Setenv(envNamespace, "other")
	same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS", "orders 1 0 0 0 7d -")
}

func TestHealthTellsWhatEndangersThePromises(t *testing.T) {
	c := newCLI(t)
	if out := c.ok("health"); !strings.Contains(out, "healthy") || !strings.Contains(out, "survives kill -9 of the server") {
		t.Errorf("a server that is safe:\n%s", out)
	}
	careless := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "everysec"})
	if out := c.ok("health", "--backend", careless.URL()); !strings.Contains(out, "degraded") || !strings.Contains(out, "set appendfsync always") {
		t.Errorf("a server that is not:\n%s", out)
	}
	h := values[healthLine](t, c.ok("health", "--json", "--backend", careless.URL()))
	if len(h) != 1 || h[0].State != "degraded" || len(h[0].Details) != 1 || h[0].Promises.Durable != "none" {
		t.Errorf("as JSON: %+v", h)
	}
	careless.Stop()
	status, out, _ := c.do("", "health", "--json", "--backend", careless.URL())
	if h := values[healthLine](t, out); status != exitUnavailable || len(h) != 1 || h[0].State != "unavailable" || h[0].Promises != nil {
		t.Errorf("a server that is down: status %d, %+v", status, h)
	}
}

func TestCompletionOffersTheNamesThatThereAre(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	c.handle("orders", "billing", 1, func(bus.Message[[]byte]) error { return nil })
	for want, args := range map[string][]string{
		"orders":  {"__complete", "tail", ""},
		"billing": {"__complete", "dead", "list", "orders", ""},
	} {
		if _, out, _ := c.do("", args...); !strings.HasPrefix(out, want+"\n") {
			t.Errorf("%s: %q", args, out)
		}
	}
	t.Setenv(envBackend, "redis://127.0.0.1:1")
	if status, out, _ := c.do("", "__complete", "tail", ""); status != exitOK || !strings.HasPrefix(out, ":") {
		t.Errorf("without a server: status %d: %q", status, out)
	}
}

func TestARequirementsFileBecomesAProgramOverAServerToo(t *testing.T) {
	c := newCLI(t)
	out := c.ok("run", "--json", "--out", t.TempDir(), wordcount)
	if s := lastSummary(t, out); !s.Scripted {
		t.Errorf("the summary is %+v", s)
	}
	if runs := c.ok("runs", "list"); !strings.Contains(runs, "succeeded  monitor") {
		t.Errorf("nothing of it went over the server:\n%s", runs)
	}
}
