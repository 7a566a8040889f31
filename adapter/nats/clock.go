package nats

import (
	"context"
	"sync"
	"time"
)

// clock is the server's, as far as this process can tell: every answer that carries the server's time bounds it by the moments
// of question and answer. What is to last is counted from the later bound, what is over is judged by the earlier one.
type clock struct {
	mu       sync.Mutex
	base     time.Time // of this process, with its monotonic reading
	early    time.Duration
	late     time.Duration
	measured time.Time
}

// stale is how old a measurement may be until a better one is looked for.
const stale = 10 * time.Second

// learn takes in that the server's clock showed server between the moments sent and got.
func (c *clock) learn(sent, got, server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	early, late := server.Sub(got.Round(0)), server.Sub(sent.Round(0))
	if c.measured.IsZero() || got.Sub(c.measured) > stale || late-early < c.late-c.early {
		c.base, c.measured = got, got
		c.early, c.late = early, late
	}
}

// pass takes in that the server's clock has passed at: a record that was just read bears that time. So what a process has written
// as over by its own bounds is over for whoever reads it.
func (c *clock) pass(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measured.IsZero() {
		return
	}
	now := c.base.Round(0).Add(time.Since(c.base))
	c.early = max(c.early, at.Sub(now))
	c.late = max(c.late, c.early)
}

func (c *clock) now() (early, late time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.base.Round(0).Add(time.Since(c.base))
	return now.Add(c.early), now.Add(c.late)
}

func (c *clock) old() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.measured) > stale
}

// sinceEarly is the time in the records' milliseconds that is surely over on the server.
func (b *Backend) sinceEarly() int64 {
	early, _ := b.clock.now()
	return early.UnixMilli()
}

// after is the moment d from now at the latest, in the records' milliseconds, or never.
func (b *Backend) after(d time.Duration) int64 {
	_, late := b.clock.now()
	if d > 200*365*24*time.Hour {
		return never
	}
	return millis(late.Add(d))
}

// until is how long it is until the records' time due, at least.
func (b *Backend) until(due int64) time.Duration {
	early, _ := b.clock.now()
	if due > early.UnixMilli()+int64(time.Hour/time.Millisecond) {
		return time.Hour
	}
	return max(0, time.UnixMilli(due).Sub(early))
}

// span is how long the server has to keep what ends then.
func (b *Backend) span(end int64) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	return min(time.Duration(max(0, min(end-b.sinceEarly(), int64(longest/time.Millisecond))))*time.Millisecond, longest) + 2*time.Second
}

// tellTime asks the server for its time.
func (b *Backend) tellTime(ctx context.Context) (*streamInfo, error) {
	var info streamInfo
	sent := time.Now()
	if err := b.api(ctx, "STREAM.INFO."+b.space.stream, nil, &info); err != nil {
		return nil, err
	}
	b.clock.learn(sent, time.Now(), info.Time)
	most := limit(info.Config.MaxBytes)
	b.bounded.Store(most > 0)
	b.full.Store(most > 0 && info.State.Bytes >= uint64(most))
	return &info, nil
}
