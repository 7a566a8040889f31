// Package dir keeps blobs (port.Blobs) in a directory of a local file system, for one process or many at once.
//
// A blob is a file of its own. Putting it writes a temporary file, syncs it, gives it its name in one step (a rename, or a link
// where the key must be absent) and syncs the folder: what Put reported survives a power cut, and nobody ever sees half of it.
// Nothing leaves the directory, not even through a symbolic link: all goes through os.Root.
//
// What may not enter: anything but files; no cache, no index, no goroutine.
package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/musterhq/muster/port"
)

const (
	tempFolder = "++"           // no key has this name on disk
	tempKeep   = 24 * time.Hour // a temporary file older than this belongs to nobody
)

// Blobs is a directory that is open. Open makes one.
type Blobs struct {
	root *os.Root
}

var _ port.Blobs = (*Blobs)(nil)

// Open opens the directory at path, and makes it and what is above it when it is not there, readable by the owner alone. What
// writers that died left unfinished more than 24 hours ago is removed. [port.ErrUnavailable] when the directory cannot be
// made or opened.
func Open(path string) (*Blobs, error) {
	fail := func(err error) (*Blobs, error) {
		return nil, fmt.Errorf("dir: open %q: the directory must be writable: %w: %w", path, port.ErrUnavailable, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return fail(err)
	}
	b := &Blobs{root: root}
	if err := b.sweep(time.Now().Add(-tempKeep)); err != nil {
		return fail(errors.Join(err, root.Close()))
	}
	return b, nil
}

// Close lets go of the directory. Readers that are open stay open; every later call fails with [port.ErrClosed].
func (b *Blobs) Close() error { return b.root.Close() }

// sweep makes the folder for temporary files and removes those from before a time.
func (b *Blobs) sweep(before time.Time) error {
	if err := b.root.MkdirAll(tempFolder, 0o700); err != nil {
		return err
	}
	entries, err := fs.ReadDir(b.root.FS(), tempFolder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.ModTime().Before(before)) {
			continue
		}
		if err == nil {
			err = b.root.Remove(path.Join(tempFolder, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sync makes the entries of a folder durable.
func (b *Blobs) sync(folder string) error {
	d, err := b.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// failure names the operation and the key, and says what became of it: sentinel, unless the cause itself tells more.
func failure(op, key string, sentinel, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist) && sentinel == nil:
		return fmt.Errorf("dir: %s blob %q: %w: %w", op, key, port.ErrNotFound, err)
	case errors.Is(err, os.ErrClosed):
		sentinel = port.ErrClosed
	case sentinel == nil:
		sentinel = port.ErrUnavailable
	}
	return fmt.Errorf("dir: %s blob %q: %w: %w", op, key, sentinel, err)
}
