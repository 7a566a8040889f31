package hold

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestTheTermsOfALeaseFollowFromItsLength(t *testing.T) {
	terms, err := Config{Lease: 15 * time.Second}.Terms()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want time.Duration
	}{
		{"period", terms.Period, 5 * time.Second},
		{"drain", terms.Drain, 3 * time.Second},
		{"attempt", terms.Attempt, 5 * time.Second},
		{"valid", terms.Valid, 14849 * time.Millisecond},
		{"step-down", terms.StepDown, 11849 * time.Millisecond},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	if terms.Jitter != 0.15 || terms.Rate != 0.01 || terms.Lost != ErrLost {
		t.Errorf("terms are %+v", terms)
	}
}

func TestNegativeMeansNone(t *testing.T) {
	terms, err := Config{Lease: 15 * time.Second, Jitter: -1, Rate: -1, Granularity: -1}.Terms()
	if err != nil {
		t.Fatal(err)
	}
	if terms.Valid != 15*time.Second || terms.jittered(time.Second, 0) != time.Second {
		t.Fatalf("terms are %+v", terms)
	}
}

// Rule 2: D + R (1 + jitter) + attempt timeout >= L (1 - rho) - g is ErrInvalid.
func TestAConfigThatLeavesNoTimeToStopIsInvalid(t *testing.T) {
	const l = 10 * time.Second
	for want, c := range map[string]Config{
		"lease 0s is not positive":               {},
		"lease -1s is not positive":              {Lease: -time.Second},
		"period -1s of lease 10s":                {Lease: l, Period: -time.Second},
		"drain -1s is less than a fiftieth":      {Lease: l, Drain: -time.Second},
		"drain 199ms is less than a fiftieth":    {Lease: l, Drain: 199 * time.Millisecond},
		"attempt -1s of lease 10s":               {Lease: l, Attempt: -1 * time.Second},
		"jitter 1 is not below 1":                {Lease: l, Jitter: 1},
		"jitter NaN is not below 1":              {Lease: l, Jitter: math.NaN()},
		"clock rate error 1 is not below 1":      {Lease: l, Rate: 1},
		"too short for drain 7s":                 {Lease: l, Drain: 7 * time.Second},
		"period 8s (jitter 0.15) and attempt 0s": {Lease: l, Period: 8 * time.Second},
		"jitter 0.15) and attempt 5s":            {Lease: l, Attempt: 5 * time.Second},
		"lease 10s is good for 999ms":            {Lease: l, Rate: 0.9, Granularity: time.Millisecond},
		"lease 2ms is good for 980µs, too sho":   {Lease: 2 * time.Millisecond},
		"period 0s of lease 1ns":                 {Lease: 1},
	} {
		_, err := c.Terms()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	exact := Config{Lease: l, Jitter: -1, Rate: -1, Granularity: -1, Period: 3 * time.Second, Drain: 2 * time.Second}
	exact.Attempt = 5 * time.Second
	if _, err := exact.Terms(); !errors.Is(err, ErrInvalid) {
		t.Errorf("nothing to spare: %v, want ErrInvalid", err)
	}
	exact.Attempt--
	if _, err := exact.Terms(); err != nil {
		t.Errorf("a nanosecond to spare: %v", err)
	}
}

func TestAttemptsAndRetriesFitIntoWhatIsLeft(t *testing.T) {
	terms, err := Config{Lease: 24 * time.Second, Jitter: -1}.Terms() // a period of 8 s
	if err != nil {
		t.Fatal(err)
	}
	if got := terms.attemptTime(time.Minute); got != 8*time.Second {
		t.Errorf("an attempt takes %v, want the period", got)
	}
	if got := terms.attemptTime(4 * time.Second); got != 2*time.Second {
		t.Errorf("an attempt takes %v, want half of what is left", got)
	}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 1000: 8 * time.Second} {
		if got := terms.retryAfter(failures, time.Minute, 0); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	if got := terms.retryAfter(5, 4*time.Second, 0); got != 2*time.Second {
		t.Errorf("the wait is %v, want half of what is left", got)
	}
	if got := terms.retryAfter(1, 900*time.Millisecond, 0); got != never {
		t.Errorf("the wait is %v, want never", got)
	}
}

func TestTheJitterIsTheCallersToChoose(t *testing.T) {
	for rnd, want := range map[float64]time.Duration{0: 850 * time.Millisecond, 0.5: time.Second} {
		terms, err := Config{Lease: time.Second * 3, Random: func() float64 { return rnd }}.Terms()
		if err != nil {
			t.Fatal(err)
		}
		if got := terms.jittered(time.Second, terms.Random()); got != want {
			t.Errorf("%v is jittered to %v, want %v", rnd, got, want)
		}
	}
}
