//go:build unix

package soak_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is what was seen at one time.
type sample struct {
	at    time.Duration // since the beginning
	value map[string]float64
}

// figure is something that must not grow.
type figure struct {
	name  string
	slack float64 // what it may be more than 5 % larger by: noise of what is small
}

// figures are judged; what else a sample has is only printed.
var figures = []figure{
	{heap, 1 << 20},
	{goroutines, 5},
	{memory, 1 << 20},
	{keys, 50},
	{clients, 2},
}

// growth is the medians of a figure's thirds.
type growth struct {
	figure
	first, second, last float64
}

func growthOf(samples []sample, f figure) growth {
	third := func(n int) float64 {
		part := samples[len(samples)*n/3 : len(samples)*(n+1)/3]
		values := make([]float64, len(part))
		for i, s := range part {
			values[i] = s.value[f.name]
		}
		return median(values)
	}
	return growth{f, third(0), third(1), third(2)}
}

// grew is the rule: the last third's median is more than a twentieth above the second third's, and by more than the slack.
func (g growth) grew() bool {
	more := g.last - g.second
	return more > g.second/20 && more > g.slack
}

func (g growth) String() string {
	return fmt.Sprintf("%-24s %14.0f %14.0f %14.0f", g.name, g.first, g.second, g.last)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// table is some of the samples, evenly, one a line.
func table(samples []sample) string {
	names := columns(samples)
	var out strings.Builder
	fmt.Fprintf(&out, "samples: %d\nminute", len(samples))
	for _, name := range names {
		out.WriteString(" | " + name)
	}
	step := max(1, len(samples)/rows)
	for i := step - 1; i < len(samples); i += step {
		fmt.Fprintf(&out, "\n%6.1f", samples[i].at.Minutes())
		for _, name := range names {
			fmt.Fprintf(&out, " | %.0f", samples[i].value[name])
		}
	}
	return out.String()
}

// columns are the names of all that was sampled: the judged figures, then the rest by name.
func columns(samples []sample) []string {
	var names, rest []string
	for _, f := range figures {
		names = append(names, f.name)
	}
	for _, s := range samples {
		for name := range s.value {
			if !slices.Contains(names, name) && !slices.Contains(rest, name) {
				rest = append(rest, name)
			}
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}

func TestGrowthIsSeenWhereThereIsSomeAndNotInASaw(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(i int) float64
		grew bool
	}{
		{"what stays", func(int) float64 { return 100e6 }, false},
		{"what fills and then stays", func(i int) float64 { return 100e6 * min(1, float64(i)/60) }, false},
		{"a saw: a window that is filled and thrown away", func(i int) float64 { return 50e6 + 10e6*float64(i%12) }, false},
		{"what shrinks", func(i int) float64 { return 100e6 - 1e5*float64(i) }, false},
		{"a leak of 10 bytes a message at 1,000 a second beside 100 MB", func(i int) float64 { return 100e6 + 10*1000*10*float64(i) }, true},
		{"a leak on a saw", func(i int) float64 { return 50e6 + 10e6*float64(i%12) + 10*1000*10*float64(i) }, true},
		{"a leak that is as small as noise", func(i int) float64 { return 1e6 + 1e3*float64(i) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			samples := make([]sample, 180)
			for i := range samples {
				samples[i].value = map[string]float64{memory: c.at(i)}
			}
			if g := growthOf(samples, figure{memory, 1 << 20}); g.grew() != c.grew {
				t.Errorf("grew is %t: %v", g.grew(), g)
			}
		})
	}
}
