//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
)

// following is a tail that goes on, in this process.
type following struct {
	lines *bufio.Scanner
	end   context.CancelFunc
	done  chan int
	errs  *lockedBuffer
}

// lockedBuffer may be read while a command writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (c *cli) follow(args ...string) *following {
	ctx, end := context.WithCancel(c.t.Context())
	in, out := io.Pipe()
	f := &following{lines: bufio.NewScanner(in), end: end, done: make(chan int, 1), errs: &lockedBuffer{}}
	go func() {
		f.done <- run(ctx, append([]string{"tail", "--follow"}, args...), strings.NewReader(""), out, f.errs)
		if err := out.Close(); err != nil {
			c.t.Error(err)
		}
	}()
	return f
}

// wants waits for the next line.
func (f *following) wants(t *testing.T, body string) {
	t.Helper()
	if !f.lines.Scan() {
		t.Fatalf("it ended: %s", f.errs)
	}
	if !strings.HasSuffix(f.lines.Text(), "  "+body) {
		t.Fatalf("got %q, want %q", f.lines.Text(), body)
	}
}

// ends interrupts it.
func (f *following) ends(t *testing.T) {
	t.Helper()
	f.end()
	if status := <-f.done; status != exitOK {
		t.Errorf("status %d: %s", status, f.errs)
	}
}

func TestTailPrintsFromWhereItIsTold(t *testing.T) {
	c := newCLI(t)
	c.okWith("a\nb\nc\nd\n", "publish", "letters", "--lines")
	all := c.tail("letters")
	bodies := func(flags ...string) string {
		var s strings.Builder
		for _, m := range c.tail("letters", flags...) {
			s.WriteString(m.text())
		}
		return s.String()
	}
	for want, flags := range map[string][]string{
		"abcd": {},
		"ab":   {"--count", "2"},
		"cd":   {"--from", all[1].Offset},
		"c":    {"--from", all[1].Offset, "--count", "1"},
		"":     {"--from", "latest"},
	} {
		if got := bodies(flags...); got != want {
			t.Errorf("%s: %q, want %q", flags, got, want)
		}
	}
	c.refused(exitUsage, "negative", "tail", "letters", "--count", "-1")
}

func TestTailReadsMoreThanAPage(t *testing.T) {
	c := newCLI(t)
	c.okWith(strings.Repeat("x\n", 2*pageSize+1), "publish", "many", "--lines")
	if got := c.tail("many"); len(got) != 2*pageSize+1 {
		t.Errorf("%d messages", len(got))
	}
	if got := c.tail("many", "--count", "150"); len(got) != 150 {
		t.Errorf("%d messages", len(got))
	}
}

func TestTailFollowsUntilAnInterrupt(t *testing.T) {
	c := newCLI(t)
	f := c.follow("letters")
	until(t, "the note that there is no such topic", func() bool { return strings.Contains(f.errs.String(), `no topic "letters" yet`) })
	c.ok("publish", "letters", "a")
	f.wants(t, "a")
	c.ok("publish", "letters", "b")
	f.wants(t, "b")
	f.ends(t)
}

func TestTailFollowsFromTheEndUntilItsCount(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "letters", "old")
	f := c.follow("letters", "--from", "latest", "--count", "1")
	go func() { // it cannot be told from outside when it has begun
		for {
			select {
			case status := <-f.done:
				f.done <- status
				return
			default:
				run(t.Context(), []string{"publish", "letters", "new"}, strings.NewReader(""), io.Discard, io.Discard)
			}
		}
	}()
	f.wants(t, "new")
	if f.lines.Scan() {
		t.Errorf("it goes on with %q", f.lines.Text())
	}
	if status := <-f.done; status != exitOK {
		t.Errorf("status %d: %s", status, f.errs)
	}
	f.done <- exitOK // for the publisher
}

func TestTailWaitsAnOutageOut(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "letters", "a")
	f := c.follow("letters")
	f.wants(t, "a")
	c.server.Kill()
	c.server.Restart()
	c.ok("publish", "letters", "b")
	f.wants(t, "b")
	f.ends(t)
}
