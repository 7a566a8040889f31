package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

func subscribeBatch(t *testing.T, q port.Queue, g bus.Group, limit int, h bus.BatchHandler[order]) *subscription {
	return start(t, func(ctx context.Context) error { return orders.SubscribeBatch(ctx, q, g, limit, h) })
}

func TestABatchHasAVerdictForEachMessageAndOneOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var sizes, handled log
		for i := range 6 {
			publish(t, b, orders, order{fmt.Sprint(i), fmt.Sprint(i % 4), 1})
		}
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: orders.Name, ID: "raw", Body: []byte("{")}}}); err != nil {
			t.Fatal(err)
		}
		g := bus.Group{Name: "g", Workers: 1, Retry: retry.Backoff{Tries: 2}, Log: quiet}
		s := subscribeBatch(t, b, g, 10, func(_ context.Context, ms []bus.Message[order]) []error {
			sizes.add("%d", len(ms))
			keys := map[string]bool{}
			errs := make([]error, len(ms))
			for i, m := range ms {
				if keys[m.Key] {
					t.Error("two of one key in a batch")
				}
				keys[m.Key] = true
				if m.Payload.ID == "2" {
					errs[i] = errors.New("not this one")
					continue
				}
				bus.Emit(m, shipped, shipment{m.Payload.ID})
				handled.add("%s", m.Payload.ID)
			}
			return errs
		})
		<-time.After(time.Minute)
		s.end()
		if got := sizes.all(); got[0] != "4" {
			t.Errorf("batches of %s", got)
		}
		if got := handled.all(); len(got) != 5 {
			t.Errorf("handled %s", got)
		}
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 2 {
			t.Errorf("%d dead letters", len(ds))
		}
		out, err := b.Read(t.Context(), port.Range{Topic: shipped.Name, Max: 100})
		if len(out) != 5 || err != nil {
			t.Errorf("%d came out, %v", len(out), err)
		}
		empty(t, b, orders.Name, "g")
	})
}

func TestABatchWhoseHandlerPanicsOrMiscountsFailsWhole(t *testing.T) {
	for name, h := range map[string]bus.BatchHandler[order]{
		"panics":                    func(context.Context, []bus.Message[order]) []error { panic("whole") },
		"1 verdicts for 2 messages": func(context.Context, []bus.Message[order]) []error { return make([]error, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Config{})
				if _, err := orders.PublishAll(t.Context(), b, bus.Out[order]{}, bus.Out[order]{}); err != nil {
					t.Fatal(err)
				}
				s := subscribeBatch(t, b, bus.Group{Name: "g", Workers: 1, Retry: retry.Backoff{Tries: 1}, Log: quiet}, 10, h)
				<-time.After(time.Minute)
				s.end()
				ds := dead(t, b, orders.Name, "g")
				if len(ds) != 2 || name != "panics" && !strings.Contains(ds[0].Reason, name) {
					t.Errorf("%+v", ds)
				}
			})
		})
	}
}

func TestABatchOfNothingThatDecodesDoesNotReachTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		texts := bus.Topic[string]{Name: orders.Name}
		publish(t, b, texts, "no order")
		s := subscribeBatch(t, b, bus.Group{Name: "g", Log: quiet}, 10, func(context.Context, []bus.Message[order]) []error {
			t.Error("it was handled")
			return nil
		})
		synctest.Wait()
		s.end()
		if ds := dead(t, b, orders.Name, "g"); len(ds) != 1 {
			t.Errorf("%+v", ds)
		}
	})
}

