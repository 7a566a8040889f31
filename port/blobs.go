package port

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Blobs holds whole files by key. A blob is seen whole or not at all: no reader meets one half written, or one that is half
// the old and half the new. What Put reported is durable as far as the store reaches.
type Blobs interface {
	// Put stores what body yields, to its end, under key; what was there before is replaced unless o says otherwise. When
	// it answers anything but nil and [ErrUncertain], key is as it was. [ErrConflict] when o.IfAbsent finds the key taken,
	// [ErrInvalid] when the bytes do not have o.SHA256. An error of body is returned as it came, wrapped. After
	// [ErrUncertain] the same Put may be made again; one with IfAbsent may then find itself.
	Put(ctx context.Context, key string, body io.Reader, o PutOptions) (Blob, error)

	// Get opens the blob for reading; the caller closes it. The bytes stay those of one Put, even when the key is replaced
	// or deleted meanwhile. [ErrNotFound] when there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, Blob, error)

	// Stat tells of a blob without its bytes. [ErrNotFound] when there is none.
	Stat(ctx context.Context, key string) (Blob, error)

	// List yields the blobs whose key begins with prefix ("" is every one), in the order of their keys, byte by byte. One
	// that exists from the start to the end of the loop is always among them. An error is the last item.
	List(ctx context.Context, prefix string) iter.Seq2[Blob, error]

	// Delete removes the keys, in order; one that is not there is no error. After an error some may be gone; deleting all
	// of them again is safe.
	Delete(ctx context.Context, keys ...string) error
}

// PutOptions are the conditions of a Put.
type PutOptions struct {
	IfAbsent bool   // only where there is no such key; of several at once exactly one succeeds; default false
	SHA256   string // what the bytes must have, 64 lower-case hexadecimal digits, checked before they are seen; default any
}

// Blob is what is known of a stored file without reading it.
type Blob struct {
	Key  string
	Size int64     // bytes
	At   time.Time // when it was put, by the store's clock
}

// MaxBlobPart is the longest part of a blob's key between slashes, in bytes.
const MaxBlobPart = 100

// CheckBlobKey answers [ErrInvalid] unless key has 1 to [MaxKey] bytes and consists of parts between slashes, each 1 to
// [MaxBlobPart] characters of A-Z a-z 0-9 . _ -, none of them "." or "..". Such a key cannot leave a directory. Keys differ
// when a letter's case does, and "a" and "a/b" may both exist.
func CheckBlobKey(key string) error {
	if err := CheckKey("blob", key); err != nil {
		return err
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || len(part) > MaxBlobPart {
			return fmt.Errorf("blob %s: %s between slashes is empty, a dot, two dots or longer than %d bytes: %w", brief(key), brief(part), MaxBlobPart, ErrInvalid)
		}
		if err := checkBlobChars(key, part); err != nil {
			return err
		}
	}
	return nil
}

// CheckBlobPrefix answers [ErrInvalid] for a prefix that no key can have: one with other characters than keys have.
func CheckBlobPrefix(prefix string) error {
	return checkBlobChars(prefix, strings.ReplaceAll(prefix, "/", ""))
}

func checkBlobChars(key, s string) error {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("blob %s: character %q is not one of A-Z a-z 0-9 . _ - /: %w", brief(key), string(c), ErrInvalid)
		}
	}
	return nil
}

// Check answers [ErrInvalid] for a Put that cannot be made.
func (o PutOptions) Check(key string) error {
	if err := CheckBlobKey(key); err != nil {
		return err
	}
	if o.SHA256 != "" && !isDigest(o.SHA256) {
		return fmt.Errorf("blob %q: SHA-256 %s is not 64 lower-case hexadecimal digits: %w", key, brief(o.SHA256), ErrInvalid)
	}
	return nil
}

// Digest is the SHA-256 of b in 64 lower-case hexadecimal digits: the name of a content.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// Contents keeps byte strings under their own [Digest]: the same bytes are stored once, a content never changes, and what
// comes back is what was put. A content lives at Prefix, the first two digits, a slash and the digest.
type Contents struct {
	Blobs  Blobs
	Prefix string // of the keys; default "sha256/"
}

// Put stores body, unless it is there already, and returns its digest. After any error it may be made again.
func (c Contents) Put(ctx context.Context, body []byte) (digest string, err error) {
	digest = Digest(body)
	_, err = c.Blobs.Put(ctx, c.key(digest), bytes.NewReader(body), PutOptions{IfAbsent: true, SHA256: digest})
	if err != nil && !errors.Is(err, ErrConflict) {
		return "", fmt.Errorf("content %s: %w", digest, err)
	}
	return digest, nil
}

// Get returns the bytes that have the digest. [ErrNotFound] when there are none, [ErrLost] when what is stored has another.
func (c Contents) Get(ctx context.Context, digest string) (body []byte, err error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("content %s: a digest is 64 lower-case hexadecimal digits: %w", brief(digest), ErrInvalid)
	}
	key := c.key(digest)
	r, _, err := c.Blobs.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("content %s: %w", digest, err)
	}
	body, err = io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("content %s: read: %w", digest, err)
	}
	if got := Digest(body); got != digest {
		return nil, fmt.Errorf("content %s: blob %q has the digest %s, so it was damaged; delete it and put the content again: %w", digest, key, got, ErrLost)
	}
	return body, nil
}

func (c Contents) key(digest string) string {
	prefix := c.Prefix
	if prefix == "" {
		prefix = "sha256/"
	}
	return prefix + digest[:2] + "/" + digest
}
