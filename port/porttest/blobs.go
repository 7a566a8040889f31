package porttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

// BlobsSuite says how to open the store that is to be proved.
type BlobsSuite struct {
	// Open is one process on a store; two calls with one name are two processes on it. It closes by t.Cleanup. A name is 1 to
	// 20 of a-z and 0-9, and a name that was not opened before in the test t is an empty store.
	Open func(t *testing.T, store string) port.Blobs
}

// Blobs proves the store that s opens, with one subtest for each case.
func Blobs(t *testing.T, s BlobsSuite) { proveAll(t, s, blobsPromises()) }

func blobsPromises() []promise[BlobsSuite] {
	return []promise[BlobsSuite]{
		{"what was put comes back, in another process too", "Put stores what body yields, to its end, under key.", blobsBack},
		{"a blob is replaced whole, and who reads the old one reads on", "The bytes stay those of one Put, even when the key is replaced or deleted meanwhile.", blobsReplace},
		{"a blob that is not there is not found", "ErrNotFound when there is none.", blobsAbsent},
		{"if absent, the first stays", "ErrConflict when o.IfAbsent finds the key taken.", blobsIfAbsent},
		{"if absent, one of many at once succeeds", "Of several at once exactly one succeeds.", blobsRace},
		{"other bytes than the SHA-256 says are refused and not seen", "ErrInvalid when the bytes do not have o.SHA256; key is as it was.", blobsSum},
		{"a body that breaks off leaves nothing behind", "An error of body is returned as it came, wrapped; key is as it was.", blobsBroken},
		{"a blob under way is not seen", "A blob is seen whole or not at all.", blobsUnderWay},
		{"readers never see two writers mixed", "No reader meets one half written, or one that is half the old and half the new.", blobsMixed},
		{"a list is in order of the keys and has what the prefix begins", "List yields the blobs whose key begins with prefix, in the order of their keys, byte by byte.", blobsList},
		{"a list can be left", "List is an iterator: the loop may break.", blobsLeave},
		{"keys that resemble each other are different blobs", "Keys differ when a letter's case does, and \"a\" and \"a/b\" may both exist.", blobsAlike},
		{"deleting removes, and is no error where nothing is", "Delete removes the keys; one that is not there is no error.", blobsDelete},
		{"a key that could leave the store is refused", "CheckBlobKey answers ErrInvalid; nothing happened.", blobsKeys},
		{"a call whose context has ended does nothing and says why", "A call returns as soon as its context ends, with an error that wraps context.Cause.", blobsEnded},
		{"contents are found by their digest alone", "Contents keeps byte strings under their own Digest.", blobsContents},
	}
}

// store is one open process, with what cases say often.
type blobStore struct {
	port.Blobs
	e *exam
}

func (s BlobsSuite) open(e *exam) blobStore { return blobStore{s.Open(e.t, "store"), e} }

func (b blobStore) put(key, body string) {
	info, err := b.Put(b.e.ctx, key, strings.NewReader(body), port.PutOptions{})
	b.e.must(err, "Put of "+key)
	b.e.check(info.Key == key && info.Size == int64(len(body)) && !info.At.IsZero(), "Put of %q (%d bytes) answered %+v", key, len(body), info)
}

func (b blobStore) holds(key, body string) {
	r, info, err := b.Get(b.e.ctx, key)
	b.e.must(err, "Get of "+key)
	b.e.bytes(b.rest(r), []byte(body), "blob "+key)
	stat, err := b.Stat(b.e.ctx, key)
	b.e.must(err, "Stat of "+key)
	for _, i := range []port.Blob{info, stat} {
		b.e.check(i.Key == key && i.Size == int64(len(body)) && !i.At.IsZero(), "blob %q of %d bytes is told as %+v", key, len(body), i)
	}
}

func (b blobStore) rest(r io.ReadCloser) []byte {
	body, err := io.ReadAll(r)
	b.e.must(errors.Join(err, r.Close()), "read")
	return body
}

