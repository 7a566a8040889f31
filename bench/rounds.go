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
	Name   string
	Work   int                                        // units of work in one slice; at least 1
	Open   func(ctx context.Context) (Contest, error) // makes everything anew for one slice
	Server func() (time.Duration, error)              // processor time that a server has used so far; default none
}

// Contest is a contender that is ready. Move does n units of work and returns when they are done; Close gives up what Open made.
type Contest interface {
	Move(n int) error
	Close() error
}

// Prepared is a contest that has something to make ready before n units, which is not measured.
type Prepared interface{ Prepare(n int) error }

// Result is what one contender did in all rounds.
type Result struct {
	Name   string
	Rates  []float64 // units a second, one of each round
	Bytes  float64   // allocated for a unit, in the mean
	Allocs float64   // allocations for a unit, in the mean
	Client []float64 // microseconds of processor time of this process for a unit, one of each round; 0 where the system does not tell
	Server []float64 // the same of the server; 0 where there is none
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
			r.Client, r.Server = append(r.Client, s.client), append(r.Server, s.server)
			r.Bytes += s.bytes / float64(rounds)
			r.Allocs += s.allocs / float64(rounds)
		}
		slices.Reverse(order)
	}
	return results, nil
}

// slice is what one slice measured, all of it for one unit or one second.
type slice struct{ rate, bytes, allocs, client, server float64 }

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
	if err := prepare(contest, max(1, c.Work/10)); err != nil {
		return s, err
	}
	if err := contest.Move(max(1, c.Work/10)); err != nil {
		return s, err
	}
	if err := prepare(contest, c.Work); err != nil {
		return s, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from, err := usage(c)
	if err != nil {
		return s, err
	}
	start := time.Now()
	if err := contest.Move(c.Work); err != nil {
		return s, err
	}
	took := time.Since(start)
	to, err := usage(c)
	if err != nil {
		return s, err
	}
	runtime.ReadMemStats(&after)
	units := float64(c.Work)
	return slice{
		rate:   units / took.Seconds(),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / units,
		allocs: float64(after.Mallocs-before.Mallocs) / units,
		client: micros(to.client-from.client) / units,
		server: micros(to.server-from.server) / units,
	}, nil
}

func prepare(c Contest, n int) error {
	if p, ok := c.(Prepared); ok {
		return p.Prepare(n)
	}
	return nil
}

// used is processor time so far, of this process and of the server.
type used struct{ client, server time.Duration }

func usage(c Contender) (u used, err error) {
	if c.Server != nil {
		u.server, err = c.Server()
	}
	u.client = processTime()
	return u, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

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
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile is the value below which the part q of the values lies, 0 to 1, between two where it falls between them; 0 for none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
