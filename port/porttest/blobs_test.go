package porttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

// shelf is a sound store in memory, save for its faults.
type shelf struct {
	mu     *sync.Mutex
	bodies map[string][]byte
	fault  string
}

func (s *shelf) Put(ctx context.Context, key string, body io.Reader, o port.PutOptions) (port.Blob, error) {
	if err := o.Check(key); err != nil && s.fault != "takes any key" {
		return port.Blob{}, err
	}
	if ctx.Err() != nil {
		return port.Blob{}, context.Cause(ctx)
	}
	if s.fault == "is seen while it is written" {
		s.set(key, nil)
	}
	b, err := io.ReadAll(body)
	switch {
	case s.fault == "keeps what came before the body broke off" && err != nil:
		s.set(key, b)
		return port.Blob{}, err
	case s.fault == "takes a broken body for a whole one":
	case err != nil:
		return port.Blob{}, err
	}
	if ctx.Err() != nil {
		return port.Blob{}, context.Cause(ctx)
	}
	if o.SHA256 != "" && port.Digest(b) != o.SHA256 {
		if s.fault == "checks the SHA-256 too late" {
			s.set(key, b)
		}
		return port.Blob{}, port.ErrInvalid
	}
	if s.fault == "folds case" {
		key = strings.ToLower(key)
	}
	if !s.put(key, b, o.IfAbsent) {
		return port.Blob{}, port.ErrConflict
	}
	return port.Blob{Key: key, Size: int64(len(b)), At: time.Now()}, nil
}

func (s *shelf) set(key string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies[key] = b
}

func (s *shelf) put(key string, b []byte, ifAbsent bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, taken := s.bodies[key]
	switch {
	case s.fault == "writes over the first" && ifAbsent && taken:
		s.bodies[key] = b
		return false
	case s.fault == "lets every writer be the first":
	case ifAbsent && taken:
		return false
	}
	switch {
	case s.fault == "writes into what readers read" && len(old) > 0:
		copy(old, b)
	case s.fault == "cuts at 4096 bytes":
		s.bodies[key] = b[:min(len(b), 4096)]
	default:
		s.bodies[key] = b
	}
	return true
}

func (s *shelf) get(ctx context.Context, key string) ([]byte, port.Blob, error) {
	if err := port.CheckBlobKey(key); err != nil && s.fault != "takes any key" {
		return nil, port.Blob{}, err
	}
	if ctx.Err() != nil && s.fault != "does not look at its context" {
		return nil, port.Blob{}, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == "folds case" {
		key = strings.ToLower(key)
	}
	b, ok := s.bodies[key]
	if !ok && s.fault != "takes an absent blob for an empty one" {
		return nil, port.Blob{}, fmt.Errorf("%q: %w", key, port.ErrNotFound)
	}
	return b, port.Blob{Key: key, Size: int64(len(b)), At: time.Now()}, nil
}

func (s *shelf) Get(ctx context.Context, key string) (io.ReadCloser, port.Blob, error) {
	b, blob, err := s.get(ctx, key)
	if err != nil {
		return nil, blob, err
	}
	return io.NopCloser(bytes.NewReader(b)), blob, nil
}

func (s *shelf) Stat(ctx context.Context, key string) (port.Blob, error) {
	_, blob, err := s.get(ctx, key)
	return blob, err
}

func (s *shelf) List(ctx context.Context, prefix string) iter.Seq2[port.Blob, error] {
	return func(yield func(port.Blob, error) bool) {
		if err := port.CheckBlobPrefix(prefix); err != nil {
			yield(port.Blob{}, err)
			return
		}
		if ctx.Err() != nil {
			yield(port.Blob{}, context.Cause(ctx))
			return
		}
		s.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.bodies))
		s.mu.Unlock()
		if s.fault == "lists backwards" {
			slices.Reverse(keys)
		}
		for _, key := range keys {
			_, blob, err := s.get(ctx, key)
			if strings.HasPrefix(key, prefix) && !yield(blob, err) && s.fault != "goes on when the loop is left" {
				return
			}
		}
	}
}

func (s *shelf) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := port.CheckBlobKey(key); err != nil && s.fault != "takes any key" {
			return err
		}
	}
	for _, key := range keys {
		if _, _, err := s.get(ctx, key); err != nil && (s.fault == "cannot delete what is not there" || ctx.Err() != nil) {
			return err
		}
		s.mu.Lock()
		delete(s.bodies, key)
		s.mu.Unlock()
	}
	return nil
}

func shelves(fault string) BlobsSuite {
	var mu sync.Mutex
	open := map[string]*shelf{}
	return BlobsSuite{Open: func(t *testing.T, store string) port.Blobs {
		mu.Lock()
		defer mu.Unlock()
		name := t.Name() + store
		if open[name] == nil || fault == "is another store in another process" {
			open[name] = &shelf{mu: new(sync.Mutex), bodies: map[string][]byte{}, fault: fault}
		}
		return open[name]
	}}
}

func TestBrokenBlobsAreCaught(t *testing.T) {
	one := func(fault string, caught ...string) broken[BlobsSuite] {
		return broken[BlobsSuite]{fault, shelves(fault), caught}
	}
	var cases []promise[BlobsSuite]
	for _, p := range blobsPromises() { // each case has a store of its own by the name of its test
		cases = append(cases, promise[BlobsSuite]{p.name, p.rule, func(e *exam, s BlobsSuite) {
			open := s.Open
			s.Open = func(t *testing.T, store string) port.Blobs { return open(t, p.name+store) }
			p.keep(e, s)
		}})
	}
	catchAll(t, cases, shelves(""), []broken[BlobsSuite]{
		one("is another store in another process", "what was put comes back, in another process too"),
		one("cuts at 4096 bytes", "what was put comes back, in another process too", "readers never see two writers mixed"),
		one("writes into what readers read", "a blob is replaced whole, and who reads the old one reads on"),
		one("takes an absent blob for an empty one", "a blob that is not there is not found"),
		one("writes over the first", "if absent, the first stays"),
		one("lets every writer be the first", "if absent, one of many at once succeeds"),
		one("checks the SHA-256 too late", "other bytes than the SHA-256 says are refused and not seen"),
		one("keeps what came before the body broke off", "a body that breaks off leaves nothing behind"),
		one("takes a broken body for a whole one", "a body that breaks off leaves nothing behind"),
		one("is seen while it is written", "a blob under way is not seen"),
		one("lists backwards", "a list is in order of the keys and has what the prefix begins"),
		one("goes on when the loop is left", "a list can be left"),
		one("folds case", "keys that resemble each other are different blobs"),
		one("cannot delete what is not there", "deleting removes, and is no error where nothing is"),
		one("takes any key", "a key that could leave the store is refused"),
		one("does not look at its context", "a call whose context has ended does nothing and says why"),
		one("takes an absent blob for an empty one", "contents are found by their digest alone"),
	})
}
