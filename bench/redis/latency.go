package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/bench"
)

// carrier is one way from a publisher to a handler, which are both in this process.
type carrier struct {
	name string
	few  int // it does one part in so many of what is sent one at a time: it is slow at it
	open func(ctx context.Context) (carried, error)
}

// carried is a carrier that is ready. Many may send; receive has each body handled and settled until ctx ends.
type carried interface {
	send(body []byte) error
	receive(ctx context.Context, handle func(body []byte)) error
	Close() error
}

// pace is how messages are sent: so many, each so long after the one before, by so many callers. One at a time waits until the one
// before was handled, and then for the gap.
type pace struct {
	name, what string
	messages   int
	gap        time.Duration
	callers    int
	single     bool
}

func paces(share int) []pace {
	return []pace{
		{"latency", "from publish to handler, at 2,000 messages a second", max(50, 4000/share), time.Second / 2000, 16, false},
		{"idle", "from publish to handler, one message to a consumer that waits", max(2, 40/share), 25 * time.Millisecond, 1, true},
	}
}

// delays are what one carrier took, in milliseconds, one figure of each round.
type delays struct{ half, most, all []float64 }

func (f *field) delays(ctx context.Context, out io.Writer, p pace, o options) error {
	cs := slices.DeleteFunc(f.carriers(), func(c carrier) bool { return !o.takes(c.name) })
	got := make([]delays, len(cs))
	order := make([]int, len(cs))
	for i := range order {
		order[i] = i
	}
	for range o.rounds {
		for _, i := range order {
			took, err := carry(ctx, cs[i], p)
			if err != nil {
				return fmt.Errorf("%s: %w", cs[i].name, err)
			}
			d := &got[i]
			d.half = append(d.half, bench.Median(took))
			d.most = append(d.most, bench.Quantile(took, 0.99))
			d.all = append(d.all, slices.Max(took))
		}
		slices.Reverse(order)
	}
	return delayTable(out, p, cs, got)
}

// carry sends at the pace and tells how many milliseconds each message took.
func carry(ctx context.Context, c carrier, p pace) (took []float64, err error) {
	d, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	n := p.messages
	if p.single {
		n = max(2, n/max(1, c.few))
	}
	warm := n / 10
	r := &run{start: time.Now(), sent: make([]time.Duration, n+warm), took: make([]float64, n+warm), handled: make(chan struct{}, n+warm)}
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.receive(receiving, r.handle) }()
	if err := r.send(d, p); err != nil {
		return nil, err
	}
	if !p.single {
		for range n + warm {
			if err := r.await(ended); err != nil {
				return nil, err
			}
		}
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return r.took[warm:], nil
}

// run is what one carrier does at one pace.
type run struct {
	start   time.Time
	sent    []time.Duration
	took    []float64
	handled chan struct{}
}

func (r *run) handle(body []byte) {
	i := binary.BigEndian.Uint64(body)
	r.took[i] = float64(time.Since(r.start)-r.sent[i]) / float64(time.Millisecond)
	r.handled <- struct{}{}
}

var errStuck = errors.New("a message is not handled within a minute")

func (r *run) await(ended chan error) error {
	select {
	case <-r.handled:
		return nil
	case err := <-ended:
		ended <- err
		return errors.Join(errors.New("the consumer ended"), err)
	case <-time.After(time.Minute):
		return errStuck
	}
}

// send sends all, each when it is due, or after the one before was handled.
func (r *run) send(d carried, p pace) error {
	errs := make([]error, p.callers)
	from := time.Now()
	var work sync.WaitGroup
	for c := range p.callers {
		work.Go(func() {
			for i := c; i < len(r.sent) && errs[c] == nil; i += p.callers {
				if p.single {
					time.Sleep(p.gap)
				} else {
					time.Sleep(time.Until(from.Add(time.Duration(i) * p.gap)))
				}
				body := payload()
				binary.BigEndian.PutUint64(body, uint64(i))
				r.sent[i] = time.Since(r.start)
				if errs[c] = d.send(body); errs[c] == nil && p.single {
					errs[c] = r.await(make(chan error, 1))
				}
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

func delayTable(out io.Writer, p pace, cs []carrier, got []delays) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n\n", p.name, p.what)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	lines := []string{"p50 ms\tp99 ms\thighest ms\tp50 / " + carriedByHand + "\t"}
	for i := range cs {
		ratio := "-"
		if hand := slices.IndexFunc(cs, func(c carrier) bool { return c.name == carriedByHand }); hand >= 0 {
			over := make([]float64, len(got[i].half))
			for round := range over {
				over[round] = got[i].half[round] / got[hand].half[round]
			}
			ratio = fmt.Sprintf("%.2f", bench.Median(over))
		}
		lines = append(lines, fmt.Sprintf("%.2f\t%.2f\t%.2f\t%s\t\t  %s", bench.Median(got[i].half), bench.Median(got[i].most), slices.Max(got[i].all), ratio, cs[i].name))
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
