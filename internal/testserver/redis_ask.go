//go:build unix

package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ask is one command on a connection of its own, and the text that answers it. An answer of the server that is an error is an error.
func ask(ctx context.Context, addr string, command ...string) (string, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return "", err
	}
	text, err := exchange(conn, command)
	return text, errors.Join(err, conn.Close())
}

func exchange(conn io.ReadWriter, command []string) (string, error) {
	if _, err := io.WriteString(conn, resp(command...)); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "-"):
		return "", fmt.Errorf("%s is answered by %q", strings.Join(command, " "), line[1:])
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n)
		_, err = io.ReadFull(in, text)
		return string(text), err
	default:
		return line[1:], nil
	}
}

// lines is ask for a command that is answered by a list of texts.
func lines(ctx context.Context, addr string, command ...string) ([]string, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	list, err := exchangeLines(conn, command)
	return list, errors.Join(err, conn.Close())
}

func exchangeLines(conn io.ReadWriter, command []string) ([]string, error) {
	if _, err := io.WriteString(conn, resp(command...)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	n, err := count(in, '*')
	if err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		size, err := count(in, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, size+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, err
		}
		list[i] = string(text[:size])
	}
	return list, nil
}

// count reads a line that is a mark and a number.
func count(in *bufio.Reader, mark byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != mark {
		return 0, fmt.Errorf("answered by %q", line)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// must is ask that fails the test.
func must(t testing.TB, addr string, command ...string) string {
	t.Helper()
	text, err := ask(context.Background(), addr, command...) // bounded by the connection's deadline
	if err != nil {
		t.Fatalf("testserver: redis-server at %s: %v", addr, err)
	}
	return text
}

// await asks until ok is content with the answer.
func await(t testing.TB, what, addr string, ok func(answer string) bool, command ...string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(startTime)
	for {
		text, err := ask(context.Background(), addr, command...)
		if err == nil && ok(text) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("testserver: %s: not within %v; %s is answered by %q, %v", what, startTime, strings.Join(command, " "), text, err)
		}
	}
}

// has reports whether a list of name:value lines, as INFO prints them, has this one.
func has(line string) func(string) bool {
	return func(text string) bool { return strings.Contains("\r\n"+text+"\r\n", "\r\n"+line+"\r\n") }
}
