package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/musterhq/muster/bus"
)

// terminal is both ends of a pseudo-terminal: what a person has, and what the command has.
func terminal(t *testing.T) (person, command *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := person.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Close(); err != nil {
			t.Error(err)
		}
	})
	return person, command
}

// shown is what a command writes to a terminal.
func (c *cli) shown(args ...string) string {
	c.t.Helper()
	person, command := terminal(c.t)
	var errs strings.Builder
	if status := run(c.t.Context(), args, strings.NewReader(""), command, &errs); status != exitOK {
		c.t.Fatalf("%s: status %d: %s", args, status, errs.String())
	}
	if _, err := command.WriteString("\x00"); err != nil { // ends what is read: the commands never write a zero byte here
		c.t.Fatal(err)
	}
	var out []byte
	for !strings.HasSuffix(string(out), "\x00") {
		var b [4096]byte
		n, err := person.Read(b[:])
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, b[:n]...)
	}
	return strings.TrimSuffix(string(out), "\x00")
}

func TestNothingThatATerminalObeysComesOutOfAMessage(t *testing.T) {
	c := newCLI(t)
	const evil = "\x1b]0;owned\a\u009b31m\u202ereversed\r\x7f"
	c.okWith(evil, "publish", "orders", "--key", evil)
	c.ok("publish", "orders", `"`+"\u009b31m\u202e"+`"`)
	c.handle("orders", "billing", 2, func(bus.Message[[]byte]) error { return fmt.Errorf("%s", evil) })
	c.okWith(evil+"\nsecond line", "kv", "put", evil)
	for _, args := range [][]string{
		{"tail", "orders"},
		{"tail", "orders", "--json"},
		{"dead", "list", "orders", "billing"},
		{"dead", "list", "orders", "billing", "--json"},
		{"kv", "keys"},
		{"kv", "get", evil},
		{"kv", "get", evil, "--json"},
		{"topics"},
	} {
		out := c.shown(args...)
		if args[0] == "topics" { // the head is bold
			out = strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(out)
		}
		if args[1%len(args)] == "list" {
			out = strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(out)
		}
		if i := strings.IndexFunc(strings.ReplaceAll(out, "\r\n", "\n"), func(r rune) bool {
			return r != '\n' && (r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x202e)
		}); i >= 0 {
			t.Errorf("%s writes %q", args, out)
		}
	}
	for _, m := range values[message](t, c.shown("tail", "orders", "--json")) {
		if m.PayloadBase64 == nil && string(m.Payload) != `"\u009b31m\u202e"` {
			t.Errorf("as JSON it is %s", m.Payload)
		}
	}
	if out := c.shown("kv", "get", evil); !strings.Contains(out, "\r\nsecond line\r\n") {
		t.Errorf("the value is %q", out)
	}
	t.Setenv("NO_COLOR", "1")
	if out := c.shown("topics"); strings.Contains(out, "\x1b") {
		t.Errorf("with NO_COLOR: %q", out)
	}
}

func TestWhatDestroysAsksFirst(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	answered := func(answer string) (int, string) {
		person, command := terminal(t)
		if _, err := person.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		status := run(t.Context(), []string{"drop", "orders"}, command, &out, &errs)
		return status, errs.String()
	}
	for _, answer := range []string{"n\n", "\n", "yess\n", "\x04"} {
		if status, errs := answered(answer); status != exitError || !strings.Contains(errs, `Topic "orders" with 1 message and 0 groups would be gone for good. [y/N]`) || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("%q: status %d: %s", answer, status, errs)
		}
	}
	c.ok("groups", "orders")
	if status, errs := answered("y\n"); status != exitOK {
		t.Errorf("status %d: %s", status, errs)
	}
	c.refused(exitNotFound, "not found", "groups", "orders")
}

func TestAtATerminalABodyMustBeGiven(t *testing.T) {
	newCLI(t)
	for _, args := range [][]string{{"publish", "orders"}, {"kv", "put", "k"}} {
		_, command := terminal(t)
		var out, errs strings.Builder
		if status := run(t.Context(), args, command, &out, &errs); status != exitUsage || !strings.Contains(errs.String(), "no terminal") {
			t.Errorf("%s: status %d: %s", args, status, errs.String())
		}
	}
}