func (b blobStore) lacks(key string) {
	_, _, err := b.Get(b.e.ctx, key)
	b.e.is(err, port.ErrNotFound, "Get of "+key)
	_, err = b.Stat(b.e.ctx, key)
	b.e.is(err, port.ErrNotFound, "Stat of "+key)
}

func (b blobStore) keys(prefix string) []string {
	var keys []string
	for blob, err := range b.List(b.e.ctx, prefix) {
		b.e.must(err, "List of "+prefix)
		keys = append(keys, blob.Key)
	}
	return keys
}

func (b blobStore) has(prefix string, want ...string) {
	if got := b.keys(prefix); !slices.Equal(got, want) {
		b.e.fatalf("keys with prefix %q are %q, want %q", prefix, got, want)
	}
}

func blobsBack(e *exam, s BlobsSuite) {
	a, b := s.open(e), s.open(e)
	for i, body := range []string{"", "x", "\x00\xff\r\n", strings.Repeat("0123456789abcdef", 1<<16)} {
		key := fmt.Sprintf("a/b%d", i)
		a.put(key, body)
		b.holds(key, body)
	}
	info, err := a.Put(e.ctx, "sum", strings.NewReader("hello"), port.PutOptions{SHA256: port.Digest([]byte("hello"))})
	e.must(err, "Put with the right SHA-256")
	e.check(info.Size == 5, "Put of 5 bytes answered %+v", info)
	b.holds("sum", "hello")
}

func blobsReplace(e *exam, s BlobsSuite) {
	b := s.open(e)
	old := strings.Repeat("old", 100_000)
	b.put("k", old)
	b.put("gone", old)
	first, _, err := b.Get(e.ctx, "k")
	e.must(err, "Get")
	second, _, err := b.Get(e.ctx, "gone")
	e.must(err, "Get")
	b.put("k", "new")
	e.must(b.Delete(e.ctx, "gone"), "Delete")
	e.bytes(b.rest(first), []byte(old), "the replaced blob, opened before")
	e.bytes(b.rest(second), []byte(old), "the deleted blob, opened before")
	b.holds("k", "new")
	b.lacks("gone")
}

func blobsAbsent(e *exam, s BlobsSuite) {
	b := s.open(e)
	b.put("a/b", "1")
	for _, key := range []string{"a", "b", "a/b/c", "a/c", "x/y/z"} {
		b.lacks(key)
	}
	b.has("x")
}

func blobsIfAbsent(e *exam, s BlobsSuite) {
	b := s.open(e)
	put := func(body string) error {
		_, err := b.Put(e.ctx, "k", strings.NewReader(body), port.PutOptions{IfAbsent: true})
		return err
	}
	e.must(put("first"), "Put if absent")
	e.is(put("second"), port.ErrConflict, "Put if absent where one is")
	b.holds("k", "first")
	e.must(b.Delete(e.ctx, "k"), "Delete")
	e.must(put("third"), "Put if absent after Delete")
	b.holds("k", "third")
	b.has("", "k")
}

func blobsRace(e *exam, s BlobsSuite) {
	all := []blobStore{s.open(e), s.open(e)}
	const n = 16
	won := make([]bool, n)
	e.crowd(n, func(i int) {
		_, err := all[i%2].Put(e.ctx, "k", strings.NewReader(fmt.Sprint(i)), port.PutOptions{IfAbsent: true})
		won[i] = err == nil
		if err != nil {
			e.is(err, port.ErrConflict, "Put if absent beside others")
		}
	})
	winner := slices.Index(won, true)
	e.check(winner >= 0 && !slices.Contains(won[winner+1:], true), "of %d at once those who succeeded are %v, want exactly one", n, won)
	all[0].holds("k", fmt.Sprint(winner))
}

func blobsSum(e *exam, s BlobsSuite) {
	b := s.open(e)
	b.put("old", "old")
	for _, key := range []string{"new", "old"} {
		_, err := b.Put(e.ctx, key, strings.NewReader("body"), port.PutOptions{SHA256: port.Digest([]byte("other"))})
		e.is(err, port.ErrInvalid, "Put with another SHA-256")
	}
	b.lacks("new")
	b.holds("old", "old")
	b.has("", "old")
}

