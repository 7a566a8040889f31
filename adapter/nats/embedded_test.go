//go:build unix

package nats_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestAnEmbeddedStoreOutlivesItsServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := nats.EmbeddedConfig{Dir: dir}
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	var last port.Offset
	for round := range 3 {
		b, err := nats.Embedded(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Join(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := b.Write(t.Context(), port.Batch{
			Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(round)}},
			Changes:  []port.Change{{Key: "orders/round", Value: fmt.Append(nil, round)}},
		}); err != nil {
			t.Fatal(err)
		}
		v, err := b.Get(t.Context(), "orders/round")
		if err != nil || string(v[0].Bytes) != fmt.Sprint(round) {
			t.Fatalf("round %d: value %s, %v", round, v[0].Bytes, err)
		}
		list, err := b.Read(t.Context(), port.Range{Topic: "orders", After: last, Max: 10})
		if err != nil || len(list) != 1 || list[0].Message.ID != fmt.Sprint(round) {
			t.Fatalf("round %d: read %v, %v", round, list, err)
		}
		last = list[0].Offset
		ds, err := b.Fetch(t.Context(), g, 10)
		if err != nil || len(ds) != 1 || ds[0].Message.ID != fmt.Sprint(round) {
			t.Fatalf("round %d: fetched %v, %v", round, ds, err)
		}
		if err := b.Settle(t.Context(), g, port.Settlement{Receipt: ds[0].Receipt})[0]; err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	}
}

func TestAnEmbeddedServerLetsNobodyElseIn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	embedded(t, nats.EmbeddedConfig{Dir: dir})
	for name, want := range map[string]os.FileMode{"": 0o700, "server.json": 0o600, "lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `"url":"`)
	url, _, _ := strings.Cut(rest, `"`)
	if !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("the server listens on %s, want loopback", url)
	}
	if c, err := client.Connect(url); !errors.Is(err, client.ErrAuthorization) {
		if err == nil {
			c.Close()
		}
		t.Errorf("a connection without the token: %v, want a refusal", err)
	}
}

func TestASecondProcessJoinsTheServerOfADirectory(t *testing.T) {
	c := nats.EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "data")}
	first, second := embedded(t, c), embedded(t, c)
	if err := first.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	list, err := second.Read(t.Context(), port.Range{Topic: "orders", Max: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("the second process reads %v, %v", list, err)
	}
	if first.Caps() != second.Caps() || first.Caps().Durable != port.DurableMachine {
		t.Errorf("Caps are %+v and %+v, want them alike and DurableMachine", first.Caps(), second.Caps())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is told that the server went", func() error {
		err := second.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "2"}}})
		if errors.Is(err, port.ErrUnavailable) {
			return nil
		}
		return fmt.Errorf("write: %w", err)
	})
	third := embedded(t, c) // has the server now
	if err := third.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "3"}}}); err != nil {
		t.Error(err)
	}
}

func TestADirectoryWhoseServerDoesNotAnswerIsToldSo(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir, Timeout: 200 * time.Millisecond})
	if !errors.Is(err, port.ErrUnavailable) || !strings.Contains(err.Error(), "another process has "+dir) {
		t.Errorf("open: %v, want ErrUnavailable and the directory", err)
	}
}

func TestARelaxedStorePromisesLessAndSaysSo(t *testing.T) {
	b := embedded(t, nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true})
	if got := b.Caps().Durable; got != port.DurableProcess {
		t.Errorf("Durable is %v, want DurableProcess", got)
	}
	h := b.Health(t.Context())
	if h.State != port.Degraded || len(h.Details) != 1 || !strings.Contains(h.Details[0], "power cut") {
		t.Errorf("health is %+v, want it degraded, with what may be lost", h)
	}
}

func TestAFullStoreRefusesAndLetsWhatIsThereBeFinished(t *testing.T) {
	const most = 2 << 20
	b := embedded(t, nats.EmbeddedConfig{Dir: t.TempDir(), MaxBytes: most})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "the store is full", func() error {
		for range 20 {
			err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(n), Body: make([]byte, 10_000)}}})
			if errors.Is(err, port.ErrUnavailable) {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return fmt.Errorf("%d messages went in", n)
	})
	if h := b.Health(ctx); h.State != port.Degraded {
		t.Errorf("health of a full store is %v", h)
	}
	if _, err := b.Apply(ctx, port.Change{Key: "k", Value: []byte("1")}); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("a change in a full store: %v, want ErrUnavailable", err)
	}
	for done := 0; done < n; {
		list, err := b.Fetch(ctx, g, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if err := b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt})[0]; err != nil {
				t.Fatal(err)
			}
		}
		done += len(list)
	}
	if err := b.Drop(ctx, "orders", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() error {
		return b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "new"}}})
	})
}

func TestAnEmbeddedConfigIsCheckedBeforeAnythingIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for what, c := range map[string]nats.EmbeddedConfig{
		"no directory":        {},
		"a small payload":     {Dir: dir, MaxPayload: 1000},
		"a wrong namespace":   {Dir: dir, Namespace: "a b"},
		"a negative timeout":  {Dir: dir, Timeout: -1},
		"a negative MaxBytes": {Dir: dir, MaxBytes: -1},
	} {
		if _, err := nats.Embedded(t.Context(), c); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}
