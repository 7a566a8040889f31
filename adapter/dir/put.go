package dir

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/musterhq/muster/port"
)

// Put stores a blob. [port.ErrUnsupported] when o.IfAbsent is set and the file system has no hard links.
func (b *Blobs) Put(ctx context.Context, key string, body io.Reader, o port.PutOptions) (port.Blob, error) {
	if err := o.Check(key); err != nil {
		return port.Blob{}, fmt.Errorf("dir: put: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return port.Blob{}, fmt.Errorf("dir: put blob %q: %w", key, context.Cause(ctx))
	}
	temp := path.Join(tempFolder, rand.Text())
	f, err := b.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return port.Blob{}, failure("put", key, port.ErrUnavailable, err)
	}
	info, err := write(ctx, f, key, body, o.SHA256)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = failure("put", key, port.ErrUnavailable, closeErr)
	}
	if err == nil {
		err = b.name(temp, key, o.IfAbsent)
	}
	// After a rename the temporary name is gone; otherwise nobody needs it, and a later Open sweeps what cannot be removed.
	if rmErr := b.root.Remove(temp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) && err != nil {
		err = fmt.Errorf("%w; the temporary file stays: %w", err, rmErr)
	}
	if err != nil {
		return port.Blob{}, err
	}
	return info, nil
}

// write fills the temporary file from body, durably, and checks what came.
func write(ctx context.Context, f *os.File, key string, body io.Reader, want string) (port.Blob, error) {
	h := sha256.New()
	in := &source{ctx: ctx, r: body}
	n, err := io.Copy(io.MultiWriter(f, h), in)
	if in.err == nil && ctx.Err() != nil { // it ended with the last bytes
		in.err = context.Cause(ctx)
	}
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case in.err != nil:
		return port.Blob{}, fmt.Errorf("dir: put blob %q: its body after %d bytes: %w", key, n, in.err)
	case err != nil:
		return port.Blob{}, failure("put", key, port.ErrUnavailable, err)
	case want != "" && got != want:
		return port.Blob{}, fmt.Errorf("dir: put blob %q: its %d bytes have the SHA-256 %s, not %s: %w", key, n, got, want, port.ErrInvalid)
	}
	if err := f.Sync(); err != nil {
		return port.Blob{}, failure("put", key, port.ErrUnavailable, err)
	}
	info, err := f.Stat()
	if err != nil {
		return port.Blob{}, failure("put", key, port.ErrUnavailable, err)
	}
	return port.Blob{Key: key, Size: n, At: info.ModTime()}, nil
}

// name gives the temporary file the name of the key.
func (b *Blobs) name(temp, key string, ifAbsent bool) error {
	file := encode(key)
	folder := path.Dir(file)
	if err := b.root.MkdirAll(folder, 0o700); err != nil {
		return failure("put", key, port.ErrUnavailable, err)
	}
	if ifAbsent {
		switch err := b.root.Link(temp, file); {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("dir: put blob %q if absent: it is there: %w", key, port.ErrConflict)
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
			return failure("link (this file system may have no hard links)", key, port.ErrUnsupported, err)
		case err != nil:
			return failure("put", key, port.ErrUncertain, err)
		}
	} else if err := b.root.Rename(temp, file); err != nil {
		return failure("put", key, port.ErrUncertain, err)
	}
	// Folders above too: another process may have made them, and not have come to syncing them.
	for ; ; folder = path.Dir(folder) {
		if err := b.sync(folder); err != nil {
			return failure("put", key, port.ErrUncertain, err)
		}
		if folder == "." {
			return nil
		}
	}
}

// source reads a body until ctx ends, and keeps the error that the body answered.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
