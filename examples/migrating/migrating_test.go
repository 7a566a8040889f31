package migrating

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	muster "github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// world is one server, with the client of before and the backend of after.
func world(t *testing.T) (*redis.Client, port.Backend) {
	t.Helper()
	s := testserver.Redis(t, testserver.RedisConfig{})
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	b, err := muster.Open(t.Context(), muster.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(rdb.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return rdb, b
}

func TestWhatIsPublishedReachesWhoListens(t *testing.T) {
	rdb, b := world(t)
	for _, half := range []struct {
		name   string
		notify func(context.Context, price) error
		listen func(context.Context, func(), func(price)) error
	}{
		{"before", func(ctx context.Context, p price) error { return notifyBefore(ctx, rdb, p) }, func(ctx context.Context, live func(), use func(price)) error {
			return listenBefore(ctx, rdb, live, use)
		}},
		{"after", func(ctx context.Context, p price) error { return notifyAfter(ctx, b, p) }, func(ctx context.Context, live func(), use func(price)) error { return listenAfter(ctx, b, live, use) }},
	} {
		t.Run(half.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var got price
			err := half.listen(ctx, func() {
				if err := half.notify(ctx, price{"MSTR", 4200}); err != nil {
					t.Error(err)
					stop()
				}
			}, func(p price) {
				got = p
				stop()
			})
			if err != nil || got != (price{"MSTR", 4200}) {
				t.Fatalf("got %v, %v", got, err)
			}
		})
	}
}

func TestAJobThatFailsIsLostBeforeAndComesAgainAfter(t *testing.T) {
	rdb, b := world(t)
	job, broken := mail{"ann@example.org", "hello"}, errors.New("the mail server is away")

	if err := enqueueBefore(t.Context(), rdb, job); err != nil {
		t.Fatal(err)
	}
	if err := workBefore(t.Context(), rdb, func(mail) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if n := rdb.LLen(t.Context(), "mails").Val(); n != 0 {
		t.Errorf("%d jobs are in the list after the failure: this page says that it is lost", n)
	}

	if err := enqueueAfter(t.Context(), b, job); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var tries atomic.Int32
	err := workAfter(ctx, b, func(m mail) error {
		if m != job {
			t.Errorf("got %v", m)
		}
		if tries.Add(1) == 1 {
			return broken
		}
		stop()
		return nil
	})
	if err != nil || tries.Load() != 2 {
		t.Fatalf("%d tries, %v", tries.Load(), err)
	}
}

func TestAChargeThatFailedIsSkippedBeforeAndTriedAgainAfter(t *testing.T) {
	rdb, b := world(t)
	broken := errors.New("the bank is away")
	fails := func() (string, error) { return "", broken }
	works := func() (string, error) { return "receipt 7", nil }

	if _, err := chargeBefore(t.Context(), rdb, "order-1", fails); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if receipt, err := chargeBefore(t.Context(), rdb, "order-1", works); receipt != "" || err != nil {
		t.Errorf("got %q, %v: this page says that the charge is skipped", receipt, err)
	}

	if _, err := chargeAfter(t.Context(), b, "order-1", fails); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	for range 2 {
		if receipt, err := chargeAfter(t.Context(), b, "order-1", works); receipt != "receipt 7" || err != nil {
			t.Fatalf("got %q, %v", receipt, err)
		}
		works = fails // the second is answered from the record
	}
}

func TestInvalidationDeletesTheCustomersPages(t *testing.T) {
	rdb, b := world(t)
	for _, key := range []string{"page:ann:1", "page:ann:2", "page:bob:1"} {
		if err := rdb.Set(t.Context(), key, "html", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), port.Change{Key: strings.ReplaceAll(key, ":", "/"), Value: []byte("html")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(invalidateBefore(t.Context(), rdb, "ann"), invalidateAfter(t.Context(), b, "ann")); err != nil {
		t.Fatal(err)
	}
	if keys := rdb.Keys(t.Context(), "page:*").Val(); len(keys) != 1 || keys[0] != "page:bob:1" {
		t.Errorf("before: %v are left", keys)
	}
	for key, err := range b.Keys(t.Context(), "page/*") {
		if err != nil || key != "page/bob/1" {
			t.Errorf("after: %q is left, %v", key, err)
		}
	}
}

func TestALockThatRanOutIsDeletedByItsFirstHolderBeforeAndKeptAfter(t *testing.T) {
	rdb, b := world(t)
	nothing := func(context.Context) error { return nil }

	err := lockBefore(t.Context(), rdb, func(ctx context.Context) error {
		// The time to live has passed, and another takes the lock.
		return errors.Join(rdb.Del(ctx, "lock:report").Err(), rdb.SetNX(ctx, "lock:report", "2", 0).Err())
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := rdb.Exists(t.Context(), "lock:report").Val(); n != 0 {
		t.Error("before: the second holder's lock is still there; this page says that it is deleted")
	}

	err = lockAfter(t.Context(), b, func(ctx context.Context) error {
		if err := lockAfter(ctx, b, nothing); !errors.Is(err, errBusy) {
			t.Errorf("after: a second one while the first works: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lockAfter(t.Context(), b, nothing); err != nil {
		t.Errorf("after: once it is free: %v", err)
	}
}

func TestThePageShowsWhatIsRun(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "migrating-from-redis.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code bytes.Buffer
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 8 {
		t.Fatalf("the page has %d blocks of code", len(blocks))
	}
	for _, b := range blocks {
		if !bytes.Contains(code.Bytes(), b[1]) {
			t.Errorf("the page shows what is in none of %v:\n%s", files, b[1])
		}
	}
}
