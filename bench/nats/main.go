// Command nats compares Muster's backend on NATS JetStream with the client nats.go by hand, and with watermill-nats as it comes:
// publishing one message a call, and reading a backlog with acknowledgements. The server is in this process, or another one. From the
// root of the repository:
//
//	go run ./bench/nats -rounds 9
//
// What may not enter: figures. They stand in docs/performance-nats.md, with the machine and the date.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/bench"
)

const (
	subject   = "orders"
	bodySize  = 256 // bytes
	fetchSize = 256 // messages in one call of a reader that has batches, at most
	published = 200 // messages in one call of who fills a backlog in batches
)

// setting is where the server is, and whether it syncs every write.
type setting struct{ apart, synced bool }

// race is contenders that do the same; the ratios are to the second.
type race struct {
	name string
	in   []bench.Contender
}

func main() {
	if text, ok := os.LookupEnv(serverVariable); ok {
		exit(serve(text))
	}
	rounds := flag.Int("rounds", 9, "how often each contender has its turn")
	work := flag.Int("work", 20_000, "messages in one turn; a tenth where one is slow")
	apart := flag.Bool("process", false, "the server is a process of its own; default in this process")
	flag.Parse()
	exit(compare(context.Background(), os.Stdout, *rounds, *work, *apart))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func races(work int, apart bool) []race {
	plain, synced := setting{apart: apart}, setting{apart: apart, synced: true}
	slow := max(work/10, 1)
	all := func(n int) int { return n + max(1, n/10) } // with what a turn does to warm up
	return []race{
		{"publish, 64 callers", []bench.Contender{
			{Name: "muster", Work: work, Open: openMuster(plain, 64)},
			{Name: "nats.go", Work: work, Open: openRaw(plain, 64)},
			{Name: "watermill-nats", Work: work, Open: openMill(plain, 64)},
		}},
		{"publish, every write synced", []bench.Contender{
			{Name: "muster, 64 callers", Work: work, Open: openMuster(synced, 64)},
			{Name: "nats.go, one caller", Work: slow, Open: openRaw(synced, 1)},
			{Name: "nats.go, 64 callers", Work: slow, Open: openRaw(synced, 64)},
		}},
		{"read a backlog and acknowledge it", []bench.Contender{
			{Name: "muster", Work: work, Open: openMusterBacklog(plain, all(work), 0)},
			{Name: "nats.go, acknowledgements not confirmed", Work: work, Open: openRawBacklog(plain, all(work))},
			{Name: "muster, IDs remembered", Work: work, Open: openMusterBacklog(plain, all(work), 10*time.Minute)},
			{Name: "muster through bus, batches", Work: work, Open: openBusBacklog(plain, true)},
			{Name: "muster through bus, one by one", Work: work, Open: openBusBacklog(plain, false)},
			{Name: "watermill-nats", Work: work, Open: openMillBacklog(plain, all(work))},
		}},
	}
}

func compare(ctx context.Context, out io.Writer, rounds, work int, apart bool) error {
	if rounds < 1 || work < 1 {
		return fmt.Errorf("%d rounds of %d messages, at least 1 of each is needed", rounds, work)
	}
	where := "the server in this process"
	if apart {
		where = "the server in another process"
	}
	_, err := fmt.Fprintf(out, "%s %s/%s, %d processors, %d rounds, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), rounds, where)
	if err != nil {
		return err
	}
	for _, r := range races(work, apart) {
		results, err := bench.Rounds(ctx, rounds, r.in)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if err := table(out, r.name, results); err != nil {
			return err
		}
	}
	return nil
}

// table writes a line for each contender: its median rate, the lowest and the highest, and its ratio to the second and to the last.
func table(out io.Writer, name string, results []bench.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	second, last := results[1], results[len(results)-1]
	if _, err := fmt.Fprintf(w, "\n%s\nmessages/s\tlowest\thighest\t/ %s\t/ %s\tallocs\t\t\n", name, second.Name, last.Name); err != nil {
		return err
	}
	for _, r := range results {
		_, err := fmt.Fprintf(w, "%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.1f\t\t  %s\n",
			r.Rate(), slices.Min(r.Rates), slices.Max(r.Rates), r.Over(second), r.Over(last), r.Allocs, r.Name)
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// share has callers do n things, each one after the other.
func share(n, callers int, one func() error) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil && left.Add(-1) >= 0 {
				errs[i] = one()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
