package memory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestStepwise(t *testing.T) {
	stepwise := memory.Config{Stepwise: true}
	batch := port.Batch{
		ID:       "step",
		Messages: []port.Message{{Topic: "out", ID: "o1"}, {Topic: "out", ID: "o2"}},
		Changes:  []port.Change{{Key: "state", Value: []byte("1"), If: port.Absent}},
	}
	// during runs f each time that the writer is between two parts.
	during := func(store *memory.Backend, f func()) *memory.Backend {
		return store.Open(memory.Config{Stepwise: true, Fault: func(op memory.Op) memory.Fault {
			if op.Point == memory.Between {
				f()
			}
			return memory.Fault{}
		}})
	}

	bubble(t, "Get and Inspect see the parts come", func(t *testing.T) {
		store := memory.New(stepwise)
		var seen []int64
		var states []string
		w := during(store, func() {
			seen = append(seen, infoOf(t, store, "out").Count)
			states = append(states, valueOf(t, store, "state"))
		})
		ok(t, w.Write(t.Context(), batch))
		want(t, "entries seen", slices.Equal(seen, []int64{0, 1, 2}), true)
		wantList(t, "states seen", states, "none", "none", "none")
		want(t, "state", valueOf(t, store, "state"), "1")
	})

	bubble(t, "the writer goes on when another finished its step, and nothing happens twice", func(t *testing.T) {
		store := memory.New(stepwise)
		w := during(store, func() { wantList(t, "read", logOf(t, store, "out"), "o1", "o2") })
		ok(t, w.Write(t.Context(), batch))
		wantList(t, "out", logOf(t, store, "out"), "o1", "o2")
		want(t, "written", counter(t, w, "written"), 2)
	})

	bubble(t, "a later change of a key stands when the writer comes back", func(t *testing.T) {
		store := memory.New(stepwise)
		w := during(store, func() {
			_, err := store.Apply(t.Context(), port.Change{Key: "state", Value: []byte("later")})
			ok(t, err)
		})
		ok(t, w.Write(t.Context(), batch))
		want(t, "state", valueOf(t, store, "state"), "later")
	})

	bubble(t, "two that finish the same step do each part once", func(t *testing.T) {
		store := memory.New(stepwise)
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		is(t, w.Write(t.Context(), batch), port.ErrClosed)
		depth := 0
		first := during(store, func() {
			if depth++; depth == 1 {
				wantList(t, "read by the second", logOf(t, store, "out"), "o1", "o2")
			}
		})
		wantList(t, "read by the first", logOf(t, first, "out"), "o1", "o2")
		want(t, "state", valueOf(t, store, "state"), "1")
	})

	bubble(t, "who finishes a step may be cut too, and the next one goes on", func(t *testing.T) {
		store := memory.New(stepwise)
		cut := func(name string) *memory.Backend {
			return store.Open(memory.Config{Stepwise: true, Fault: at(name, memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		}
		is(t, cut("write").Write(t.Context(), batch), port.ErrClosed)
		_, err := cut("read").Read(t.Context(), port.Range{Topic: "out", Max: 9})
		is(t, err, port.ErrClosed)
		want(t, "entries after one part", infoOf(t, store, "out").Count, 1)
		_, err = cut("apply").Apply(t.Context(), port.Change{Key: "state", Delete: true})
		is(t, err, port.ErrClosed)
		want(t, "entries after two parts", infoOf(t, store, "out").Count, 2)
		_, err = cut("add").Add(t.Context(), "state", 1, 0)
		is(t, err, port.ErrClosed)
		want(t, "state after three parts, and the sum that was not added", valueOf(t, store, "state"), "1")
	})

	bubble(t, "every call that meets a step passes on that it was cut while it finished it", func(t *testing.T) {
		calls := map[string]func(b *memory.Backend) error{
			"write": func(b *memory.Backend) error { return b.Write(t.Context(), batch) },
			"drop":  func(b *memory.Backend) error { return b.Drop(t.Context(), "out", "") },
			"clear": func(b *memory.Backend) error {
				_, err := b.Clear(t.Context())
				return err
			},
			"fetch": func(b *memory.Backend) error {
				_, err := b.Fetch(t.Context(), member("out", "g", "c"), 1)
				return err
			},
		}
		for name, call := range calls {
			store := memory.New(stepwise)
			for _, b := range []struct {
				cut  string
				call func(*memory.Backend) error
			}{{"write", calls["write"]}, {name, call}} {
				h := store.Open(memory.Config{Stepwise: true, AllowClear: true, Fault: at(b.cut, memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
				is(t, b.call(h), port.ErrClosed, port.ErrUncertain)
			}
			want(t, name+": entries after one part", infoOf(t, store, "out").Count, 1)
		}
	})

	bubble(t, "a settlement that is cut while it finishes another's step has settled nothing", func(t *testing.T) {
		store := memory.New(stepwise)
		g := member("in", "g", "c")
		join(t, store, g)
		write(t, store, "in", "i")
		r := fetch(t, store, g, 1)[0].Receipt
		cut := func(name string) *memory.Backend {
			return store.Open(memory.Config{Stepwise: true, Fault: at(name, memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		}
		is(t, cut("write").Write(t.Context(), batch), port.ErrClosed)
		then := port.Batch{Changes: []port.Change{{Key: "state", Value: []byte("2")}}}
		is(t, settle(t, cut("settle"), g, port.Settlement{Receipt: r, Then: then}), port.ErrClosed)
		ok(t, settle(t, store, g, port.Settlement{Receipt: r, Then: then}))
		want(t, "state", valueOf(t, store, "state"), "2")
	})

	bubble(t, "a batch that is written again is finished first, and then nothing", func(t *testing.T) {
		store := memory.New(stepwise)
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Err: errFlood} })})
		is(t, w.Write(t.Context(), batch), port.ErrUncertain)
		ok(t, w.Write(t.Context(), batch))
		want(t, "state", valueOf(t, store, "state"), "1")
		wantList(t, "out", logOf(t, store, "out"), "o1", "o2")
	})

	bubble(t, "a caller may use its slices again although its step is not finished", func(t *testing.T) {
		store := memory.New(stepwise)
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		mine := port.Batch{Messages: slices.Clone(batch.Messages)}
		is(t, w.Write(t.Context(), mine), port.ErrClosed)
		mine.Messages[0] = port.Message{Topic: "out", ID: "another"}
		wantList(t, "out", logOf(t, store, "out"), "o1", "o2")
	})

	bubble(t, "those who wait already are handed what a cut writer left", func(t *testing.T) {
		store := memory.New(stepwise)
		g := member("out", "g", "c")
		join(t, store, g)
		fetched, read := make(chan []port.Delivery), make(chan []port.Stored)
		go func() {
			list, err := store.Fetch(t.Context(), g, 5)
			if err != nil {
				t.Error(err)
			}
			fetched <- list
		}()
		go func() {
			list, err := store.Read(t.Context(), port.Range{Topic: "out", Max: 5, Wait: time.Hour})
			if err != nil {
				t.Error(err)
			}
			read <- list
		}()
		synctest.Wait()
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		is(t, w.Write(t.Context(), batch), port.ErrClosed)
		want(t, "read", len(<-read), 2)
		wantList(t, "fetched", idsOf(<-fetched), "o1", "o2")
	})

	bubble(t, "one who waits for the loan of a cut writer finishes its step instead", func(t *testing.T) {
		w := newWorld(t, stepwise)
		_, err := w.work(t, w.cutAt(1, stepwise))
		is(t, err, port.ErrClosed)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_, err = w.store.Fetch(ctx, member("in", "g", "next"), 1)
		is(t, err, context.DeadlineExceeded)
		want(t, "state", valueOf(t, w.store, "state"), "1")
		w.finished(t)
	})

	bubble(t, "what a decision fixes is fixed at once for others", func(t *testing.T) {
		store := memory.New(stepwise)
		ok(t, store.Declare(t.Context(), port.Topic{Name: "out", MaxCount: 2}))
		join(t, store, member("out", "g", "x"))
		tried := false
		w := during(store, func() {
			if tried {
				return
			}
			tried = true
			err := store.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "out", ID: "o2"}}})
			is(t, err, port.ErrDuplicate)
			err = store.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "out", ID: "o3"}}})
			is(t, err, port.ErrUnavailable)
			err = store.Write(t.Context(), port.Batch{Fence: port.Fence{Name: "term", Token: 1}, Messages: []port.Message{{Topic: "out", ID: "o4"}}})
			is(t, err, port.ErrStale)
		})
		fenced := batch
		fenced.Fence = port.Fence{Name: "term", Token: 2}
		ok(t, w.Write(t.Context(), fenced))
		want(t, "entries", infoOf(t, store, "out").Count, 2)
	})

	bubble(t, "of two entries with one ID the second repeats, though the first is not finished", func(t *testing.T) {
		store := memory.New(stepwise)
		ok(t, store.Declare(t.Context(), port.Topic{Name: "in", Window: -1}))
		g := member("in", "g", "c")
		g.Remember = time.Hour
		join(t, store, g)
		write(t, store, "in", "i", "i")
		list := fetch(t, store, g, 2)
		w := store.Open(memory.Config{Stepwise: true, Fault: at("settle", memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		then := port.Batch{Messages: []port.Message{{Topic: "out", ID: "o"}}}
		is(t, settle(t, w, g, port.Settlement{Receipt: list[0].Receipt, Then: then}), port.ErrClosed)
		err := settle(t, store, g, port.Settlement{Receipt: list[1].Receipt, Then: port.Batch{Messages: []port.Message{{Topic: "out", ID: "p"}}}})
		d, known := errors.AsType[*port.DuplicateError](err)
		if !known || !d.Whole {
			t.Fatalf("got %v, want a whole duplicate", err)
		}
		wantList(t, "out", logOf(t, store, "out"), "o")
	})

	bubble(t, "a clear finishes steps before it counts", func(t *testing.T) {
		store := memory.New(memory.Config{Stepwise: true, AllowClear: true})
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Cut: true} })})
		is(t, w.Write(t.Context(), batch), port.ErrClosed)
		n, err := store.Clear(t.Context())
		ok(t, err)
		want(t, "keys", n, 1)
	})

	bubble(t, "a dropped topic gets nothing from a step that began before", func(t *testing.T) {
		store := memory.New(stepwise)
		w := during(store, func() {
			if err := store.Drop(t.Context(), "out", ""); err != nil {
				is(t, err, port.ErrNotFound)
			}
		})
		ok(t, w.Write(t.Context(), batch))
		wantList(t, "out", logOf(t, store, "out"))
		want(t, "state", valueOf(t, store, "state"), "1")
	})

	bubble(t, "addressed, delayed and duplicate messages are parts like others", func(t *testing.T) {
		store := memory.New(stepwise)
		g := member("out", "g", "c")
		join(t, store, g)
		write(t, store, "out", "o1")
		w := store.Open(memory.Config{Stepwise: true, Fault: at("write", memory.Between, func() memory.Fault { return memory.Fault{Err: errFlood} })})
		is(t, w.Write(t.Context(), port.Batch{Messages: []port.Message{
			{Topic: "out", ID: "o1"},
			{Topic: "out", ID: "mine", Group: "g"},
			{Topic: "out", ID: "late", At: time.Now().Add(time.Minute)},
			{Topic: "out", ID: "o2"},
		}}), port.ErrUncertain)
		wantList(t, "now", idsOf(fetch(t, store, g, 9)), "mine", "o1", "o2")
		<-time.After(time.Minute)
		g.Consumer = "d"
		want(t, "later", slices.Contains(idsOf(fetch(t, store, g, 9)), "late"), true)
	})
}
