package retry_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/retry"
)

const middle = 0.5 // the point of the jitter that changes nothing

func TestTheWaitsDoubleFrom100MillisecondsUpTo30Seconds(t *testing.T) {
	want := []time.Duration{
		100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
		1600 * time.Millisecond, 3200 * time.Millisecond, 6400 * time.Millisecond, 12800 * time.Millisecond,
		25600 * time.Millisecond, 30 * time.Second, 30 * time.Second,
	}
	var got []time.Duration
	for attempt := range len(want) {
		got = append(got, retry.Backoff{Jitter: -1}.Delay(attempt+1, middle))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("waits are %v, want %v", got, want)
	}
}

func TestTheZeroValueHasTheDocumentedDefaults(t *testing.T) {
	var zero retry.Backoff
	spelt := retry.Backoff{Tries: 5, First: 100 * time.Millisecond, Max: 30 * time.Second, Factor: 2, Jitter: 0.1}
	for attempt := 1; attempt < 20; attempt++ {
		for _, rnd := range []float64{0, 0.25, middle, 0.999} {
			if got, want := zero.Delay(attempt, rnd), spelt.Delay(attempt, rnd); got != want {
				t.Errorf("Delay(%d, %v) is %v, want %v", attempt, rnd, got, want)
			}
		}
		if got, want := zero.Spent(attempt), attempt >= 5; got != want {
			t.Errorf("Spent(%d) is %v, want %v", attempt, got, want)
		}
	}
	if err := zero.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	if got := zero.Delay(1, 0); got != 90*time.Millisecond {
		t.Errorf("shortest first wait is %v, want 90ms", got)
	}
	if got := zero.Delay(1, 0.75); got != 105*time.Millisecond {
		t.Errorf("first wait at three quarters of the jitter is %v, want 105ms", got)
	}
}

func TestNegativeTriesAreNeverSpent(t *testing.T) {
	if (retry.Backoff{Tries: -1}).Spent(math.MaxInt) {
		t.Fatal("spent")
	}
}

