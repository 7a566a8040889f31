//go:build unix

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
)

func TestWhatOneReplicaChangesTheOtherServes(t *testing.T) {
	server := testserver.Redis(t, testserver.RedisConfig{})
	var urls []string
	for range 2 {
		b, err := redis.Open(t.Context(), redis.Config{URL: server.URL()})
		if err != nil {
			t.Fatal(err)
		}
		s := newService(b, b)
		web := httptest.NewServer(s.handler())
		followed := make(chan error)
		go func() { followed <- s.users.Follow(t.Context()) }()
		t.Cleanup(func() {
			web.Close()
			if err := <-followed; err != nil {
				t.Error(err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		urls = append(urls, web.URL)
	}
	ask := func(method, url, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if got := ask("GET", urls[0]+"/users/42", ""); got != "no such user" {
		t.Errorf("got %q", got)
	}
	for i, name := range []string{"Ann", "Ann Smith", "Ann Jones"} {
		ask("PUT", urls[i%2]+"/users/42", name)
		if got := ask("GET", urls[i%2]+"/users/42", ""); got != name {
			t.Errorf("the replica that changed it answers %q, want %q", got, name)
		}
		limit := time.After(time.Minute) // it takes a millisecond, and a second at most while it hears
		for ask("GET", urls[1-i%2]+"/users/42", "") != name {
			select {
			case <-limit:
				t.Fatalf("the other replica does not serve %q", name)
			case <-time.After(time.Millisecond):
			}
		}
	}
}