// brokenBody yields some bytes and then an error.
type brokenBody struct{ first io.Reader }

var errBody = errors.New("the body broke off")

func (r brokenBody) Read(p []byte) (int, error) {
	n, err := r.first.Read(p)
	if err == io.EOF {
		err = errBody
	}
	return n, err
}

func blobsBroken(e *exam, s BlobsSuite) {
	b := s.open(e)
	b.put("old", "old")
	for _, o := range []port.PutOptions{{}, {IfAbsent: true}} {
		_, err := b.Put(e.ctx, "new", brokenBody{strings.NewReader("half")}, o)
		e.is(err, errBody, "Put of a body that breaks off")
	}
	_, err := b.Put(e.ctx, "old", brokenBody{strings.NewReader("half")}, port.PutOptions{})
	e.is(err, errBody, "Put of a body that breaks off")
	b.lacks("new")
	b.holds("old", "old")
	b.has("", "old")
}

// watchedBody calls look once, after its first bytes were taken.
type watchedBody struct {
	io.Reader
	look func()
}

func (r *watchedBody) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(len(p), 3)])
	if r.look != nil && err == io.EOF {
		r.look()
		r.look = nil
	}
	return n, err
}

func blobsUnderWay(e *exam, s BlobsSuite) {
	b, other := s.open(e), s.open(e)
	body := &watchedBody{Reader: strings.NewReader("abcdef"), look: func() {
		other.lacks("k")
		other.has("")
	}}
	_, err := b.Put(e.ctx, "k", body, port.PutOptions{})
	e.must(err, "Put")
	other.holds("k", "abcdef")
}

func blobsMixed(e *exam, s BlobsSuite) {
	all := []blobStore{s.open(e), s.open(e)}
	body := func(i int) string { return strings.Repeat(string(rune('a'+i)), 100_000+i) }
	all[0].put("k", body(0))
	e.crowd(8, func(i int) {
		b := all[i%2]
		for range 10 {
			if i < 4 {
				b.put("k", body(i))
				continue
			}
			r, info, err := b.Get(e.ctx, "k")
			e.must(err, "Get beside writers")
			got := b.rest(r)
			e.check(info.Size == int64(len(got)), "the size told is %d, %d bytes came", info.Size, len(got))
			want := body(len(got) - 100_000)
			e.bytes(got, []byte(want), "read beside writers")
		}
	})
}

func blobsList(e *exam, s BlobsSuite) {
	b := s.open(e)
	keys := []string{"b", "a", "a/b", "a-b", "a.b", "a/b/c", "a/a", "aa", "A", "a0/x", "a/B", "c/d/e/f"}
	for _, k := range keys {
		b.put(k, k)
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "A", "b/", "c/d/e/f", "c/d", "z", "a.", "-"} {
		var want []string
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) {
				want = append(want, k)
			}
		}
		b.has(prefix, want...)
	}
	for blob, err := range b.List(e.ctx, "") {
		e.must(err, "List")
		e.check(blob.Size == int64(len(blob.Key)) && !blob.At.IsZero(), "the list tells %+v", blob)
	}
}

func blobsLeave(e *exam, s BlobsSuite) {
	b := s.open(e)
	for i := range 5 {
		b.put(fmt.Sprintf("d%d/k", i), "1")
	}
	n := 0
	for _, err := range b.List(e.ctx, "") {
		e.must(err, "List")
		if n++; n == 2 {
			break
		}
	}
	e.check(n == 2, "the loop saw %d blobs, want 2", n)
}

func blobsAlike(e *exam, s BlobsSuite) {
	b := s.open(e)
	long := strings.Repeat("p", port.MaxBlobPart)
	keys := []string{"k", "K", "k/k", "k/K", "K/k", "k.k", ".k", "k.", "_k", "-k", "k.tmp", "..k", "con", "0", long, strings.Repeat(long[:63]+"/", 7) + long[:64]}
	for _, k := range keys {
		b.put(k, "body of "+k)
	}
	for _, k := range keys {
		b.holds(k, "body of "+k)
	}
	slices.Sort(keys)
	b.has("", keys...)
}

