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
}

func TestOneOfThoseWhoJoinedServesWhenTheServerEnds(t *testing.T) {
	c := nats.EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "data"), Linger: -1}
	first, second, third := embedded(t, c), embedded(t, c), embedded(t, c)
	want := 0
	put := func(b *nats.Backend) {
		t.Helper()
		want++
		step := port.Batch{ID: fmt.Sprint(want), Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(want)}}}
		eventually(t, fmt.Sprintf("write %d", want), func() error {
			return b.Write(t.Context(), step) // one that is under way at the end may have to be repeated
		})
	}
	put(first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	put(second)
	put(third)
	fourth := embedded(t, c)
	put(fourth)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	put(third)
	put(fourth)
	if err := errors.Join(third.Close(), fourth.Close()); err != nil {
		t.Fatal(err)
	}
	last := embedded(t, c)
	list, err := last.Read(t.Context(), port.Range{Topic: "orders", Max: 10})
	if err != nil || len(list) != want {
		t.Errorf("%d messages are there, %v, want %d", len(list), err, want)
	}
}

func TestAServerThatEndsWaitsForThoseWhoJoined(t *testing.T) {
	c := nats.EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "data"), Linger: time.Hour}
	first, second := embedded(t, c), embedded(t, c)
	ended := make(chan error, 1)
	go func() { ended <- first.Close() }()
	eventually(t, "nobody else is let in", func() error {
		if _, err := os.Stat(filepath.Join(c.Dir, "server.json")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the address is still there: %w", err)
		}
		return nil
	})
	next := make(chan *nats.Backend, 1)
	go func() {
		b, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: c.Dir, Timeout: time.Minute})
		if err != nil {
			t.Error(err)
		}
		next <- b
	}()
	for n := range 100 {
		if err := second.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(n)}}}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended under the other: %v", err)
	case <-next:
		t.Fatal("another came in meanwhile")
	default:
	}
	if err := errors.Join(second.Close(), <-ended); err != nil {
		t.Fatal(err)
	}
	b := <-next
	list, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 200})
	if err := errors.Join(err, b.Close()); err != nil || len(list) != 100 {
		t.Errorf("%d messages are there, %v", len(list), err)
	}
}

func TestWhoWantsEveryWriteSyncedDoesNotJoinARelaxedServer(t *testing.T) {
	dir := t.TempDir()
	relaxed := embedded(t, nats.EmbeddedConfig{Dir: dir, Relaxed: true})
	_, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir})
	if !errors.Is(err, port.ErrUnavailable) || !strings.Contains(err.Error(), "Relaxed") {
		t.Errorf("open: %v, want ErrUnavailable and why", err)
	}
	if err := relaxed.Close(); err != nil {
		t.Fatal(err)
	}
	synced := embedded(t, nats.EmbeddedConfig{Dir: dir, Linger: -1})
	joined := embedded(t, nats.EmbeddedConfig{Dir: dir, Relaxed: true})
	if got := joined.Caps().Durable; got != port.DurableMachine {
		t.Errorf("who joined a synced server has Durable %v, want DurableMachine", got)
	}
	if err := synced.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one who joined serves, synced", func() error {
		b, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir})
		if err != nil {
			return err
		}
		return b.Close()
	})
}

func TestADirectoryThatCannotBeUsedIsToldSo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inWay := filepath.Join(dir, "store-in-the-way")
	if err := errors.Join(os.Mkdir(inWay, 0o700), os.WriteFile(filepath.Join(inWay, "store"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	noLock := filepath.Join(dir, "no-lock")
	if err := os.MkdirAll(filepath.Join(noLock, "lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, says := range map[string]string{
		file:                        "cannot be made",
		filepath.Join(file, "data"): "cannot be made",
		inWay:                       "see that the directory can be written",
		noLock:                      "give one that can be written",
	} {
		_, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir, Timeout: time.Minute})
		if !errors.Is(err, port.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want ErrUnavailable and %q", dir, err, says)
		}
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
	if !errors.Is(err, port.ErrUnavailable) || !strings.Contains(err.Error(), "another process has it") || !strings.Contains(err.Error(), dir) {
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

func TestTheSizeOfAnEmbeddedStoreIsKeptUntilAnotherIsGiven(t *testing.T) {
	dir := t.TempDir()
	change := port.Change{Key: "k", Value: make([]byte, 300_000)}
	for i, c := range []struct {
		most int64
		full bool
	}{{1 << 20, true}, {0, true}, {4 << 20, false}, {0, false}, {1 << 19, true}, {4 << 20, false}} {
		b, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir, MaxBytes: c.most})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; i == 0 && n < 4; n++ {
			change.Key = fmt.Sprintf("k%d", n)
			if _, err := b.Apply(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		// What is full is known when it is opened.
		if b, err = nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		_, err = b.Apply(t.Context(), port.Change{Key: "small", Value: []byte("1")})
		if c.full != errors.Is(err, nats.ErrFull) || c.full != errors.Is(err, port.ErrUnavailable) {
			t.Errorf("step %d, with %d: %v", i, c.most, err)
		}
		vs, err := b.Get(t.Context(), "k0", "k3")
		if err != nil || len(vs[0].Bytes) != len(change.Value) || len(vs[1].Bytes) != len(change.Value) {
			t.Errorf("step %d: what was there: %v", i, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
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
