package port_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/musterhq/muster/port"
)

func TestABlobsKeyCannotLeaveADirectory(t *testing.T) {
	long := strings.Repeat("p", port.MaxBlobPart)
	for _, key := range []string{"a", "a/b/c", ".a", "a.", "...", "A-Z_0.9", long, long + "/" + long} {
		if err := port.CheckBlobKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", `a\b`, "a b", "a\x00", "ä", "a+", long + "p", strings.Repeat(long+"/", 6)} {
		if err := port.CheckBlobKey(key); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
		if err := (port.PutOptions{}).Check(key); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("put of %q: %v", key, err)
		}
	}
	for prefix, good := range map[string]bool{"": true, "a/": true, "/": true, "a+": false, "a b": false} {
		if err := port.CheckBlobPrefix(prefix); (err == nil) != good {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestADigestIsLowerCaseAndWhole(t *testing.T) {
	digest := port.Digest(nil)
	for sum, good := range map[string]bool{"": true, digest: true, strings.ToUpper(digest): false, digest[1:]: false, digest + "0": false, strings.Repeat("g", 64): false} {
		if err := (port.PutOptions{SHA256: sum}).Check("k"); (err == nil) != good || !good && !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%q: %v", sum, err)
		}
	}
}

// oneBlob answers each Put by putErr, and each Get by body.
type oneBlob struct {
	port.Blobs
	putErr error
	body   io.Reader
	key    string
	opts   port.PutOptions
}

func (b *oneBlob) Put(_ context.Context, key string, _ io.Reader, o port.PutOptions) (port.Blob, error) {
	b.key, b.opts = key, o
	return port.Blob{}, b.putErr
}

func (b *oneBlob) Get(context.Context, string) (io.ReadCloser, port.Blob, error) {
	if b.body == nil {
		return nil, port.Blob{}, port.ErrNotFound
	}
	return io.NopCloser(b.body), port.Blob{}, nil
}

func TestAContentIsPutUnderItsDigestOnceAndForAll(t *testing.T) {
	hello := port.Digest([]byte("hello"))
	for putErr, want := range map[error]error{nil: nil, port.ErrConflict: nil, port.ErrUncertain: port.ErrUncertain, port.ErrUnavailable: port.ErrUnavailable} {
		b := &oneBlob{putErr: putErr}
		digest, err := port.Contents{Blobs: b, Prefix: "files/"}.Put(t.Context(), []byte("hello"))
		if !errors.Is(err, want) || (err == nil) != (digest == hello) {
			t.Errorf("Put answered by %v: %q, %v", putErr, digest, err)
		}
		if b.key != "files/2c/"+hello || b.opts != (port.PutOptions{IfAbsent: true, SHA256: hello}) {
			t.Errorf("it was put at %q with %+v", b.key, b.opts)
		}
	}
}

func TestAContentThatIsDamagedOrUnreadableIsNotGivenOut(t *testing.T) {
	hello := port.Digest([]byte("hello"))
	broken := errors.New("broken")
	for _, c := range []struct {
		digest string
		body   io.Reader
		want   error
	}{
		{"hello", nil, port.ErrInvalid},
		{hello, nil, port.ErrNotFound},
		{hello, strings.NewReader("hullo"), port.ErrLost},
		{hello, strings.NewReader(""), port.ErrLost},
		{hello, iotest.ErrReader(broken), broken},
	} {
		body, err := port.Contents{Blobs: &oneBlob{body: c.body}}.Get(t.Context(), c.digest)
		if !errors.Is(err, c.want) || body != nil {
			t.Errorf("Get of %q: %q, %v; want %v", c.digest, body, err, c.want)
		}
	}
	body, err := port.Contents{Blobs: &oneBlob{body: strings.NewReader("hello")}}.Get(t.Context(), hello)
	if err != nil || string(body) != "hello" {
		t.Errorf("Get of what is whole: %q, %v", body, err)
	}
}

func ExampleDigest() {
	fmt.Println(port.Digest([]byte("hello")))
	// Output: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
}
