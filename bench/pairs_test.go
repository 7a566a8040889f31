package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/bench"
)

// op notes in log each turn of it, and its end.
func op(name string, log *[]string, err error) bench.Op {
	return bench.Op{Name: name, Open: func(context.Context) (func() error, func() error, error) {
		do := func() error {
			*log = append(*log, name)
			return err
		}
		end := func() error {
			*log = append(*log, "end of "+name)
			return nil
		}
		return do, end, nil
	}}
}

func TestTheSlicesOfAQuartetAreABBAAndTheFirstPairIsTheControl(t *testing.T) {
	var log []string
	pairs, err := bench.Pairs(t.Context(), 0, 1, op("a", &log, nil), op("b", &log, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "a", "a", "a", "a", "a", "a", "a", "end of a", "a", "b", "b", "a", "a", "b", "b", "a", "end of b", "end of a"}
	if !slices.Equal(log, want) {
		t.Errorf("the turns are %v, want %v: a quartet to warm up and one that counts, for the control and for b", log, want)
	}
	if len(pairs) != 2 || !strings.Contains(pairs[0].Name, "control") || pairs[1].Name != "b" || len(pairs[1].Ratios) != 1 || pairs[1].Ratio() <= 0 || pairs[1].Rate <= 0 {
		t.Errorf("the pairs are %+v", pairs)
	}
}

func TestAnOpThatFailsIsNamedAndAllAreEnded(t *testing.T) {
	var log []string
	broken := errors.New("broken")
	_, err := bench.Pairs(t.Context(), 0, 1, op("a", &log, nil), op("b", &log, broken))
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Errorf("the error is %v", err)
	}
	for _, name := range []string{"end of a", "end of b"} {
		if !slices.Contains(log, name) {
			t.Errorf("there is no %s in %v", name, log)
		}
	}
}

func TestAQuantileLiesBetweenTheValuesAroundIt(t *testing.T) {
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.25, 2}, {0.5, 3}, {0.625, 3.5}, {1, 5}} {
		if got := bench.Quantile([]float64{5, 3, 1, 4, 2}, c.q); got != c.want {
			t.Errorf("the quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
}
