package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/musterhq/muster/port"
)

// errNoFile is what stands at the name of a blob when somebody put a folder or a device there by hand.
var errNoFile = fmt.Errorf("what has this name is no regular file: %w", fs.ErrNotExist)

// Get opens a blob. Reading it is reading a local file: it does not end with ctx.
func (b *Blobs) Get(ctx context.Context, key string) (io.ReadCloser, port.Blob, error) {
	if err := check(ctx, "get", key); err != nil {
		return nil, port.Blob{}, err
	}
	f, err := b.root.Open(encode(key))
	if err != nil {
		return nil, port.Blob{}, failure("get", key, nil, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		return nil, port.Blob{}, failure("get", key, nil, errors.Join(err, f.Close()))
	}
	return f, blob(key, info), nil
}

// Stat tells of a blob.
func (b *Blobs) Stat(ctx context.Context, key string) (port.Blob, error) {
	if err := check(ctx, "stat", key); err != nil {
		return port.Blob{}, err
	}
	info, err := b.root.Stat(encode(key))
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		return port.Blob{}, failure("stat", key, nil, err)
	}
	return blob(key, info), nil
}

// Delete removes blobs, durably. Folders stay.
func (b *Blobs) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := port.CheckBlobKey(key); err != nil {
			return fmt.Errorf("dir: delete: %w", err)
		}
	}
	for _, key := range keys {
		if err := check(ctx, "delete", key); err != nil {
			return err
		}
		file := encode(key)
		switch err := b.root.Remove(file); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return failure("delete", key, port.ErrUnavailable, err)
		}
		if err := b.sync(path.Dir(file)); err != nil {
			return failure("delete", key, port.ErrUncertain, err)
		}
	}
	return nil
}

// List walks the folders that can hold keys with the prefix.
func (b *Blobs) List(ctx context.Context, prefix string) iter.Seq2[port.Blob, error] {
	return func(yield func(port.Blob, error) bool) {
		if err := port.CheckBlobPrefix(prefix); err != nil {
			yield(port.Blob{}, fmt.Errorf("dir: list: %w", err))
			return
		}
		b.walk(ctx, ".", "", prefix, yield)
	}
}

// entry is a name in a folder: of a blob, or with a slash at its end, of a folder. In the order of such names a folder's keys
// stand together, so that walking them in this order is the order of all keys.
type entry struct {
	name string
	file fs.DirEntry
}

// walk yields the keys of one folder, which begin with at, and reports whether to go on.
func (b *Blobs) walk(ctx context.Context, folder, at, prefix string, yield func(port.Blob, error) bool) bool {
	fail := func(cause error) bool {
		yield(port.Blob{}, cause)
		return false
	}
	if ctx.Err() != nil {
		return fail(fmt.Errorf("dir: list %q: %w", prefix, context.Cause(ctx)))
	}
	files, err := fs.ReadDir(b.root.FS(), folder)
	if errors.Is(err, fs.ErrNotExist) && folder != "." {
		return true // removed by hand meanwhile
	}
	if err != nil {
		return fail(failure("list", prefix, port.ErrUnavailable, err))
	}
	for _, e := range entries(files) {
		key := at + e.name
		if strings.HasSuffix(key, "/") {
			if strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key) {
				if !b.walk(ctx, path.Join(folder, e.file.Name()), key, prefix, yield) {
					return false
				}
			}
			continue
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		info, err := e.file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return fail(failure("list", key, port.ErrUnavailable, err))
		}
		if !yield(blob(key, info), nil) {
			return false
		}
	}
	return true
}

// entries decodes the names of a folder, leaves out what is no blob, and sorts.
func entries(files []fs.DirEntry) []entry {
	var all []entry
	for _, f := range files {
		name, ok := decode(f.Name())
		if ok && strings.HasSuffix(name, "/") == f.IsDir() {
			all = append(all, entry{name, f})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return all
}

func blob(key string, info fs.FileInfo) port.Blob {
	return port.Blob{Key: key, Size: info.Size(), At: info.ModTime()}
}

func check(ctx context.Context, op, key string) error {
	if err := port.CheckBlobKey(key); err != nil {
		return fmt.Errorf("dir: %s: %w", op, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("dir: %s blob %q: %w", op, key, context.Cause(ctx))
	}
	return nil
}
