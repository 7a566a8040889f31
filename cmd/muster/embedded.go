package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// The names of the server in the process, which a directory may follow behind a colon.
const (
	embedded = "embedded" // every write is synced
	relaxed  = "relaxed"  // a power cut may lose up to two minutes
)

// openEmbedded runs the server on its directory, or joins the process that does.
func (f *backendFlags) openEmbedded(ctx context.Context, name string) (port.Backend, error) {
	kind, dir, given := strings.Cut(name, ":")
	if given && dir == "" {
		return nil, &usageError{fmt.Errorf("--backend %q names no directory behind the colon; leave the colon out for the user's own", name)}
	}
	if !given {
		var err error
		if dir, err = dataDir(runtime.GOOS, os.Getenv, os.UserHomeDir); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the directory of the data: %w: %w", port.ErrUnavailable, err)
	}
	b, err := nats.Embedded(ctx, nats.EmbeddedConfig{Dir: dir, Namespace: f.space(), Relaxed: kind == relaxed, MaxBytes: int64(f.maxBytes)})
	if err != nil {
		return nil, embeddedError(dir, err)
	}
	return b, nil
}

// embeddedError is err with what to do about a server that nobody has started by hand.
func embeddedError(dir string, err error) error {
	switch {
	case errors.Is(err, port.ErrUnsupported):
		return fmt.Errorf("%w; name a server with --backend, or memory for muster run", err)
	case errors.Is(err, port.ErrUnavailable):
		return &localError{fmt.Errorf("%w; the state is kept in %s: see that it can be written and has room, or name another place with --backend %s:DIR", err, dir, embedded)}
	default:
		return err
	}
}

// localError is an error that says already what to do.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// dataDir is where the state of a user's programs is kept by the convention of the system: $XDG_DATA_HOME, the home's .local/share,
// Library/Application Support or %LocalAppData%.
func dataDir(system string, env func(string) string, home func() (string, error)) (string, error) {
	below := []string{".local", "share"}
	switch system {
	case "windows":
		if dir := env("LocalAppData"); dir != "" {
			return filepath.Join(dir, "muster"), nil
		}
		below = []string{"AppData", "Local"}
	case "darwin", "ios":
		below = []string{"Library", "Application Support"}
	default:
		// What is not absolute is to be taken for not set.
		if dir := env("XDG_DATA_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, "muster"), nil
		}
	}
	dir, err := home()
	if err != nil {
		return "", &localError{fmt.Errorf("there is no home directory to keep state in; name a place with --backend %s:DIR: %w: %w", embedded, port.ErrUnavailable, err)}
	}
	return filepath.Join(append(append([]string{dir}, below...), "muster")...), nil
}
