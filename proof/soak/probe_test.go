//go:build unix

package soak_test

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// What is sampled, by name.
const (
	heap       = "heap after GC, bytes"
	goroutines = "goroutines"
	memory     = "redis used_memory, bytes"
	keys       = "redis keys"
	clients    = "redis connections"
)

// probe takes samples of this process and of the server, over a connection of its own.
type probe struct {
	t *testing.T
	c rueidis.Client
}

func newProbe(t *testing.T, addr string) *probe {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, ClientName: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &probe{t, c}
}

// watch takes samples for so long.
func (p *probe) watch(ctx context.Context, d time.Duration) []sample {
	begun := time.Now()
	tick := time.NewTicker(max(d/every, often))
	defer tick.Stop()
	end := time.After(d)
	var samples []sample
	for {
		select {
		case <-tick.C:
			s := p.sample(ctx)
			s.at = time.Since(begun)
			samples = append(samples, s)
		case <-end:
			return samples
		case <-ctx.Done():
			return samples
		}
	}
}

func (p *probe) sample(ctx context.Context) sample {
	v := map[string]float64{goroutines: float64(runtime.NumGoroutine())}
	// The second collection frees what the first one found unused in pools and behind finalizers.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	v[heap] = float64(m.HeapAlloc)
	info, err := p.c.Do(ctx, p.c.B().Info().Build()).ToString()
	p.ok(ctx, err)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "used_memory":
			v[memory] = n
		case "connected_clients":
			v[clients] = n
		}
	}
	p.kinds(ctx, v)
	return sample{value: v}
}

// kinds counts the keys of each kind, and of messages and IDs what one takes.
func (p *probe) kinds(ctx context.Context, v map[string]float64) {
	bytes, parts := map[string]float64{}, map[string]float64{}
	for cursor := uint64(0); ; {
		e, err := p.c.Do(ctx, p.c.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
		p.ok(ctx, err)
		for _, key := range e.Elements {
			v[keys]++
			_, rest, _ := strings.Cut(key, ":")
			kind, _, _ := strings.Cut(rest, ":")
			v["keys "+kind]++
			count, counted := p.parts(ctx, kind, key)
			if !counted {
				continue
			}
			size, err := p.c.Do(ctx, p.c.B().MemoryUsage().Key(key).Samples(50).Build()).AsInt64()
			if rueidis.IsRedisNil(err) {
				continue // it went meanwhile
			}
			p.ok(ctx, err)
			bytes[kind] += float64(size)
			parts[kind] += float64(count)
		}
		if cursor = e.Cursor; cursor == 0 {
			break
		}
	}
	for kind, n := range parts {
		v["in "+kind] = n
		if n >= 1000 { // of fewer, the bytes are those of the key itself
			v["bytes each in "+kind] = bytes[kind] / n
		}
	}
}

// parts is how many messages or IDs a key holds.
func (p *probe) parts(ctx context.Context, kind, key string) (n int64, counted bool) {
	var err error
	switch kind {
	case "log": // an entry may hold many messages: the topic's hash tells how many were written, and how many of them are gone
		hash := strings.Replace(key, ":log:", ":topic:", 1)
		var text []string
		text, err = p.c.Do(ctx, p.c.B().Hmget().Key(hash).Field("n", "base").Build()).AsStrSlice()
		if err == nil && len(text) == 2 && text[0] != "" {
			var gone int64
			n, err = strconv.ParseInt(text[0], 10, 64)
			if err == nil && text[1] != "" {
				gone, err = strconv.ParseInt(text[1], 10, 64)
			}
			n -= gone
		}
	case "known", "done", "steps":
		n, err = p.c.Do(ctx, p.c.B().Scard().Key(key).Build()).AsInt64()
	case "later", "loans", "wait", "ends":
		n, err = p.c.Do(ctx, p.c.B().Zcard().Key(key).Build()).AsInt64()
	case "state", "own", "tokens", "leases", "fences":
		n, err = p.c.Do(ctx, p.c.B().Hlen().Key(key).Build()).AsInt64()
	default:
		return 0, false
	}
	p.ok(ctx, err)
	return n, true
}

// ok reports an error that is not the end of the test.
func (p *probe) ok(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		p.t.Errorf("probe: %v", err)
	}
}
