package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// bodyLimit is how many bytes are read for one body or value.
func bodyLimit(b port.Backend) int {
	if most := b.Caps().MaxBody; most > 0 {
		return most
	}
	return 1 << 30
}

// maxBatch is how many bytes of lines go into one batch, unless it is a single line.
const maxBatch = 1 << 20

// publishLines publishes each line as it comes: what is there goes out in one batch, and nothing waits for more.
func (f *publishFlags) publishLines(ctx context.Context, b port.Backend, s *screen, topic string, in io.Reader) error {
	type read struct {
		lines [][]byte
		err   error
	}
	batches := make(chan read)
	done := make(chan struct{})
	defer close(done)
	go func() { // a read from a terminal or a pipe cannot be ended; it ends with the process
		r := lineReader{in: bufio.NewReaderSize(in, 64<<10), most: bodyLimit(b)}
		for {
			lines, err := r.batch()
			select {
			case batches <- read{lines, err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	n := 0 // lines that are published
	for {
		var got read
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted after %d lines were published: %w", n, context.Cause(ctx))
		case got = <-batches:
		}
		out := make([]bus.Out[[]byte], len(got.lines))
		for i, line := range got.lines {
			id := ""
			if f.id != "" {
				id = fmt.Sprintf("%s-%d", f.id, n+i+1)
			}
			var err error
			if out[i], err = f.message(ctx, topic, id, line); err != nil {
				return fmt.Errorf("line %d, after %d were published: %w", n+i+1, n, err)
			}
		}
		if len(out) > 0 {
			if err := f.send(ctx, b, s, topic, out); err != nil {
				return fmt.Errorf("lines %d to %d, after %d were published: %w", n+1, n+len(out), n, err)
			}
			n += len(out)
		}
		switch {
		case errors.Is(got.err, io.EOF):
			return nil
		case got.err != nil:
			return fmt.Errorf("line %d, after %d were published: %w", n+1, n, got.err)
		}
	}
}

// lineReader reads lines in batches.
type lineReader struct {
	in   *bufio.Reader
	most int // bytes of a line
}

// batch returns a line and those behind it that are there already. With the last ones, or none, it returns io.EOF.
func (r *lineReader) batch() (lines [][]byte, err error) {
	size := 0
	for {
		line, err := r.line()
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
		size += len(line)
		if len(lines) == port.MaxParts || size >= maxBatch {
			return lines, nil
		}
		ready, err := r.in.Peek(r.in.Buffered())
		if err != nil || bytes.IndexByte(ready, '\n') < 0 {
			return lines, err
		}
	}
}

// line is the next line without its line break. The last one need not have any.
func (r *lineReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > r.most+1 {
			return nil, fmt.Errorf("it has more than the %d bytes that the backend takes: %w", r.most, port.ErrInvalid)
		}
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

// readAll reads at most so many bytes, until the end or that of ctx.
func readAll(ctx context.Context, in io.Reader, most int) ([]byte, error) {
	type read struct {
		body []byte
		err  error
	}
	got := make(chan read, 1)
	go func() { // as in publishLines
		body, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
		got <- read{body, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("interrupted, nothing was published: %w", context.Cause(ctx))
	case r := <-got:
		if r.err == nil && len(r.body) > most {
			return nil, fmt.Errorf("it has more than the %d bytes that the backend takes: %w", most, port.ErrInvalid)
		}
		return r.body, r.err
	}
}
