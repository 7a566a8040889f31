package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where a command prints what it found: tables, or one JSON value on a line. Nothing that comes from a message reaches a
// terminal as anything but text.
type screen struct {
	out      *bufio.Writer
	json     bool
	terminal bool
}

func newScreen(out io.Writer, asJSON bool) *screen {
	return &screen{out: bufio.NewWriter(out), json: asJSON, terminal: isTerminal(out)}
}

// isTerminal reports whether v, a reader or writer, is a terminal.
func isTerminal(v any) bool {
	file, ok := v.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (s *screen) flush() error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("the output cannot be written: %w", err)
	}
	return nil
}

// value prints v as one line of JSON.
func (s *screen) value(v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	text := line.Bytes()
	if s.terminal {
		text = []byte(jsonPrintable(line.String()))
	}
	if _, err := s.out.Write(text); err != nil {
		return fmt.Errorf("the output cannot be written: %w", err)
	}
	return nil
}

// line prints cells on one line, two spaces between them.
func (s *screen) line(cells ...string) error {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	if _, err := fmt.Fprintln(s.out, strings.TrimRight(strings.Join(cells, "  "), " ")); err != nil {
		return fmt.Errorf("the output cannot be written: %w", err)
	}
	return nil
}

// raw prints bytes that are the whole of the output: as they are, but as text and with a line break at a terminal.
func (s *screen) raw(b []byte) error {
	if s.terminal {
		var lines []string
		for line := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n"), "\n") {
			lines = append(lines, printable(line))
		}
		b = []byte(strings.Join(lines, "\n") + "\n")
	}
	if _, err := s.out.Write(b); err != nil {
		return fmt.Errorf("the output cannot be written: %w", err)
	}
	return nil
}

// table prints rows in columns under a head.
func (s *screen) table(head []string, rows [][]string) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			if i > 0 {
				_, _ = w.Write([]byte{'\t'}) // into memory
			}
			_, _ = w.Write([]byte(printable(cell)))
		}
		_, _ = w.Write([]byte{'\n'})
	}
	if err := w.Flush(); err != nil {
		return err
	}
	first := true
	for line := range strings.Lines(text.String()) {
		line = strings.TrimRight(line, " \n")
		if first && s.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		first = false
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return fmt.Errorf("the output cannot be written: %w", err)
		}
	}
	return nil
}

// facts prints names and what they are, one on a line; those without a value are left out.
func (s *screen) facts(rows [][2]string) error {
	wide := 0
	for _, row := range rows {
		wide = max(wide, len(row[0]))
	}
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(s.out, "%-*s  %s\n", wide, row[0], printable(row[1])); err != nil {
			return fmt.Errorf("the output cannot be written: %w", err)
		}
	}
	return nil
}

// printable is s on one line and without anything that a terminal obeys or that changes the order of what is read.
func printable(s string) string {
	return escaped(s, func(r rune, raw byte) string {
		switch {
		case r == utf8.RuneError:
			return fmt.Sprintf(`\x%02x`, raw)
		case r == '\n':
			return `\n`
		case r == '\r':
			return `\r`
		case r == '\t':
			return `\t`
		case r < utf8.RuneSelf:
			return fmt.Sprintf(`\x%02x`, r)
		default:
			return fmt.Sprintf(`\u%04x`, r)
		}
	})
}

// jsonPrintable is lines of JSON without anything that a terminal obeys. What is replaced can only stand inside of strings.
func jsonPrintable(s string) string {
	return escaped(s, func(r rune, _ byte) string {
		switch {
		case r == '\n':
			return "\n"
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			return fmt.Sprintf(`\u%04x\u%04x`, high, low)
		default:
			return fmt.Sprintf(`\u%04x`, r)
		}
	})
}

// escaped is s with each rune that cannot be printed replaced. Raw is the byte where s is no UTF-8; r is utf8.RuneError then.
func escaped(s string, replace func(r rune, raw byte) string) string {
	plain := func(r rune, n int) bool { return unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) }
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !plain(r, n) {
			break
		}
		i += n
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case plain(r, n):
			b.WriteString(s[i : i+n])
		case r == utf8.RuneError && n > 1: // U+FFFD itself, where it is not printable
			b.WriteString("?")
		default:
			b.WriteString(replace(r, s[i]))
		}
		i += n
	}
	return b.String()
}

// textOr is b as text for a field of JSON, or, where it is no UTF-8, in base64 for the field beside it.
func textOr(b []byte) (text, b64 *string) {
	if utf8.Valid(b) {
		return new(string(b)), nil
	}
	return nil, new(base64.StdEncoding.EncodeToString(b))
}

// since is how long ago t was, in whole seconds; "-" when t is zero.
func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(0, time.Since(t)).Round(time.Second).String()
}

// orDash is s, or a dash where a column would be empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// several is so many things in words.
func several(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
