//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestKeysHoldWhatTheyWereGiven(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("kv", "put", "plain", "value")
	c.okWith("\x00\xff\x1b", "kv", "put", "binary")
	c.ok("kv", "put", "file", "--file", file)
	c.ok("kv", "put", "empty", "")
	c.ok("kv", "put", "short", "x", "--ttl", "1h")
	for key, want := range map[string]string{"plain": "value", "binary": "\x00\xff\x1b", "file": "from a file\n", "empty": "", "short": "x"} {
		if got := c.ok("kv", "get", key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	same(t, c.ok("kv", "get", "plain", "--json"), `{"key":"plain","value":"value"}`)
	same(t, c.ok("kv", "get", "binary", "--json"), `{"key":"binary","valueBase64":"AP8b"}`)
	if l := values[keyLine](t, c.ok("kv", "get", "short", "--json")); l[0].TTLSeconds < 3500 || l[0].TTLSeconds > 3600 {
		t.Errorf("got %+v", l[0])
	}
	keys := strings.Fields(c.ok("kv", "keys", "[be]*"))
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"binary", "empty"}) {
		t.Errorf("keys %q", keys)
	}
	if n := strings.Count(c.ok("kv", "keys", "--json"), `{"key":`); n != 5 {
		t.Errorf("%d keys", n)
	}
	status, out, errs := c.do("", "kv", "del", "plain", "nothing", "--yes", "--json")
	if status != exitNotFound || out != "{\"deleted\":1}\n" || !strings.Contains(errs, `key "nothing"`) {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

func TestAConditionGuardsAPut(t *testing.T) {
	c := newCLI(t)
	c.ok("kv", "put", "k", "1", "--if-absent")
	c.ok("kv", "put", "k", "2", "--if-equals", "1")
	c.refused(exitConflict, "conflict", "kv", "put", "k", "3", "--if-equals", "1")
	c.refused(exitConflict, "conflict", "kv", "put", "k", "3", "--if-absent")
	same(t, c.ok("kv", "put", "k", "", "--if-equals", "2", "--json"), `{"key":"k"}`)
	same(t, c.ok("kv", "put", "k", "4", "--if-equals", "", "--json"), `{"key":"k"}`)
	for says, args := range map[string][]string{
		"only one can hold":   {"kv", "put", "k", "1", "--if-absent", "--if-equals", "2"},
		"negative":            {"kv", "put", "k", "1", "--ttl", "-1s"},
		"a value and --file":  {"kv", "put", "k", "1", "--file", "x"},
		"it is empty":         {"kv", "get", ""},
		"one key or several":  {"kv", "del", "--yes"},
		"one of get":          {"kv", "nosuch"},
		"the pattern has no ": {"kv", "put"},
	} {
		if says == "the pattern has no " {
			says = "a key and at most one value"
		}
		c.refused(exitUsage, says, args...)
	}
}
