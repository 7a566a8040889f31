package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/delivery"
)

// progress prints the news of a run: a line for each piece of news, and on a terminal the phase under way with its time below them.
type progress struct {
	out  io.Writer
	json bool
	live bool

	mu      sync.Mutex
	phase   string // under way; "" for none
	attempt int
	since   time.Time
	said    string // the last detail
	err     error  // the first failure to write
}

func newProgress(f runFlags, out io.Writer) *progress {
	// A dumb terminal does not know how to clear a line.
	return &progress{out: out, json: f.json, live: !f.json && isTerminal(out) && os.Getenv("TERM") != "dumb"}
}

// follow prints the news until they end.
func (p *progress) follow(news iter.Seq2[delivery.Record, error]) error {
	var ticking sync.WaitGroup
	stop := make(chan struct{})
	if p.live {
		ticking.Go(func() { p.tick(stop) })
	}
	defer ticking.Wait()
	defer close(stop)
	for rec, err := range news {
		if err != nil {
			return err
		}
		if err := p.record(rec); err != nil {
			return err
		}
	}
	return nil
}

// record prints one piece of news.
func (p *progress) record(rec delivery.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch rec.State {
	case delivery.Begun:
		p.phase, p.attempt, p.since = rec.Phase, rec.Attempt, rec.At
	case delivery.Queued:
	default:
		p.phase = ""
	}
	switch {
	case p.json:
		p.encode("record", rec)
	case rec.State == delivery.Queued, p.live && rec.State == delivery.Begun:
		p.draw()
	default:
		text := rec.Detail
		if text == p.said {
			text = "" // an attempt that failed is often the reason of the next line
		}
		p.said = rec.Detail
		p.clear()
		p.print("%s\n", strings.TrimRight(fmt.Sprintf("%-9s %-7s%s%s", rec.Phase, rec.State, took(rec), detail(text)), " "))
		p.draw()
	}
	return p.err
}

func took(rec delivery.Record) string {
	s := ""
	if rec.Elapsed > 0 {
		s = fmt.Sprintf(" %6.1fs", rec.Elapsed.Seconds())
	}
	if rec.Attempt > 1 {
		s += fmt.Sprintf(" (attempt %d)", rec.Attempt)
	}
	return s
}

// detail is text on lines of its own that are indented, or behind the rest when it is short.
func detail(text string) string {
	if text == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n                          ")
}

// tick keeps the time of the phase under way.
func (p *progress) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			p.mu.Lock()
			p.clear()
			p.mu.Unlock()
			return
		case <-ticker.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// draw writes the phase under way over the last line of a terminal. The caller holds the mutex.
func (p *progress) draw() {
	if !p.live || p.phase == "" {
		return
	}
	p.print("\r\x1b[K%-9s ...     %6.1fs", p.phase, time.Since(p.since).Seconds())
	if p.attempt > 1 {
		p.print(" (attempt %d)", p.attempt)
	}
}

// clear takes the line of draw away. The caller holds the mutex.
func (p *progress) clear() {
	if p.live {
		p.print("\r\x1b[K")
	}
}

func (p *progress) print(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format, args...); err != nil && p.err == nil {
		p.err = fmt.Errorf("the output cannot be written: %w", err)
	}
}

// encode writes {kind: v} as one line.
func (p *progress) encode(kind string, v any) {
	if err := json.NewEncoder(p.out).Encode(map[string]any{kind: v}); err != nil && p.err == nil {
		p.err = fmt.Errorf("the output cannot be written: %w", err)
	}
}

// summary prints what the run came to.
func (p *progress) summary(s delivery.Summary) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		p.encode("summary", s)
		return p.err
	}
	models := strings.Join(s.Models, ", ")
	if s.Scripted {
		models += " (a script, not a model)"
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	rows := [][2]string{
		{"deployed", s.Program + ", healthy"},
		{"program", s.Binary},
		{"release", s.Release},
		{"previous", s.Previous},
		{"digest", s.Digest},
		{"statement", s.Statement},
		{"signed by", s.Signer},
		{"answered by", models},
		{"tokens", fmt.Sprintf("%d in, %d out", s.Usage.Input, s.Usage.Output)},
	}
	for _, why := range s.Retried {
		rows = append(rows, [2]string{"retried", strings.Join(strings.Fields(why), " ")})
	}
	p.print("\n")
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\n", row[0], row[1]); err != nil && p.err == nil {
			p.err = fmt.Errorf("the output cannot be written: %w", err)
		}
	}
	if err := w.Flush(); err != nil && p.err == nil {
		p.err = fmt.Errorf("the output cannot be written: %w", err)
	}
	return p.err
}
