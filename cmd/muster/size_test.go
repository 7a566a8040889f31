//go:build unix

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestSizesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]size{
		"1048576": 1 << 20, "1048576B": 1 << 20, "500MB": 5e8, "1500kB": 15e5, "1100KB": 11e5, "2048KiB": 2 << 20, "3MiB": 3 << 20, "2GB": 2e9, "10GiB": 10 << 30, "1TB": 1e12, "1TiB": 1 << 40,
	} {
		var s size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%s: %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "0", "1", "1048575", "-5GB", "10 GB", "1.5GB", "1gb", "GiB", "9999999999TiB", "1BB"} {
		if err := new(size).Set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestAFullStoreSaysWhatToDoAndGoesOnWhenOldRunsAreRemoved(t *testing.T) {
	backend := "embedded:" + filepath.Join(t.TempDir(), "data")
	t.Setenv(envBackend, backend)
	c := &cli{t: t}
	c.ok("stats", "--max-bytes", "1MiB")
	openStore(t, backend) // which the commands join
	c.refused(exitError, "use a script that has it", unknownRequirements(t, "Build a ship."+strings.Repeat(" Larger.", 20_000))...)
	c.okWith(strings.Repeat(strings.Repeat("x", 10_000)+"\n", 40), "publish", "orders", "--lines")
	for n := 0; ; n++ {
		status, _, errs := c.do("", "publish", "orders", strings.Repeat("x", 5_000))
		if status == exitUnavailable && strings.Contains(errs, "muster runs prune removes old runs") && strings.Contains(errs, "--max-bytes") {
			break
		}
		if status != exitOK || n > 200 {
			t.Fatalf("message %d: status %d: %s", n, status, errs)
		}
	}
	c.refused(exitUnavailable, "muster runs prune", "run", "--out", t.TempDir(), wordcount)
	c.refused(exitUnavailable, "muster runs prune", "kv", "put", "k", "v")
	if out := c.ok("health"); !strings.Contains(out, "degraded") || !strings.Contains(out, "refuses writes when it is full") {
		t.Errorf("health of a full store:\n%s", out)
	}
	if out := c.ok("runs", "prune", "--keep", "0", "--yes"); strings.Count(out, "removed") != 1 {
		t.Errorf("prune: %s", out)
	}
	c.ok("publish", "orders", "again")
	c.ok("run", "--out", t.TempDir(), wordcount)
	c.ok("kv", "put", "k", "v", "--max-bytes", "1GiB") // joined to the server of this process
	if out := c.ok("health"); !strings.Contains(out, "healthy") {
		t.Errorf("health with another size:\n%s", out)
	}
	c.refused(exitUsage, "at least 1MiB", "stats", "--max-bytes", "10")
	c.refused(exitUsage, "embedded and relaxed", "stats", "--max-bytes", "1GiB", "--backend", "redis://127.0.0.1:1")
	c.refused(exitUsage, "embedded and relaxed", "run", "--max-bytes", "1GiB", "--backend", "memory", wordcount)
}

func TestARunThatMeetsAFullStoreEnds(t *testing.T) {
	f := backendFlags{url: "embedded:" + filepath.Join(t.TempDir(), "data"), maxBytes: leastSize}
	b, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run, err := carry(t.Context(), b, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&launch{entry: entry{Run: "x"}}).save(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil; n++ { // an open backend looks once a second
		_, err = b.Apply(t.Context(), port.Change{Key: fmt.Sprint("k", n), Value: make([]byte, 100_000)})
	}
	if !errors.Is(err, nats.ErrFull) {
		t.Fatal(err)
	}
	if err := run.keep(t.Context()); !errors.Is(err, nats.ErrFull) || !strings.Contains(advise(err).Error(), "muster runs prune") {
		t.Errorf("it ends with %v", err)
	}
	run.free(t.Context())
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
