//go:build unix

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/bus"
)

// bury makes dead letters of messages with these ids, of tenants acme and umbrella in turns.
func (c *cli) bury(topic, group string, ids ...string) {
	c.t.Helper()
	for i, id := range ids {
		c.ok("publish", topic, fmt.Sprintf(`{"n":%d}`, i), "--id", id, "--key", "k"+id, "--tenant", []string{"acme", "umbrella"}[i%2])
	}
	n := 0
	c.handle(topic, group, len(ids), func(bus.Message[[]byte]) error {
		n++
		return fmt.Errorf("reason %d\nsecond \x1b[31mline", n)
	})
}

func TestDeadLettersAreListedShownRedrivenAndRemoved(t *testing.T) {
	c := newCLI(t)
	c.bury("orders", "billing", "a", "b", "c", "d")
	all := values[deadLine](t, c.ok("dead", "list", "orders", "billing", "--json"))
	if len(all) != 4 {
		t.Fatalf("%d letters", len(all))
	}
	d := all[1]
	if d.ID != "b" || d.Key != "kb" || d.TenantID != "umbrella" || d.Topic != "orders" || d.Group != "billing" || d.Attempts != 1 || !strings.HasPrefix(d.Reason, "reason 2\n") || !strings.Contains(string(d.Body), `"payload":{"n":1}`) {
		t.Errorf("got %+v", d)
	}
	ids := func(flags ...string) string {
		var s []string
		for _, d := range values[deadLine](t, c.ok(append([]string{"dead", "list", "orders", "billing", "--json"}, flags...)...)) {
			s = append(s, d.ID)
		}
		return strings.Join(s, " ")
	}
	for want, flags := range map[string][]string{
		"b d": {"--tenant", "umbrella"},
		"c":   {"--reason", "reason 3"},
		"a b": {"--limit", "2"},
		"a d": {"d", "a"},
		"":    {"nobody"},
	} {
		if got := ids(flags...); got != want {
			t.Errorf("%s: %q, want %q", flags, got, want)
		}
	}
	list := c.ok("dead", "list", "orders", "billing")
	if !strings.Contains(list, "reason 1 ...") || strings.Contains(list, "\x1b") || strings.Count(list, "\n") != 5 {
		t.Errorf("for people it is\n%s", list)
	}
	shown := c.ok("dead", "show", "orders", "billing", "b")
	if !strings.Contains(shown, `{"n":1}`) || !strings.Contains(shown, `second \x1b[31mline`) {
		t.Errorf("shown it is\n%s", shown)
	}
	if got := values[deadLine](t, c.ok("dead", "show", "orders", "billing", "b", "--json")); len(got) != 1 || got[0].Offset != d.Offset {
		t.Errorf("as JSON %+v", got)
	}

	same(t, c.ok("dead", "redrive", "orders", "billing", "a", "b", "--rate", "1000"), "2 redriven")
	c.handle("orders", "billing", 2, func(m bus.Message[[]byte]) error {
		if m.ID != "a" && m.ID != "b" {
			return errors.New("nobody redrove it")
		}
		return nil
	})
	if got := ids(); got != "c d" {
		t.Errorf("left are %q", got)
	}
	status, out, errs := c.do("", "dead", "remove", "orders", "billing", "c", "x", "--yes", "--json")
	if status != exitNotFound || out != "{\"removed\":1}\n" || !strings.Contains(errs, `dead letter "x"`) {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	same(t, c.ok("dead", "redrive", "orders", "billing", "--json"), `{"redriven":1}`)
	same(t, c.ok("dead", "list", "orders", "billing"), "ID AGE ATTEMPTS CRASHES TENANT REASON")
	for says, args := range map[string][]string{
		"a topic, a group":     {"dead", "list", "orders"},
		"a group's name":       {"dead", "list", "orders", "a.b"},
		"must not be negative": {"dead", "list", "orders", "billing", "--limit", "-1"},
		"--rate":               {"dead", "redrive", "orders", "billing", "--rate", "NaN"},
		"one of list":          {"dead", "nosuch"},
	} {
		c.refused(exitUsage, says, args...)
	}
}

func TestGroupsTellHowFarTheyAre(t *testing.T) {
	c := newCLI(t)
	c.bury("orders", "billing", "a")
	c.okWith("1\n2\n3\n", "publish", "orders", "--lines")
	got := values[groupLine](t, c.ok("groups", "orders", "--json"))
	if len(got) != 1 || got[0].Group != "billing" || got[0].Lag != 3 || got[0].Loaned != 0 || got[0].Dead != 1 || got[0].Oldest == nil || len(got[0].Consumers) != 0 {
		t.Errorf("got %+v", got)
	}
	out := c.ok("groups", "orders")
	if f := strings.Fields(out); len(f) != 14 || f[7] != "billing" || f[8] != "3" || f[13] != "1" {
		t.Errorf("for people it is\n%s", out)
	}
	topics := values[topicLine](t, c.ok("topics", "orders*", "--json"))
	if len(topics) != 2 || topics[0].Topic != "orders" || topics[0].Count != 4 || topics[0].Lag != 3 || topics[1].Topic != "orders.billing.dead" {
		t.Errorf("topics %+v", topics)
	}
	if s := values[statsLine](t, c.ok("stats", "--json")); len(s) != 1 || s[0].Topics != 1 || s[0].Messages != 4 || s[0].Groups != 1 || s[0].Lag != 3 || s[0].Dead != 1 || s[0].Oldest == nil {
		t.Errorf("stats %+v", s)
	}
	var loaned []groupLine
	c.handle("orders", "billing", 1, func(bus.Message[[]byte]) error {
		if loaned == nil {
			loaned = values[groupLine](t, c.ok("groups", "orders", "--json"))
			c.refused(exitConflict, "on loan", "drop", "orders", "billing", "--yes")
		}
		return nil
	})
	if len(loaned) != 1 || loaned[0].Loaned < 1 || loaned[0].Loaned+loaned[0].Lag != 3 || len(loaned[0].Consumers) != 1 {
		t.Errorf("while it works: %+v", loaned)
	}
}