func blobsDelete(e *exam, s BlobsSuite) {
	b := s.open(e)
	for _, k := range []string{"a", "a/b", "c", "d"} {
		b.put(k, k)
	}
	e.must(b.Delete(e.ctx, "a", "never", "x/y", "c"), "Delete")
	b.has("", "a/b", "d")
	e.must(b.Delete(e.ctx, "a", "c"), "Delete again")
	e.must(b.Delete(e.ctx), "Delete of nothing")
	b.lacks("a")
	b.holds("a/b", "a/b")
}

func blobsKeys(e *exam, s BlobsSuite) {
	b := s.open(e)
	b.put("kept", "1")
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", `a\b`, "a b", "a\x00", "ä", "a:b", "a+b", "~",
		strings.Repeat("k", port.MaxBlobPart+1), strings.Repeat("k/", port.MaxKey/2) + "kk",
	}
	for _, k := range bad {
		_, err := b.Put(e.ctx, k, strings.NewReader("x"), port.PutOptions{})
		e.is(err, port.ErrInvalid, fmt.Sprintf("Put of key %.40q", k))
		_, _, err = b.Get(e.ctx, k)
		e.is(err, port.ErrInvalid, fmt.Sprintf("Get of key %.40q", k))
		_, err = b.Stat(e.ctx, k)
		e.is(err, port.ErrInvalid, fmt.Sprintf("Stat of key %.40q", k))
		e.is(b.Delete(e.ctx, "kept", k), port.ErrInvalid, fmt.Sprintf("Delete of key %.40q", k))
	}
	for _, sum := range []string{"x", strings.Repeat("A", 64), strings.Repeat("0", 63)} {
		_, err := b.Put(e.ctx, "k", strings.NewReader("x"), port.PutOptions{SHA256: sum})
		e.is(err, port.ErrInvalid, "Put with the SHA-256 "+sum)
	}
	for _, err := range b.List(e.ctx, "a b") {
		e.is(err, port.ErrInvalid, "List with a prefix that no key has")
	}
	b.has("", "kept")
}

func blobsEnded(e *exam, s BlobsSuite) {
	b := s.open(e)
	b.put("kept", "1")
	ctx := e.ended()
	_, err := b.Put(ctx, "new", strings.NewReader("x"), port.PutOptions{})
	e.is(err, errEnough, "Put under an ended context")
	_, _, err = b.Get(ctx, "kept")
	e.is(err, errEnough, "Get under an ended context")
	_, err = b.Stat(ctx, "kept")
	e.is(err, errEnough, "Stat under an ended context")
	e.is(b.Delete(ctx, "kept"), errEnough, "Delete under an ended context")
	err = nil
	for _, err = range b.List(ctx, "") {
		e.check(err != nil, "List under an ended context yielded a blob")
	}
	e.is(err, errEnough, "List under an ended context")
	half, end := context.WithCancelCause(e.ctx)
	body := &watchedBody{Reader: bytes.NewReader(make([]byte, 100)), look: func() { end(errEnough) }}
	_, err = b.Put(half, "new", body, port.PutOptions{})
	e.is(err, errEnough, "Put whose context ends under way")
	b.has("", "kept")
}

func blobsContents(e *exam, s BlobsSuite) {
	c := port.Contents{Blobs: s.open(e)}
	digest, err := c.Put(e.ctx, []byte("hello"))
	e.must(err, "Put of a content")
	again, err := port.Contents{Blobs: s.open(e)}.Put(e.ctx, []byte("hello"))
	e.must(err, "Put of the same content")
	e.check(digest == again && digest == port.Digest([]byte("hello")), "the digests are %s and %s", digest, again)
	body, err := c.Get(e.ctx, digest)
	e.must(err, "Get of a content")
	e.bytes(body, []byte("hello"), "content")
	_, err = c.Get(e.ctx, port.Digest([]byte("other")))
	e.is(err, port.ErrNotFound, "Get of a content that was not put")
	s.open(e).has("", "sha256/"+digest[:2]+"/"+digest)
}