func TestNegativeMeansNone(t *testing.T) {
	for _, c := range []struct {
		what    string
		b       retry.Backoff
		attempt int
		want    time.Duration
	}{
		{"a negative first wait", retry.Backoff{First: -1}, 9, 0},
		{"a negative jitter", retry.Backoff{Jitter: -1}, 1, 100 * time.Millisecond},
		{"a negative longest wait", retry.Backoff{Max: -1, Jitter: -1}, 11, 102400 * time.Millisecond},
		{"a negative longest wait that would overflow", retry.Backoff{Max: -1, Jitter: -1}, 1000, math.MaxInt64},
	} {
		if got := c.b.Delay(c.attempt, middle); got != c.want {
			t.Errorf("%s: wait is %v, want %v", c.what, got, c.want)
		}
		if err := c.b.Check(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestTheDefaultFirstWaitFitsAShortMax(t *testing.T) {
	b := retry.Backoff{Max: 10 * time.Millisecond, Jitter: -1}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	if got := b.Delay(1, middle); got != 10*time.Millisecond {
		t.Fatalf("first wait is %v, want 10ms", got)
	}
}

func TestAnAttemptBeforeTheFirstCountsAsTheFirst(t *testing.T) {
	var b retry.Backoff
	for _, attempt := range []int{0, -1, math.MinInt} {
		if got, want := b.Delay(attempt, middle), b.Delay(1, middle); got != want {
			t.Errorf("Delay(%d) is %v, want %v", attempt, got, want)
		}
	}
}

func TestCheckNamesWhatIsInvalid(t *testing.T) {
	for _, c := range []struct {
		b    retry.Backoff
		want string
	}{
		{retry.Backoff{Factor: 0.5}, "backoff: invalid: factor 0.5 is not a number from 1 up"},
		{retry.Backoff{Factor: math.NaN()}, "backoff: invalid: factor NaN is not a number from 1 up"},
		{retry.Backoff{Factor: math.Inf(1)}, "backoff: invalid: factor +Inf is not a number from 1 up"},
		{retry.Backoff{Jitter: 1.5}, "backoff: invalid: jitter 1.5 is more than 1"},
		{retry.Backoff{Jitter: math.NaN()}, "backoff: invalid: jitter NaN is more than 1"},
		{retry.Backoff{First: time.Minute}, "backoff: invalid: the first wait 1m0s is longer than the longest 30s"},
	} {
		err := c.b.Check()
		if !errors.Is(err, retry.ErrInvalid) || err.Error() != c.want {
			t.Errorf("%+v: %v, want %q", c.b, err, c.want)
		}
	}
}

// The properties that hold for every Backoff that Check lets through, and those that hold for any at all.
func checkDelay(t *testing.T, b retry.Backoff, attempt int, rnd float64) {
	t.Helper()
	limit := b.Max
	switch {
	case limit == 0:
		limit = 30 * time.Second
	case limit < 0:
		limit = math.MaxInt64
	}
	d := b.Delay(attempt, rnd)
	if d < 0 || d > limit {
		t.Fatalf("%+v.Delay(%d, %v) is %v, want 0 to %v", b, attempt, rnd, d, limit)
	}
	if b.Check() != nil || !(rnd >= 0 && rnd < 1) {
		return
	}
	if again := b.Delay(attempt, rnd); again != d {
		t.Fatalf("%+v.Delay(%d, %v) is %v and then %v", b, attempt, rnd, d, again)
	}
	if low := b.Delay(attempt, 0); low > d {
		t.Fatalf("%+v.Delay(%d, %v) is %v, less than the shortest %v", b, attempt, rnd, d, low)
	}
	if attempt < math.MaxInt {
		if next := b.Delay(attempt+1, rnd); next < d {
			t.Fatalf("%+v.Delay at %v shrinks from %v to %v after attempt %d", b, rnd, d, next, attempt)
		}
	}
}

func TestEveryWaitIsInsideMaxAndGrowsWithTheAttempt(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := retry.Backoff{
			First:  time.Duration(r.Int64() >> r.IntN(63)),
			Max:    time.Duration(r.Int64() >> r.IntN(63)),
			Factor: 1 + r.Float64()*math.Pow(10, float64(r.IntN(6))),
			Jitter: r.Float64()*1.2 - 0.1,
		}
		if r.IntN(8) == 0 {
			b.Max = -1
		}
		checkDelay(t, b, r.IntN(1<<r.IntN(30)+1), r.Float64())
	}
}

func TestTheWaitsAtMaxStaySpread(t *testing.T) {
	var b retry.Backoff
	seen := map[time.Duration]bool{}
	for i := range 100 {
		seen[b.Delay(50, float64(i)/100)] = true
	}
	if len(seen) != 100 {
		t.Fatalf("100 points of the jitter give %d waits", len(seen))
	}
}

func FuzzDelayIsNeverNegativeAndNeverOverMax(f *testing.F) {
	f.Add(int64(0), int64(0), 0.0, 0.0, 1, 0.5)
	f.Add(int64(math.MaxInt64), int64(-1), 1e300, 1.0, math.MaxInt, 0.999)
	f.Add(int64(-1), int64(-1), math.Inf(1), math.NaN(), math.MinInt, math.NaN())
	f.Add(int64(1), int64(5), -3.0, -1e9, 7, 12.0)
	f.Fuzz(func(t *testing.T, first, limit int64, factor, jitter float64, attempt int, rnd float64) {
		checkDelay(t, retry.Backoff{First: time.Duration(first), Max: time.Duration(limit), Factor: factor, Jitter: jitter}, attempt, rnd)
	})
}

func BenchmarkDelay(b *testing.B) {
	var backoff retry.Backoff
	b.ReportAllocs()
	for b.Loop() {
		backoff.Delay(7, middle)
	}
}
