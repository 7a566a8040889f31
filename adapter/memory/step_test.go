package memory_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// world is a store with work for one worker: a message in "in", a state, and an entry to be taken out of "dead".
type world struct {
	store *memory.Backend // looks on, and finishes what others left
	in    port.Group      // the worker's
	dead  port.Offset
}

const stepParts = 6 // of the step below, with the acknowledgement

func newWorld(t *testing.T, conf memory.Config) world {
	t.Helper()
	conf.Fault = nil
	w := world{store: memory.New(conf), in: member("in", "g", "worker")}
	w.in.Remember = time.Hour
	join(t, w.store, w.in, member("out", "g", "x"))
	write(t, w.store, "in", "i")
	write(t, w.store, "dead", "d")
	_, err := w.store.Apply(t.Context(), port.Change{Key: "state", Value: []byte("0")})
	ok(t, err)
	list, err := w.store.Read(t.Context(), port.Range{Topic: "dead", Max: 1})
	ok(t, err)
	w.dead = list[0].Offset
	return w
}

// work handles the message once, as a worker of its own: its step has two messages, two changes and a removal.
func (w world) work(t *testing.T, b *memory.Backend) (port.Receipt, error) {
	t.Helper()
	list, err := b.Fetch(t.Context(), w.in, 1)
	if err != nil {
		return "", err
	}
	then := port.Batch{
		Messages: []port.Message{{Topic: "out", ID: "o1"}, {Topic: "out", ID: "o2"}},
		Changes:  []port.Change{{Key: "state", Value: []byte("1"), If: port.Equals, Old: []byte("0")}, {Key: "other", Value: []byte("1")}},
		Removes:  []port.Removal{{Topic: "dead", Offset: w.dead}},
	}
	return list[0].Receipt, b.Settle(t.Context(), w.in, port.Settlement{Receipt: list[0].Receipt, Then: then})[0]
}

// finished fails the test unless all of the step happened, once.
func (w world) finished(t *testing.T) {
	t.Helper()
	want(t, "state", valueOf(t, w.store, "state"), "1")
	want(t, "other", valueOf(t, w.store, "other"), "1")
	wantList(t, "out", logOf(t, w.store, "out"), "o1", "o2")
	wantList(t, "dead", logOf(t, w.store, "dead"))
	<-time.After(loan)
	w.in.Consumer = "next"
	wantList(t, "the input after the loan", idsOf(fetch(t, w.store, w.in, 1)))
}

// cutAt opens a worker that is cut at the n-th point of its Settle, from 0.
func (w world) cutAt(n int, conf memory.Config) *memory.Backend {
	point := 0
	conf.Fault = func(op memory.Op) memory.Fault {
		if op.Name != "settle" {
			return memory.Fault{}
		}
		point++
		return memory.Fault{Cut: point-1 == n}
	}
	return w.store.Open(conf)
}

func TestAStepThatWasDecidedIsFinishedByWhoeverMeetsIt(t *testing.T) {
	conf := memory.Config{Stepwise: true}
	meetings := map[string]func(t *testing.T, w world, r port.Receipt){
		"changes one of its keys": func(t *testing.T, w world, _ port.Receipt) {
			a, err := w.store.Apply(t.Context(), port.Change{Key: "state", Value: []byte("9"), If: port.Equals, Old: []byte("0")})
			ok(t, err)
			want(t, "a condition on what was before the step", a[0].Done, false)
		},
		"counts on one of its keys": func(t *testing.T, w world, _ port.Receipt) {
			sum, err := w.store.Add(t.Context(), "other", 0, 0)
			ok(t, err)
			want(t, "sum", sum, 1)
		},
		"makes a step with one of its keys": func(t *testing.T, w world, _ port.Receipt) {
			err := w.store.Write(t.Context(), port.Batch{
				Messages: []port.Message{{Topic: "late", ID: "l"}},
				Changes:  []port.Change{{Key: "other", If: port.Absent}},
			})
			is(t, err, port.ErrConflict)
			wantList(t, "late", logOf(t, w.store, "late"))
		},
		"removes what it removes": func(t *testing.T, w world, _ port.Receipt) {
			is(t, w.store.Write(t.Context(), port.Batch{Removes: []port.Removal{{Topic: "dead", Offset: w.dead}}}), port.ErrNotFound)
		},
		"fetches what it wrote": func(t *testing.T, w world, _ port.Receipt) {
			wantList(t, "out", idsOf(fetch(t, w.store, member("out", "g", "x"), 5)), "o1", "o2")
		},
		"reads what it wrote": func(t *testing.T, w world, _ port.Receipt) {
			wantList(t, "out", logOf(t, w.store, "out"), "o1", "o2")
		},
		"reads where it removes": func(t *testing.T, w world, _ port.Receipt) {
			wantList(t, "dead", logOf(t, w.store, "dead"))
		},
		"settles its message again": func(t *testing.T, w world, r port.Receipt) {
			is(t, settle(t, w.store, w.in, port.Settlement{Receipt: r}), port.ErrStale)
		},
		"would be handed its message again": func(t *testing.T, w world, _ port.Receipt) {
			<-time.After(loan)
			wantList(t, "in", idsOf(fetch(t, w.store, member("in", "g", "next"), 1)))
		},
		"drops its group": func(t *testing.T, w world, _ port.Receipt) {
			ok(t, w.store.Drop(t.Context(), "in", "g"))
			ok(t, w.store.Join(t.Context(), port.Group{Topic: "in", Name: "g", Loan: loan, From: port.Latest}))
		},
	}
	for name, meet := range meetings {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= stepParts; n++ { // after the decision and before each part
				bubble(t, "at part "+string(rune('0'+n)), func(t *testing.T) {
					w := newWorld(t, conf)
					r, err := w.work(t, w.cutAt(n, conf))
					is(t, err, port.ErrClosed, port.ErrUncertain)
					is(t, w.store.Extend(t.Context(), w.in, port.Hold{Receipt: r})[0], port.ErrStale)
					meet(t, w, r)
					// Whoever met it finished all of it, so even Get, which finishes nothing, sees the whole.
					want(t, "state", valueOf(t, w.store, "state"), "1")
					want(t, "other", valueOf(t, w.store, "other"), "1")
					want(t, "entries of out", infoOf(t, w.store, "out").Count, 2)
					want(t, "entries of dead", infoOf(t, w.store, "dead").Count, 0)
					w.finished(t)
				})
			}
		})
	}
}

func TestAWorkerThatIsCutAnywhereLosesNothingAndAppliesNothingTwice(t *testing.T) {
	for name, conf := range map[string]memory.Config{"atomic": {}, "stepwise": {Stepwise: true}} {
		t.Run(name, func(t *testing.T) {
			for n, cut := 0, true; cut; n++ {
				bubble(t, "cut at point "+string(rune('a'+n)), func(t *testing.T) {
					w := newWorld(t, conf)
					_, err := w.work(t, w.cutAt(n, conf))
					if cut = err != nil; !cut {
						return
					}
					<-time.After(loan)
					w.in.Consumer = "second"
					if list := fetch(t, w.store, w.in, 1); len(list) > 0 {
						want(t, "lost", list[0].Lost, 1)
						ok(t, settle(t, w.store, w.in, port.Settlement{Receipt: list[0].Receipt, Verdict: port.Release}))
						_, err := w.work(t, w.store)
						ok(t, err)
					}
					w.finished(t)
				})
			}
		})
	}
}
