package main

import (
	"strings"
	"testing"
)

// BenchmarkMessage runs each contender alone, for a look at one of them with -cpuprofile. Figures that are compared come from the
// program, whose contenders take turns.
func BenchmarkMessage(b *testing.B) {
	for _, c := range contenders() {
		b.Run(c.Name, func(b *testing.B) {
			contest, err := c.Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := contest.Move(b.N); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			if err := contest.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func TestTheTableSetsEachContenderBesideTheTwo(t *testing.T) {
	var out strings.Builder
	if err := compare(t.Context(), &out, 1, gochannel+","+channel+",bytes-batches"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 || !strings.HasSuffix(lines[3], gochannel) || !strings.Contains(lines[3], "1.00") {
		t.Fatal(out.String())
	}
}

func TestTheTableLeavesOutTheRatioToAContenderThatDidNotRun(t *testing.T) {
	var out strings.Builder
	if err := compare(t.Context(), &out, 1, channel); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "  -  ") {
		t.Fatal(out.String())
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		rounds int
		only   string
	}{"no rounds": {0, ""}, "a contender that there is not": {1, "kafka"}, "one twice": {1, channel + "," + channel}} {
		if err := compare(t.Context(), new(strings.Builder), c.rounds, c.only); err == nil {
			t.Errorf("%s was not refused", name)
		}
	}
}

func TestAPayloadHas256BytesAsJSON(t *testing.T) {
	if _, wire := payload(); len(wire) != payloadSize {
		t.Fatalf("%d bytes", len(wire))
	}
}
