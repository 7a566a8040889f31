package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Op is one way to do something short, again and again. Open makes it ready; do is called by one goroutine, and close ends it.
type Op struct {
	Name string
	Open func(ctx context.Context) (do func() error, end func() error, err error)
}

// Pair is how two ways compare: of each quartet A B B A, how often the rate of the second holds the rate of the first.
type Pair struct {
	Name   string
	Rate   float64 // of the first: median calls a second
	Ratios []float64
}

// Pairs compares others with base in short slices next to each other, in the order A B B A, so that what the machine does meanwhile
// meets both. The first pair is the control: base with itself, opened a second time. What it differs from 1 by is what the figure
// of the others may be wrong by.
func Pairs(ctx context.Context, slice time.Duration, quartets int, base Op, others ...Op) ([]Pair, error) {
	var pairs []Pair
	ops := append([]Op{{base.Name + " again (control)", base.Open}}, others...)
	first, end, err := base.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.Name, err)
	}
	for _, op := range ops {
		p, err := pair(ctx, slice, quartets, first, op)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", op.Name, err), end())
		}
		pairs = append(pairs, p)
	}
	return pairs, end()
}

func pair(ctx context.Context, slice time.Duration, quartets int, first func() error, op Op) (p Pair, err error) {
	second, end, err := op.Open(ctx)
	if err != nil {
		return p, err
	}
	defer func() {
		if failed := end(); err == nil {
			err = failed
		}
	}()
	p.Name = op.Name
	var rates []float64
	runtime.GC()
	for q := range quartets + quartets/10 + 1 {
		var got [4]float64
		for i, do := range [4]func() error{first, second, second, first} {
			if got[i], err = during(slice, do); err != nil {
				return p, err
			}
		}
		if q <= quartets/10 {
			continue // to warm up
		}
		p.Ratios = append(p.Ratios, (got[1]+got[2])/(got[0]+got[3]))
		rates = append(rates, got[0], got[3])
	}
	p.Rate = Median(rates)
	return p, nil
}

// during calls do again and again for a while and tells how often a second.
func during(slice time.Duration, do func() error) (float64, error) {
	n, start := 0, time.Now()
	for {
		if err := do(); err != nil {
			return 0, err
		}
		n++
		if took := time.Since(start); took >= slice {
			return float64(n) / took.Seconds(), nil
		}
	}
}

// Ratio is the median of the quartets.
func (p Pair) Ratio() float64 { return Median(p.Ratios) }
