package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

var errFlood = errors.New("flood")

func TestFaults(t *testing.T) {
	always := func(f memory.Fault) func() memory.Fault { return func() memory.Fault { return f } }

	bubble(t, "each point of each operation has a number of its own", func(t *testing.T) {
		var asked []string
		b := memory.New(memory.Config{}).Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			asked = append(asked, fmt.Sprintf("%d/%d %s %s", op.Handle, op.N, op.Point, op.Name))
			return memory.Fault{}
		}})
		_, err := b.Apply(t.Context(), port.Change{Key: "a"}, port.Change{Key: "b"})
		ok(t, err)
		b.Health(t.Context())
		wantList(t, "asked", asked, "2/1 before apply", "2/2 between apply", "2/3 after apply", "2/4 before health", "2/5 after health")
		want(t, "a strange point", memory.Point(7).String(), "unknown point")
	})

	bubble(t, "an error before has applied nothing and says that it is safe to do it again", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: at("write", memory.Before, always(memory.Fault{Err: errFlood}))})
		err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "a", ID: "1"}}})
		is(t, err, errFlood, port.ErrUnavailable)
		write(t, b, "a", "1")
		wantList(t, "log", logOf(t, b, "a"), "1")
	})

	bubble(t, "an error of the port that comes before is answered as it is", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: at("drop", memory.Before, always(memory.Fault{Err: port.ErrConflict}))})
		err := b.Drop(t.Context(), "a", "")
		is(t, err, port.ErrConflict)
		want(t, "unavailable", errors.Is(err, port.ErrUnavailable), false)
	})

	bubble(t, "an error after has applied all and says that it is uncertain", func(t *testing.T) {
		for _, fault := range []error{errFlood, port.ErrUnavailable} {
			b := memory.New(memory.Config{Fault: at("write", memory.After, always(memory.Fault{Err: fault}))})
			batch := port.Batch{ID: "step", Messages: []port.Message{{Topic: "a", ID: "1"}}}
			err := b.Write(t.Context(), batch)
			is(t, err, port.ErrUncertain)
			want(t, "unavailable", errors.Is(err, port.ErrUnavailable), false)
			ok(t, b.Write(t.Context(), batch))
			wantList(t, "log", logOf(t, b, "a"), "1")
		}
	})

	bubble(t, "an error between leaves the rest undone and uncertain", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: at("settle", memory.Between, always(memory.Fault{Err: errFlood}))})
		g := member("a", "g", "c")
		join(t, b, g)
		write(t, b, "a", "1", "2", "3")
		list := fetch(t, b, g, 3)
		errs := b.Settle(t.Context(), g, port.Settlement{Receipt: list[0].Receipt}, port.Settlement{Receipt: list[1].Receipt}, port.Settlement{Receipt: list[2].Receipt})
		ok(t, errs[0])
		is(t, errs[1], port.ErrUncertain, errFlood)
		is(t, errs[2], port.ErrUncertain, errFlood)
		want(t, "loaned", infoOf(t, b, "a").Groups[0].Loaned, 2)
	})

	bubble(t, "a call of several changes that fails between them knows nothing", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: at("apply", memory.Between, always(memory.Fault{Err: errFlood}))})
		_, err := b.Apply(t.Context(), port.Change{Key: "a", Value: []byte("1")}, port.Change{Key: "b"})
		is(t, err, port.ErrUncertain)
		want(t, "a", valueOf(t, b, "a"), "1")
		want(t, "b", valueOf(t, b, "b"), "none")
	})

	bubble(t, "what is carried out twice answers as the repetition does", func(t *testing.T) {
		for _, p := range []memory.Point{memory.Before, memory.After} {
			b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
				return memory.Fault{Twice: op.Point == p && (op.Name == "write" || op.Name == "settle" || op.Name == "add")}
			}})
			err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "a", ID: "1"}}})
			is(t, err, port.ErrDuplicate)
			g := member("a", "g", "c")
			join(t, b, g)
			is(t, settle(t, b, g, port.Settlement{Receipt: fetch(t, b, g, 1)[0].Receipt}), port.ErrStale)
			sum, err := b.Add(t.Context(), "n", 1, 0)
			ok(t, err)
			want(t, "sum", sum, 2)
		}
	})

	bubble(t, "a cut handle answers ErrClosed from then on, and its loans and leases run out", func(t *testing.T) {
		a := memory.New(memory.Config{})
		b := a.Open(memory.Config{Fault: at("fetch", memory.After, always(memory.Fault{Cut: true}))})
		g := member("a", "g", "dead")
		join(t, b, g)
		write(t, b, "a", "1")
		_, err := b.Acquire(t.Context(), port.Lease{Name: "l", Owner: "dead", Nonce: "n"}, loan)
		ok(t, err)
		_, err = b.Fetch(t.Context(), g, 1)
		is(t, err, port.ErrClosed, port.ErrUncertain)
		is(t, b.Join(t.Context(), g), port.ErrClosed)
		_, err = b.Stats(t.Context())
		is(t, err, port.ErrClosed)
		want(t, "health", b.Health(t.Context()).State, port.Unavailable)
		ok(t, b.Close())

		next := member("a", "g", "next")
		want(t, "deliveries while the loan lasts", len(fetch(t, a, next, 1)), 0)
		_, err = a.Acquire(t.Context(), port.Lease{Name: "l", Owner: "next", Nonce: "m"}, loan)
		is(t, err, port.ErrHeld)
		<-time.After(loan)
		want(t, "lost", fetch(t, a, next, 1)[0].Lost, 1)
		_, err = a.Acquire(t.Context(), port.Lease{Name: "l", Owner: "next", Nonce: "m"}, loan)
		ok(t, err)
	})

	bubble(t, "a handle that is cut between settlements asks for no more faults", func(t *testing.T) {
		points := 0
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name != "extend" {
				return memory.Fault{}
			}
			points++
			return memory.Fault{Cut: op.Point == memory.Between}
		}})
		for _, err := range b.Extend(t.Context(), member("a", "g", "c"), port.Hold{}, port.Hold{}, port.Hold{})[1:] {
			is(t, err, port.ErrClosed)
		}
		want(t, "points", points, 2)
	})

	bubble(t, "a delay waits, and no longer than the ctx and the handle last", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Point == memory.Before {
				return memory.Fault{Delay: time.Minute}
			}
			return memory.Fault{}
		}})
		start := time.Now()
		_, err := b.Get(t.Context(), "k")
		ok(t, err)
		want(t, "delay", time.Since(start), time.Minute)
		ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, errFlood)
		defer stop()
		_, err = b.Get(ctx, "k")
		is(t, err, errFlood)
		want(t, "unavailable", errors.Is(err, port.ErrUnavailable), false)
		want(t, "until the ctx ended", time.Since(start), time.Minute+time.Second)
		done := make(chan error)
		go func() { done <- b.Signal(t.Context(), "c", nil) }()
		synctest.Wait()
		ok(t, b.Close())
		is(t, <-done, port.ErrClosed)
	})

	bubble(t, "a loop over Keys or Inspect ends with the fault", func(t *testing.T) {
		b := memory.New(memory.Config{Fault: func(memory.Op) memory.Fault { return memory.Fault{Err: errFlood} }})
		for _, err := range b.Keys(t.Context(), "*") {
			is(t, err, port.ErrUnavailable)
		}
		for _, err := range b.Inspect(t.Context(), "*") {
			is(t, err, port.ErrUnavailable)
		}
	})
}
