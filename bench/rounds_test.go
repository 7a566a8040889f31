package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/bench"
)

// noted is a contest that writes down what is asked of it.
type noted struct {
	name  string
	log   *[]string
	moved int
	err   error
}

func (n *noted) Move(units int) error {
	n.moved += units
	return n.err
}

func (n *noted) Close() error {
	*n.log = append(*n.log, n.name)
	return nil
}

func contender(name string, log *[]string, err error) bench.Contender {
	return bench.Contender{Name: name, Work: 30, Open: func(context.Context) (bench.Contest, error) {
		return &noted{name: name, log: log, err: err}, nil
	}}
}

func TestEveryOtherRoundRunsInTheReverseOrder(t *testing.T) {
	var log []string
	results, err := bench.Rounds(t.Context(), 3, []bench.Contender{contender("a", &log, nil), contender("b", &log, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(log, want) {
		t.Fatalf("ran %v, want %v", log, want)
	}
	for i, name := range []string{"a", "b"} {
		if r := results[i]; r.Name != name || len(r.Rates) != 3 || r.Rate() <= 0 {
			t.Fatalf("result %d is %+v", i, r)
		}
	}
}

func TestAContenderThatFailsIsNamedAndClosed(t *testing.T) {
	var log []string
	broken := errors.New("broken")
	_, err := bench.Rounds(t.Context(), 1, []bench.Contender{contender("a", &log, nil), contender("b", &log, broken)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "b: ") || len(log) != 2 {
		t.Fatal(err, log)
	}
}

func TestARatioIsTakenWithinEachRound(t *testing.T) {
	a, b := bench.Result{Rates: []float64{10, 40, 90}}, bench.Result{Rates: []float64{5, 10, 45}}
	if got := a.Over(b); got != 2 {
		t.Fatalf("the ratio is %v, want the middle one of 2, 4 and 2", got)
	}
}

func TestTheMedianIsInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := bench.Median(c.values); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}
