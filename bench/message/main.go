// Command message compares what a message costs in one process, from its publisher to its settlement: Muster's bus on the memory
// backend, Watermill's gochannel, and a plain channel with another one for the acknowledgements. From the root of the repository:
//
//	go run ./bench/message -rounds 21
//
// What may not enter: figures. They stand in docs/performance.md, with the machine and the date.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/musterhq/muster/bench"
)

func main() {
	rounds := flag.Int("rounds", 21, "how often each contender has its turn")
	only := flag.String("only", "", "contenders to run, separated by commas; default all")
	flag.Parse()
	if err := compare(context.Background(), os.Stdout, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "message:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, out io.Writer, rounds int, only string) error {
	if rounds < 1 {
		return fmt.Errorf("%d rounds, at least 1 is needed", rounds)
	}
	field := contenders()
	if only != "" {
		names := strings.Split(only, ",")
		field = slices.DeleteFunc(field, func(c bench.Contender) bool { return !slices.Contains(names, c.Name) })
		if len(field) != len(names) {
			return fmt.Errorf("-only %q names a contender that there is not, or one twice", only)
		}
	}
	results, err := bench.Rounds(ctx, rounds, field)
	if err != nil {
		return err
	}
	return table(out, rounds, results)
}

// table writes one line for each contender: its median rate, the lowest and the highest of the rounds, how often its rate holds
// those of the two others that it is compared with, where they ran, and what time of processors, bytes and allocations a message takes.
func table(out io.Writer, rounds int, results []bench.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, err := fmt.Fprintf(out, "%s %s/%s, %d processors, %d rounds%s\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), rounds, load())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "messages/s\tlowest\thighest\t/ gochannel\t/ channel\tCPU ns/message\tB/message\tallocs/message\t\t"); err != nil {
		return err
	}
	for _, r := range results {
		_, err := fmt.Fprintf(w, "%.0f\t%.0f\t%.0f\t%s\t%s\t%.0f\t%.0f\t%.1f\t\t  %s\n",
			r.Rate(), slices.Min(r.Rates), slices.Max(r.Rates),
			against(r, results, gochannel), against(r, results, channel), 1000*bench.Median(r.Client), r.Bytes, r.Allocs, r.Name)
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// against is the ratio of r to the contender of that name, "-" where it did not run.
func against(r bench.Result, results []bench.Result, name string) string {
	i := slices.IndexFunc(results, func(o bench.Result) bool { return o.Name == name })
	if i < 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r.Over(results[i]))
}

// load is the machine's load where it tells, for who shares it spoils the figures.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	one, _, _ := strings.Cut(string(text), " ")
	return ", load of the last minute " + one
}
