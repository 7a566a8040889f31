//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// README.md's table stands between these lines.
const (
	tableBegin = "<!-- muster backends -->\n"
	tableEnd   = "<!-- end -->\n"
)

func TestTheTableOfTheReadmeIsWhatTheBackendsPromise(t *testing.T) {
	always := testserver.Redis(t, testserver.RedisConfig{})
	everysec := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "everysec"})
	off := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	dir := t.TempDir()
	names := [][2]string{
		{"memory", "memory"},
		{embedded + ":" + filepath.Join(dir, "synced"), "embedded: NATS in the process"},
		{relaxed + ":" + filepath.Join(dir, "relaxed"), "relaxed: the same, not synced"},
		{always.URL(), "Redis, appendfsync always"},
		{everysec.URL(), "Redis, appendfsync everysec"},
		{off.URL(), "Redis without append-only file"},
	}
	args := []string{"backends", "--json"}
	for _, name := range names {
		args = append(args, name[0])
	}
	var out, errs bytes.Buffer
	if status := run(t.Context(), args, strings.NewReader(""), &out, &errs); status != exitOK || errs.Len() > 0 {
		t.Fatalf("muster backends: status %d: %s", status, &errs)
	}
	var want strings.Builder
	row := func(cells []string) { want.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	head := promisesHead()
	for i := range head {
		head[i] = strings.ToLower(head[i])
	}
	row(head)
	want.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	d := json.NewDecoder(&out)
	for _, name := range names {
		var line promisesLine
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Name != name[0] {
			t.Errorf("a line is of %q, want %q", line.Name, name[0])
		}
		line.Name = name[1]
		row(line.cells())
	}
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), tableBegin)
	if table, _, _ := strings.Cut(rest, tableEnd); table != want.String() {
		t.Errorf("README.md's table of backends is\n%s\nput this between %q and %q:\n%s", table, tableBegin, tableEnd, want.String())
	}
}

func TestBackendsAreComparedWithoutAnyServer(t *testing.T) {
	t.Setenv(envBackend, "")
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"backends"}, strings.NewReader(""), &out, &errs); status != exitOK || errs.Len() > 0 {
		t.Fatalf("muster backends: status %d: %s", status, &errs)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		names = append(names, strings.Fields(line)[0])
	}
	if got := strings.Join(names, " "); got != "BACKEND memory embedded relaxed" {
		t.Errorf("compared are %q in\n%s", got, &out)
	}
}

func TestNoPasswordOfABackendIsPrinted(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Password: "swordfish"})
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"backends", s.URL()}, strings.NewReader(""), &out, &errs)
	if status != exitOK || !strings.Contains(s.URL(), "swordfish") || strings.Contains(out.String()+errs.String(), "swordfish") {
		t.Errorf("muster backends %s: status %d: %s%s", s.URL(), status, &out, &errs)
	}
}