// C28: options that nobody reads.
func TestWhatABatchCannotHonourIsRefused(t *testing.T) {
	b := memory.New(memory.Config{})
	for name, err := range map[string]error{
		"no messages": orders.SubscribeBatch(t.Context(), b, bus.Group{Name: "g"}, 0, nil),
		"middleware":  orders.SubscribeBatch(t.Context(), b, bus.Group{Name: "g", Use: []bus.Middleware{nil}}, 1, nil),
		"a bad group": orders.SubscribeBatch(t.Context(), b, bus.Group{Name: "g.x"}, 1, nil),
	} {
		if !errors.Is(err, port.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// C28: options that nobody reads; C29: waiting at the start for what cannot come.
func TestAGroupThatCannotWorkIsRefusedBeforeAnythingHappens(t *testing.T) {
	b := memory.New(memory.Config{})
	for name, g := range map[string]bus.Group{
		"no name":           {},
		"a dotted name":     {Name: "a.b"},
		"negative workers":  {Name: "g", Workers: -1},
		"a short loan":      {Name: "g", Loan: time.Millisecond},
		"negative timeout":  {Name: "g", Timeout: -1},
		"negative crashes":  {Name: "g", Crashes: -1},
		"a wild backoff":    {Name: "g", Retry: retry.Backoff{Jitter: 2}},
		"a worker's name":   {Name: "g", Worker: "two words"},
		"a foreign offset":  {Name: "g", From: "elsewhere"},
		"a very long group": {Name: strings.Repeat("g", 200)},
	} {
		err := orders.Subscribe(t.Context(), b, g, func(context.Context, bus.Message[order]) error { return nil })
		if !errors.Is(err, port.ErrInvalid) && !errors.Is(err, port.ErrGap) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (bus.Topic[order]{Name: "no topic"}).Subscribe(t.Context(), b, bus.Group{Name: "g"}, nil); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	long := bus.Group{Name: "g", Worker: strings.Repeat("w", port.MaxName)}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := orders.Subscribe(ctx, b, long, nil); err != nil {
		t.Errorf("a long worker's name: %v", err)
	}
}

// C11: a start position that flips between first and last.
func TestANewGroupStartsWhereItSaysAndAnOldOneStaysWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		for name, want := range map[string]string{"all": "[before after]", "new": "[after]"} {
			from := map[string]port.Offset{"all": port.Earliest, "new": port.Latest}
			var l log
			again := func(from port.Offset) {
				s := subscribe(t, b, bus.Topic[order]{Name: "orders." + name}, bus.Group{Name: "g", From: from, Workers: 1}, func(_ context.Context, m bus.Message[order]) error {
					l.add("%s", m.Payload.ID)
					return nil
				})
				synctest.Wait()
				s.end()
			}
			topic := bus.Topic[order]{Name: "orders." + name}
			publish(t, b, topic, order{ID: "before"})
			again(from[name])
			publish(t, b, topic, order{ID: "after"})
			again(port.Earliest)
			again(port.Latest)
			if got := fmt.Sprint(l.all()); got != want {
				t.Errorf("%s handled %s, want %s", name, got, want)
			}
		}
	})
}

// Batches share memory: the bodies of small messages that leave together, and what a worker hands to its handler.
func TestMessagesOfOneBatchDoNotReachIntoEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		bare := bus.Topic[[]byte]{Name: "raw.bodies", Codec: envelope.Bytes{}, Bare: true}
		var want []string
		var outs []bus.Out[[]byte]
		for i := range 200 {
			body := strings.Repeat(string(rune('a'+i%26)), []int{0, 1, 7, 300, 2000}[i%5])
			want = append(want, body)
			outs = append(outs, bus.Out[[]byte]{Payload: []byte(body)})
		}
		var got log
		var kept []bus.Message[[]byte]
		g := bus.Group{Name: "g", Workers: 1, Log: quiet}
		s := start(t, func(ctx context.Context) error {
			return bare.SubscribeBatch(ctx, b, g, 16, func(_ context.Context, ms []bus.Message[[]byte]) []error {
				for _, m := range ms {
					got.add("%s", m.Payload)
					_ = append(m.Payload, "behind it"...)
				}
				kept = ms
				return nil
			})
		})
		synctest.Wait()
		ids, err := bare.PublishAll(t.Context(), b, outs...)
		if err != nil || len(ids) != len(outs) {
			t.Fatal(len(ids), err)
		}
		synctest.Wait()
		s.end()
		if !slices.Equal(got.all(), want) {
			t.Errorf("bodies changed on their way")
		}
		if len(kept) == 0 || kept[0].ID != "" || kept[0].Payload != nil {
			t.Errorf("who kept messages beyond the handler's return still finds them: %q", kept[0].ID)
		}
	})
}
