//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serving is the process that has the server of a data directory, 0 while there is none.
func serving(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if os.IsNotExist(err) {
		return 0
	}
	var at struct {
		PID int `json:"pid"`
	}
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return at.PID
}

// servingWorker starts a worker on the directory that nobody has, which serves it from then on.
func (c *cli) servingWorker(dir string) *process {
	c.t.Helper()
	p := c.worker("idle", "--group", "g", "--", "true")
	until(c.t, "it serves", func() bool { return serving(c.t, dir) == p.cmd.Process.Pid })
	return p
}

func TestAWorkerGoesOnWhenTheProcessWithTheServerIsKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	t.Setenv(envBackend, "embedded:"+dir)
	c := &cli{t: t}
	first := c.servingWorker(dir)
	handled := filepath.Join(t.TempDir(), "handled")
	second := c.worker("orders", "--group", "billing", "--workers", "4", "--", "sh", "-c", `read n; echo "$n" >> "$0"`, handled)
	lines := func() map[string]bool {
		text, err := os.ReadFile(handled)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all := map[string]bool{}
		for _, n := range strings.Fields(string(text)) {
			all[n] = true
		}
		return all
	}
	publish := func(from, to int) {
		var in strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintln(&in, n)
		}
		c.okWith(in.String(), "publish", "orders", "--lines")
	}
	publish(0, 300)
	until(c.t, "it works", func() bool { return len(lines()) >= 20 })
	first.signal(syscall.SIGKILL)
	if len(lines()) >= 300 {
		t.Error("everything was handled before the kill")
	}
	publish(300, 400) // serves, or joins who does
	until(c.t, "everything is handled", func() bool { return len(lines()) == 400 })
	until(c.t, "it serves now", func() bool { return serving(t, dir) == second.cmd.Process.Pid })
	until(c.t, "everything is acknowledged", func() bool {
		l := values[groupLine](t, c.ok("groups", "orders", "--json"))
		return l[0].Lag+l[0].Loaned+l[0].Delayed == 0
	})
	second.interrupted()
	if status := second.status(); status != exitOK {
		t.Errorf("it ends with status %d", status)
	}
}

func TestARunGoesOnWhenTheProcessWithTheServerIsKilled(t *testing.T) {
	for _, phase := range []string{"plan", "code", "validate", "certify"} {
		t.Run(phase, func(t *testing.T) {
			folder := t.TempDir()
			dir := filepath.Join(folder, "data")
			t.Setenv(envBackend, "embedded:"+dir)
			c := &cli{t: t}
			first := c.servingWorker(dir)
			cmd, in := begunIn(t, phase, "embedded:"+dir, filepath.Join(folder, "out"))
			first.signal(syscall.SIGKILL)
			in.drain()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("the run ends with %v: %s", err, in.errs.String())
			}
			l := values[runLine](t, c.ok("runs", "list", "--json"))
			if len(l) != 1 || l[0].State != "succeeded" {
				t.Errorf("runs list: %+v", l)
			}
			if _, err := os.Stat(filepath.Join(folder, "out", "current", "bin", "wordcount")); err != nil {
				t.Error(err)
			}
		})
	}
}
