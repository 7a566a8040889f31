package hold

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClockFollowsTheTimeOfABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		start := c.Now()
		<-time.After(24 * time.Hour)
		if d := c.Since(start); d != 24*time.Hour {
			t.Fatalf("%v have passed, want 24h", d)
		}
		if !start.Time().Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Fatalf("started at %v", start.Time())
		}
	})
}

func TestTheFastestClockCounts(t *testing.T) {
	for _, c := range []struct {
		what string
		jump func(*Jump)
		want time.Duration
	}{
		{"nothing happens", func(*Jump) {}, time.Second},
		{"the process is stopped", func(j *Jump) { j.Stopped(time.Minute) }, time.Minute + time.Second},
		{"the machine is suspended", func(j *Jump) { j.Suspended(time.Minute) }, time.Minute + time.Second},
		{"the wall clock is set forward", func(j *Jump) { j.WallSet(time.Minute) }, time.Minute + time.Second},
		{"the wall clock is set back", func(j *Jump) { j.WallSet(-time.Minute) }, time.Second},
		{"the wall clock is set back after a suspension", func(j *Jump) { j.Suspended(time.Minute); j.WallSet(-time.Hour) }, time.Minute + time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := Clock{Jump: new(Jump)}
				start := clock.Now()
				c.jump(clock.Jump)
				<-time.After(time.Second)
				if got := clock.Since(start); got < c.want || got > c.want+time.Second/2 {
					t.Fatalf("%v have passed, want %v", got, c.want)
				}
			})
		})
	}
}

func TestTheZeroInstantIsLongAgo(t *testing.T) {
	var c Clock
	if d := c.Since(Instant{}); d < 100*365*24*time.Hour {
		t.Fatalf("%v have passed since the zero instant", d)
	}
}

func TestASuspensionIsCountedOnlyIfItIsProven(t *testing.T) {
	for _, c := range []struct {
		earlier, now span
		want         time.Duration
	}{
		{span{}, span{}, 0},
		{span{5, 9}, span{}, 0},
		{span{5, 9}, span{9, 12}, 0},
		{span{5, 9}, span{10, 12}, 7},
	} {
		if got := c.now.since(c.earlier); got != c.want {
			t.Errorf("from %v to %v: %d, want %d", c.earlier, c.now, got, c.want)
		}
	}
}
