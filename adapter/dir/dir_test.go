package dir_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// TestMain is another process on a store when putIn says so.
func TestMain(m *testing.M) {
	if store := os.Getenv(putIn); store != "" {
		os.Exit(putOnce(store))
	}
	os.Exit(m.Run())
}

const putIn = "MUSTER_DIR_TEST_PUT_IN"

func open(t *testing.T, path string) *dir.Blobs {
	t.Helper()
	b, err := dir.Open(path)
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

func TestBlobsPassTheContract(t *testing.T) {
	base := t.TempDir()
	porttest.Blobs(t, porttest.BlobsSuite{Open: func(t *testing.T, store string) port.Blobs {
		return open(t, filepath.Join(base, strings.ReplaceAll(t.Name(), "/", "_"), store))
	}})
}

// putOnce puts a blob if absent as soon as standard input ends, and tells by its status whether it was the first.
func putOnce(store string) int {
	b, err := dir.Open(store)
	if err != nil {
		return 3
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 4
	}
	_, err = b.Put(context.Background(), "k", strings.NewReader(strings.Repeat("x", 1<<20)), port.PutOptions{IfAbsent: true})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, port.ErrConflict):
		return 1
	default:
		return 2
	}
}

func TestOfManyProcessesOnePutsTheAbsentBlob(t *testing.T) {
	store := t.TempDir()
	var starts []io.Closer
	var cmds []*exec.Cmd
	for range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), putIn+"="+store)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		starts, cmds = append(starts, in), append(cmds, cmd)
	}
	for _, in := range starts {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	var codes []int
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Fatal(err)
			}
		}
		codes = append(codes, cmd.ProcessState.ExitCode())
	}
	slices.Sort(codes)
	if want := []int{0, 1, 1, 1, 1, 1}; !slices.Equal(codes, want) {
		t.Errorf("the statuses are %v, want %v", codes, want)
	}
	if left := names(t, filepath.Join(store, "++")); len(left) != 0 {
		t.Errorf("temporary files stay: %v", left)
	}
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func put(t *testing.T, b port.Blobs, key, body string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, strings.NewReader(body), port.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestABlobIsAFileThatAPersonFinds(t *testing.T) {
	path := t.TempDir()
	put(t, open(t, path), "reports/2026/Today.txt", "fine")
	got, err := os.ReadFile(filepath.Join(path, "reports+", "2026+", "+today.txt"))
	if err != nil || string(got) != "fine" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

func TestWhatIsNoBlobIsNotSeen(t *testing.T) {
	path := t.TempDir()
	b := open(t, path)
	put(t, b, "a", "1")
	for _, folder := range []string{"folder", "UPPER+", "b+/c", "+1"} {
		if err := os.MkdirAll(filepath.Join(path, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"x+", "Y", "b+/c d", "~"} {
		if err := os.WriteFile(filepath.Join(path, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for blob, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, blob.Key)
	}
	if !slices.Equal(keys, []string{"a"}) {
		t.Errorf("keys are %q", keys)
	}
	if _, err := b.Stat(t.Context(), "folder"); !errors.Is(err, port.ErrNotFound) {
		t.Errorf("Stat of a folder: %v", err)
	}
	if _, _, err := b.Get(t.Context(), "folder"); !errors.Is(err, port.ErrNotFound) {
		t.Errorf("Get of a folder: %v", err)
	}
}

func TestALinkDoesNotLeadOutOfTheDirectory(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, path)
	if err := os.Symlink(outside, filepath.Join(path, "out+")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(t.Context(), "out/secret"); err == nil {
		t.Error("Get went through a link out of the directory")
	}
	if _, err := b.Put(t.Context(), "out/new", strings.NewReader("x"), port.PutOptions{}); err == nil || errors.Is(err, port.ErrUncertain) && len(names(t, outside)) != 1 {
		t.Errorf("Put through a link out of the directory: %v", err)
	}
	if got := names(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside there is %v", got)
	}
}

func TestWhatDeadWritersLeftIsSweptAfterADay(t *testing.T) {
	path := t.TempDir()
	put(t, open(t, path), "a", "1")
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		file := filepath.Join(path, "++", name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path)
	if got := names(t, filepath.Join(path, "++")); !slices.Equal(got, []string{"young"}) {
		t.Errorf("temporary files are %v, want the young one", got)
	}
}

func TestADirectoryThatCannotBeIsUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below"), "a\x00"} {
		if _, err := dir.Open(path); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("Open(%q): %v", path, err)
		}
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, "++"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Open(blocked); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("Open of a directory with a file in the place of the temporary folder: %v", err)
	}
}

func TestAFileInTheWayOfAFolderLeavesTheKeyAsItWas(t *testing.T) {
	path := t.TempDir()
	b := open(t, path)
	if err := os.WriteFile(filepath.Join(path, "a+"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "a/b", strings.NewReader("x"), port.PutOptions{}); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("Put below a file: %v", err)
	}
	if got := names(t, filepath.Join(path, "++")); len(got) != 0 {
		t.Errorf("temporary files stay: %v", got)
	}
}

func TestAClosedDirectoryAnswersClosed(t *testing.T) {
	b, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, putErr := b.Put(t.Context(), "k", strings.NewReader("x"), port.PutOptions{})
	_, _, getErr := b.Get(t.Context(), "k")
	_, statErr := b.Stat(t.Context(), "k")
	var listErr error
	for _, listErr = range b.List(t.Context(), "") {
	}
	for op, err := range map[string]error{"Put": putErr, "Get": getErr, "Stat": statErr, "List": listErr, "Delete": b.Delete(t.Context(), "k")} {
		if !errors.Is(err, port.ErrClosed) {
			t.Errorf("%s after Close: %v", op, err)
		}
	}
}

func TestADamagedContentIsNotGivenOut(t *testing.T) {
	path := t.TempDir()
	c := port.Contents{Blobs: open(t, path)}
	digest, err := c.Put(t.Context(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "sha256+", digest[:2]+"+", digest), []byte("hullo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if body, err := c.Get(t.Context(), digest); !errors.Is(err, port.ErrLost) {
		t.Errorf("Get of a damaged content: %q, %v", body, err)
	}
}

func TestAFolderInTheWayOfABlobIsNotReplaced(t *testing.T) {
	path := t.TempDir()
	b := open(t, path)
	if err := os.MkdirAll(filepath.Join(path, "k", "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "k", strings.NewReader("x"), port.PutOptions{}); err == nil {
		t.Error("Put replaced a folder")
	}
	if err := b.Delete(t.Context(), "k"); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("Delete of a folder that holds something: %v", err)
	}
	if got := names(t, path); !slices.Equal(got, []string{"++", "k"}) {
		t.Errorf("the directory holds %v", got)
	}
}

// endless is a body without an end, in whose middle the context ends.
type endless struct{ end context.CancelFunc }

func (e endless) Read(p []byte) (int, error) {
	e.end()
	return len(p), nil
}

func TestAPutEndsWithItsContext(t *testing.T) {
	path := t.TempDir()
	ctx, end := context.WithCancel(t.Context())
	_, err := open(t, path).Put(ctx, "k", endless{end}, port.PutOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put of an endless body: %v", err)
	}
	if got := names(t, filepath.Join(path, "++")); len(got) != 0 {
		t.Errorf("temporary files stay: %v", got)
	}
}
