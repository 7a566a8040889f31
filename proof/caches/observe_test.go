//go:build unix

package caches_test

import (
	"strconv"
	"testing"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
)

// observe is how many loads there were.
func observe(t *testing.T, server *testserver.Server) int {
	t.Helper()
	b, err := redis.Open(t.Context(), redis.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	got, err := b.Get(t.Context(), "loads")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(got[0].Bytes))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
