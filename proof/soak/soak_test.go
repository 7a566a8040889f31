//go:build unix

package soak_test

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
)

var (
	length = flag.Duration("for", 3*time.Second, "how long to run; from 15m on it is judged whether memory grows")
	rate   = flag.Int("rate", 300, "messages a second, at least 100; a tenth as many calls of once and of keys, a hundredth of locks and of signals")
)

const (
	settled = 5 * time.Minute        // by then all that is kept for a time has come and gone, twice
	every   = 180                    // samples in all, at most
	often   = 200 * time.Millisecond // and no more often than this
	rows    = 12                     // of them are printed
)

func TestMemoryIsSteadyUnderASteadyLoad(t *testing.T) {
	if *rate < 100 || *length < time.Second {
		t.Fatalf("-rate %d -for %v: the rate is at least 100 a second and the time at least 1s", *rate, *length)
	}
	server := testserver.Redis(t, testserver.RedisConfig{})
	b, err := redis.Open(t.Context(), redis.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	l := newLoad(b, *rate)
	p := newProbe(t, server.Addr())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var samples []sample
	err = muster.Run(ctx, append(l.work(), func(context.Context) error {
		defer stop()
		samples = p.watch(ctx, *length)
		l.finish(ctx)
		return ctx.Err()
	})...)
	if err != nil {
		t.Fatalf("%v; %v", err, l)
	}
	t.Logf("%d messages a second were asked for, %.0f published; %v", *rate, float64(l.published.Load())/length.Seconds(), l)
	l.check(t)
	t.Log(table(samples))
	judge(t, samples)
}

// judge fails the test when something grew. A run that is too short is not judged: it has no second third without the filling up.
func judge(t *testing.T, samples []sample) {
	t.Helper()
	var out strings.Builder
	for _, f := range figures {
		g := growthOf(samples, f)
		out.WriteString("\n" + g.String())
		if *length >= 3*settled && g.grew() {
			t.Errorf("%s grew: %v", f.name, g)
		}
	}
	t.Logf("medians of the thirds:%s", out.String())
}
