package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/musterhq/muster/bench"
)

// options are what the command is told.
type options struct {
	rounds    int
	share     int // each contender does one part in so many of its work
	quartets  int // of single calls beside the direct client's
	only, who string
	server    string
	fsync     string
	profile   string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 9, "how often each contender has its turn")
	flag.IntVar(&o.share, "share", 1, "each contender does one part in so many of its work")
	flag.IntVar(&o.quartets, "quartets", 100, "how often single calls are compared with the direct client's, in the suite pairs")
	flag.StringVar(&o.only, "only", "", "suites to run, separated by commas; default all")
	flag.StringVar(&o.who, "who", "", "contenders to run, by what their names begin with, separated by commas; default all")
	flag.StringVar(&o.server, "server", "redis-server", "the server's program")
	flag.StringVar(&o.fsync, "fsync", "off", "append-only file of the server: always, everysec, no, off")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a profile of this process; default none")
	flag.Parse()
	if err := compare(context.Background(), os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, out io.Writer, o options) (err error) {
	if o.rounds < 1 || o.share < 1 || o.quartets < 1 {
		return errors.New("-rounds, -share and -quartets must be at least 1")
	}
	if err := o.known(); err != nil {
		return err
	}
	s, err := startServer(ctx, o.server, o.fsync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	f := &field{server: s}
	version, err := s.info(ctx, "server", "redis_version")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s %s/%s, %d processors, Redis %s, append-only file %s, %d rounds\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), version, o.fsync, o.rounds)
	if err != nil {
		return err
	}
	if o.wants("pairs") {
		if err := f.pairs(ctx, out, o.quartets); err != nil {
			return err
		}
	}
	for _, st := range f.suites() {
		if !o.wants(st.name) {
			continue
		}
		if err := st.run(ctx, out, s, o); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	for _, p := range paces(o.share) {
		if !o.wants(p.name) {
			continue
		}
		if err := f.delays(ctx, out, p, o); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// known refuses suites that there are not.
func (o options) known() error {
	if o.only == "" {
		return nil
	}
	names := []string{"pairs"}
	for _, st := range (&field{}).suites() {
		names = append(names, st.name)
	}
	for _, p := range paces(o.share) {
		names = append(names, p.name)
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only names the suite %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (o options) wants(suite string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), suite)
}

// takes reports whether a contender is to run.
func (o options) takes(name string) bool {
	return o.who == "" || slices.ContainsFunc(strings.Split(o.who, ","), func(w string) bool { return strings.HasPrefix(name, w) })
}

func (st suite) run(ctx context.Context, out io.Writer, s *server, o options) error {
	st.contenders = slices.DeleteFunc(st.contenders, func(c bench.Contender) bool { return !o.takes(c.Name) })
	for i := range st.contenders {
		st.contenders[i].Server = s.cpu
		st.contenders[i].Work = max(50, st.contenders[i].Work/o.share)
	}
	results, err := bench.Rounds(ctx, o.rounds, st.contenders)
	if err != nil {
		return err
	}
	return table(out, st, results)
}

func table(out io.Writer, st suite, results []bench.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n\n", st.name, st.what)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "per second\tlowest\thighest\tclient us\tserver us\tB\tallocs\t"
	for _, a := range st.against {
		head += "/ " + a + "\t"
	}
	lines := []string{head}
	for _, r := range results {
		line := fmt.Sprintf("%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%.1f\t", r.Rate(), slices.Min(r.Rates), slices.Max(r.Rates), bench.Median(r.Client), bench.Median(r.Server), r.Bytes, r.Allocs)
		for _, a := range st.against {
			ratio := "-"
			if i := slices.IndexFunc(results, func(o bench.Result) bool { return o.Name == a }); i >= 0 {
				ratio = fmt.Sprintf("%.2f", r.Over(results[i]))
			}
			line += ratio + "\t"
		}
		lines = append(lines, line+"\t  "+r.Name)
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String())
	return err
}
