//go:build unix

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/cache"
)

// cacheNode is a node of the cache "users" that follows until the test ends.
func (c *cli) cacheNode() *cache.Cache[string] {
	c.t.Helper()
	b := c.backend()
	n := cache.New(b, "users", cache.Config[string]{Node: "app", Keep: 2 * time.Hour})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Follow(ctx) }()
	c.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.until("the node hears", n.Hears)
	return n
}

func TestACacheIsShownAndMadeInvalidByHand(t *testing.T) {
	c := newCLI(t)
	c.refused(exitNotFound, `cache "users"`, "cache", "status", "users")
	c.refused(exitNotFound, `cache "users"`, "cache", "clear", "users", "--yes")
	n := c.cacheNode()
	set := func(key string, tags ...string) {
		t.Helper()
		if err := n.Set(t.Context(), key, "v", tags...); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(key string) {
		t.Helper()
		c.until("the node hears that "+key+" is invalid", func() bool {
			_, err := n.Get(t.Context(), key)
			return err != nil
		})
		c.refused(exitNotFound, key, "cache", "get", "users", key)
	}
	set("a")
	set("b")
	set("team:1")
	set("\xff")
	set("tagged", "red")
	set("last")
	if out := c.ok("cache", "get", "users", "a"); out != `"v"` {
		t.Errorf("the store has %q", out)
	}
	same(t, c.ok("cache", "get", "users", "a", "--json"), `{"key":"a","value":"\"v\""}`)
	watched := c.watch("cache", "status", "users", "--watch", "--json")
	lines := c.watch("cache", "status", "users", "--watch")
	c.until("the watchers have begun", func() bool {
		set("probe")
		return strings.Contains(watched(), "probe") && strings.Contains(lines(), "probe")
	})
	same(t, c.ok("cache", "invalidate", "users", "a", "\xff", "--pattern", "team:*", "--pattern", "nobody?", "--tag", "red", "--json"),
		`{"keys":2,"patterns":2,"tags":1}`)
	for _, key := range []string{"a", "team:1", "tagged"} {
		gone(key)
	}
	if v, err := n.Get(t.Context(), "b"); err != nil || v != "v" {
		t.Errorf("b is %q, %v", v, err)
	}
	same(t, c.ok("cache", "invalidate", "users", "b"), "invalid: 1 key, 0 patterns, 0 tags")
	gone("b")
	c.refused(exitUsage, "--yes", "cache", "clear", "users")
	same(t, c.ok("cache", "clear", "users", "--yes", "--sweep", "--json"), `{"swept":4}`) // team:1, tagged, last, probe
	gone("last")
	same(t, c.ok("cache", "clear", "users", "--yes"), "cleared, 0 values swept")
	c.until("the watchers are told", func() bool {
		return strings.Count(watched(), `"op":"clear"`) == 2 && strings.Count(lines(), "clear") == 2
	})
	for _, want := range []string{`"op":"pattern"`, `"names":["team:*"]`, `"names":["red"]`, `"namesBase64":["YQ==","/w=="]`} {
		if !strings.Contains(watched(), want) {
			t.Errorf("the watcher was not told %s:\n%s", want, watched())
		}
	}
	if !strings.Contains(lines(), `a  \xff`) {
		t.Errorf("the watcher was not told of the key that is no text:\n%s", lines())
	}

	c.until("the node has told of itself", func() bool {
		l := values[cacheLine](t, c.ok("cache", "status", "users", "--json"))
		return len(l) == 1 && len(l[0].Nodes) == 1 && l[0].Nodes[0].Heard != nil && l[0].Nodes[0].Offset != "" &&
			l[0].Leader == "app" && l[0].Nodes[0].Node == "app" && l[0].History > 8
	})
	if out := c.ok("cache", "status", "users"); !strings.Contains(out, "leader   app\n") || !strings.Contains(out, "NODE  TOKEN") {
		t.Errorf("status:\n%s", out)
	}
	for info, err := range c.backend().Inspect(t.Context(), cache.LogTopic("users")) {
		if err != nil || info.Topic.MaxAge != 2*time.Hour {
			t.Errorf("the log is kept for %v, %v: the command has changed it", info.Topic.MaxAge, err)
		}
	}
	c.refused(exitUsage, "nothing is named", "cache", "invalidate", "users")
	c.refused(exitUsage, "pattern", "cache", "invalidate", "users", "--pattern", "[")
	c.refused(exitUsage, "cache", "cache", "status", "no such name")
	c.refused(exitUsage, "one of status", "cache", "nosuch")
	if _, out, _ := c.do("", "__complete", "cache", "status", ""); !strings.HasPrefix(out, "users\n") {
		t.Errorf("completion:\n%s", out)
	}
}
