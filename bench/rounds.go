package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Contender is one way to do the same work.
type Contender struct {
	Name string
	Work int                                        // units of work in one slice; at least 1
	Open func(ctx context.Context) (Contest, error) // makes everything anew for one slice
}

// Contest is a contender that is ready. Move does n units of work and returns when they are done; Close gives up what Open made.
type Contest interface {
	Move(n int) error
	Close() error
}

// Result is what one contender did in all rounds.
type Result struct {
	Name   string
	Rates  []float64 // units a second, one of each round
	Bytes  float64   // allocated for a unit, in the mean
	Allocs float64   // allocations for a unit, in the mean
}

// Rounds has the contenders work in turn, each for a slice of its own in each round, every other round in the reverse order: A B C,
// C B A, and so on, so that neither a place in the order nor a slow change of the machine favours one. A slice starts from a
// collected heap and is measured after a tenth of its work was done to warm up. Rounds must be at least 1.
func Rounds(ctx context.Context, rounds int, contenders []Contender) ([]Result, error) {
	results := make([]Result, len(contenders))
	for i, c := range contenders {
		results[i].Name = c.Name
	}
	order := make([]int, len(contenders))
	for i := range order {
		order[i] = i
	}
	for range rounds {
		for _, i := range order {
			s, err := run(ctx, contenders[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[i].Name, err)
			}
			r := &results[i]
			r.Rates = append(r.Rates, s.rate)
			r.Bytes += s.bytes / float64(rounds)
			r.Allocs += s.allocs / float64(rounds)
		}
		slices.Reverse(order)
	}
	return results, nil
}

// slice is what one slice measured, all of it for one unit or one second.
type slice struct{ rate, bytes, allocs float64 }

func run(ctx context.Context, c Contender) (s slice, err error) {
	contest, err := c.Open(ctx)
	if err != nil {
		return s, err
	}
	defer func() {
		if failed := contest.Close(); err == nil {
			err = failed
		}
	}()
	if err := contest.Move(max(1, c.Work/10)); err != nil {
		return s, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if err := contest.Move(c.Work); err != nil {
		return s, err
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	units := float64(c.Work)
	return slice{
		rate:   units / took.Seconds(),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / units,
		allocs: float64(after.Mallocs-before.Mallocs) / units,
	}, nil
}

// Rate is the median of the rounds.
func (r Result) Rate() float64 { return Median(r.Rates) }

// Over is the median, over the rounds, of how often r's rate in a round holds that of other in the same round.
func (r Result) Over(other Result) float64 {
	ratios := make([]float64, len(r.Rates))
	for i := range ratios {
		ratios[i] = r.Rates[i] / other.Rates[i]
	}
	return Median(ratios)
}

// Median is the value in the middle, or between the two there; 0 for none.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	default:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
}
