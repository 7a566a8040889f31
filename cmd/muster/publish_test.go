//go:build unix

package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func (c *cli) tail(topic string, flags ...string) []message {
	c.t.Helper()
	return values[message](c.t, c.ok(append([]string{"tail", topic, "--json"}, flags...)...))
}

func TestABodyComesOutAsItWentIn(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("publish", "orders", ` {"a": [1, "é"]} `)
	c.ok("publish", "orders", "no JSON")
	c.okWith("\x00\xff\x1b[31m\n", "publish", "orders")
	c.okWith("", "publish", "orders")
	c.ok("publish", "orders", "--file", file)
	got := c.tail("orders")
	if len(got) != 5 || string(got[0].Payload) != `{"a":[1,"é"]}` || got[0].PayloadBase64 != nil {
		t.Fatalf("got %+v", got)
	}
	for i, want := range []string{"no JSON", "\x00\xff\x1b[31m\n", "", "from a file\n"} {
		m := got[i+1]
		if m.PayloadBase64 == nil || *m.PayloadBase64 != base64.StdEncoding.EncodeToString([]byte(want)) || m.Payload != nil {
			t.Errorf("%q became %+v", want, m)
		}
	}
	lines := strings.Split(strings.TrimSpace(c.ok("tail", "orders")), "\n")
	if len(lines) != 5 || !strings.HasSuffix(lines[2], `  -  \x00\xff\x1b[31m`) {
		t.Errorf("for people it is\n%s", strings.Join(lines, "\n"))
	}
}

func TestAMessageHasTheIdentityThatItIsGiven(t *testing.T) {
	c := newCLI(t)
	same(t, c.ok("publish", "orders", "1", "--id", "one", "--key", "ann", "--tenant", "acme", "--header", "a=b=c", "--header", "d="), "one")
	same(t, c.ok("publish", "orders", "2", "--id", "one"), "one duplicate")
	same(t, c.ok("publish", "orders", "2", "--id", "one", "--json"), `{"topic":"orders","id":"one","duplicate":true}`)
	got := c.tail("orders")
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	m := got[0]
	if m.ID != "one" || m.Type != "orders" || m.Key != "ann" || m.TenantID != "acme" || m.Headers["a"] != "b=c" || m.CorrID != "one" || m.CauseID != "" || string(m.Payload) != "1" {
		t.Errorf("got %+v", m)
	}
	if v, ok := m.Headers["d"]; !ok || v != "" {
		t.Errorf("headers %v", m.Headers)
	}
}

func TestAMessageWaitsForItsTime(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1", "--delay", "1h")
	same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS", "orders 0 0 0 1 7d -")
	if got := c.tail("orders"); len(got) != 0 {
		t.Errorf("seen before its time: %+v", got)
	}
}

func TestAPublishInsideOfAHandlingBelongsToItsMessage(t *testing.T) {
	c := newCLI(t)
	t.Setenv(envID, "cause")
	t.Setenv(envCorrID, "corr")
	t.Setenv(envTenant, "acme")
	t.Setenv(envHeaders, `{"traceparent":"00-1","x":"y"}`)
	c.ok("publish", "orders", "1")
	if m := c.tail("orders")[0]; m.CauseID != "cause" || m.CorrID != "corr" || m.TenantID != "acme" || m.Headers["traceparent"] != "00-1" || m.Headers["x"] != "" {
		t.Errorf("got %+v", m)
	}
	t.Setenv(envHeaders, "no JSON")
	c.ok("publish", "orders", "2", "--tenant", "other")
	if m := c.tail("orders")[1]; m.CauseID != "cause" || m.TenantID != "other" || m.Headers != nil {
		t.Errorf("got %+v", m)
	}
}

func TestEachLineIsAMessageInItsOrder(t *testing.T) {
	c := newCLI(t)
	const n = 2000
	var in strings.Builder
	for i := range n {
		in.WriteString("line " + strconv.Itoa(i) + "\n")
	}
	in.WriteString("\n{\"last\":true}") // an empty line, and one without a line break
	ids := strings.Fields(c.okWith(in.String(), "publish", "lines", "--lines", "--key", "k"))
	got := c.tail("lines")
	if len(ids) != n+2 || len(got) != n+2 {
		t.Fatalf("%d ids, %d messages", len(ids), len(got))
	}
	for i, m := range got[:n] {
		if m.text() != "line "+strconv.Itoa(i) || m.ID != ids[i] || m.Key != "k" {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
	if got[n].text() != "" || string(got[n+1].Payload) != `{"last":true}` {
		t.Errorf("the last are %+v", got[n:])
	}
}

func TestLinesUnderAnIDCanBePublishedAgainWithoutDoubling(t *testing.T) {
	c := newCLI(t)
	c.okWith("a\nb\n", "publish", "lines", "--lines", "--id", "batch")
	out := values[published](t, c.okWith("a\nb\nc\n", "publish", "lines", "--lines", "--id", "batch", "--json"))
	want := []published{{"lines", "batch-1", true}, {"lines", "batch-2", true}, {"lines", "batch-3", false}}
	if !slices.Equal(out, want) {
		t.Errorf("got %+v", out)
	}
	if got := c.tail("lines"); len(got) != 3 {
		t.Errorf("%d messages", len(got))
	}
}

func TestLinesComeFromAFileToo(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids := strings.Fields(c.ok("publish", "lines", "--lines", "--file", file)); len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
}

func TestALineThatIsTooLongSaysHowManyWerePublished(t *testing.T) {
	c := newCLI(t)
	long := strings.Repeat("x", 9<<20)
	status, out, errs := c.do("a\nb\n"+long+"\nc\n", "publish", "lines", "--lines")
	if status != exitError || !strings.Contains(errs, "line 3, after 2 were published") || len(strings.Fields(out)) != 2 {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if got := c.tail("lines"); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
	if status, _, errs := c.do(long, "publish", "lines"); status != exitError || !strings.Contains(errs, "more than the 8388608 bytes") {
		t.Errorf("as one body: status %d: %s", status, errs)
	}
}

func TestWhatCannotBePublishedIsRefusedBeforeAnythingIsRead(t *testing.T) {
	c := newCLI(t)
	for says, args := range map[string][]string{
		"a topic and at most one body": {"publish"},
		"character":                    {"publish", "a b", "1"},
		"a body and --lines":           {"publish", "a", "1", "--lines"},
		"a body and --file":            {"publish", "a", "1", "--file", "x"},
		"--delay -1s":                  {"publish", "a", "1", "--delay", "-1s"},
		"NAME=VALUE":                   {"publish", "a", "1", "--header", "x"},
		"key":                          {"publish", "a", "1", "--key", "\xff"},
		"at most":                      {"publish", "a", "1", "--id", strings.Repeat("x", 600)},
	} {
		c.refused(exitUsage, says, args...)
	}
	same(t, c.ok("topics"), "TOPIC COUNT LAG LOANED DELAYED KEPT GROUPS")
}
