package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// C4: a reason that no backend takes kept its message in hand for ever.
func TestAReasonOfAnyTextIsCutToWhatThePortTakes(t *testing.T) {
	for name, text := range map[string]string{
		"a character on the border":      strings.Repeat("x", port.MaxReason-1) + "é and more",
		"an emoji on the border":         strings.Repeat("x", port.MaxReason-3) + "😀 and more",
		"bytes that are no text":         strings.Repeat("x\xff", port.MaxReason),
		"bytes that are no text, a few":  strings.Repeat("x\xff", port.MaxReason/2-3),
		"nothing but bytes":              strings.Repeat("\xff", 3*port.MaxReason),
		"exactly as long as it may be":   strings.Repeat("é", port.MaxReason/2),
		"none at all, which is a reason": "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Config{})
				var last string
				s := subscribe(t, b, orders, bus.Group{Name: "g", Retry: retry.Backoff{Tries: 2}, Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
					last = m.LastError
					return errors.New(text)
				})
				publish(t, b, orders, order{ID: "1"})
				<-time.After(time.Minute)
				s.end()
				empty(t, b, orders.Name, "g")
				ds := dead(t, b, orders.Name, "g")
				if len(ds) != 1 || ds[0].Reason != last || !utf8.ValidString(last) || len(last) > port.MaxReason || len(last) < min(len(text), port.MaxReason)/2 && !strings.HasPrefix(text, "\xff") {
					t.Errorf("%d dead letters, the reason has %d bytes of %d", len(ds), len(last), len(text))
				}
			})
		})
	}
}

// nasty is an error that cannot even be told.
type nasty struct{ text string }

func (n *nasty) Error() string { return n.text }

func TestAnErrorThatCannotBeToldIsAPanicAndNotTheEndOfTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := bus.Group{Name: "g", Retry: retry.Backoff{Tries: 1}, Log: quiet}
		var none *nasty
		one := subscribe(t, b, orders, g, func(context.Context, bus.Message[order]) error { return none })
		publish(t, b, orders, order{ID: "1"})
		synctest.Wait()
		one.end()
		many := subscribeBatch(t, b, g, 2, func(_ context.Context, ms []bus.Message[order]) []error {
			errs := make([]error, len(ms))
			errs[0] = none
			return errs
		})
		publish(t, b, orders, order{ID: "2"})
		synctest.Wait()
		many.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 2 || !strings.HasPrefix(ds[0].Reason, "panic: ") || !strings.HasPrefix(ds[1].Reason, "panic: ") {
			t.Errorf("%+v", ds)
		}
	})
}

// explosive panics on the payload "boom".
type explosive struct{ envelope.JSON[string] }

func (c explosive) Decode(src []byte, s *string) error {
	if string(src) == `"boom"` {
		panic("boom")
	}
	return c.JSON.Decode(src, s)
}

func TestACodecThatPanicsFailsItsMessageAlone(t *testing.T) {
	topic := bus.Topic[string]{Name: "texts", Codec: explosive{}}
	g := bus.Group{Name: "g", Workers: 1, Retry: retry.Backoff{Tries: 1}, Log: quiet}
	var l log
	for name, run := range map[string]func(b *memory.Backend) func(context.Context) error{
		"one by one": func(b *memory.Backend) func(context.Context) error {
			return func(ctx context.Context) error {
				return topic.Subscribe(ctx, b, g, func(_ context.Context, m bus.Message[string]) error { l.add("%s", m.Payload); return nil })
			}
		},
		"in batches": func(b *memory.Backend) func(context.Context) error {
			return func(ctx context.Context) error {
				return topic.SubscribeBatch(ctx, b, g, 10, func(_ context.Context, ms []bus.Message[string]) []error {
					for _, m := range ms {
						l.add("%s", m.Payload)
					}
					return nil
				})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l.lines = nil
				b := memory.New(memory.Config{})
				for _, text := range []string{"a", "boom", "b"} {
					publish(t, b, topic, text)
				}
				s := start(t, run(b))
				<-time.After(time.Minute)
				s.end()
				ds := dead(t, b, topic.Name, "g")
				if got := fmt.Sprint(l.all()); got != "[a b]" || len(ds) != 1 || ds[0].Reason != "panic: boom" || ds[0].Stack == "" {
					t.Errorf("handled %s, dead %+v", got, ds)
				}
			})
		})
	}
}

func TestABatchThatEndsItsGoroutineDoesNotSaveWhatIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		publish(t, b, bus.Topic[string]{Name: orders.Name}, "no order")
		publish(t, b, orders, order{ID: "1"})
		s := subscribeBatch(t, b, bus.Group{Name: "g", Workers: 1, Log: quiet}, 10, func(context.Context, []bus.Message[order]) []error {
			runtime.Goexit()
			return nil
		})
		<-time.After(time.Minute)
		s.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 2 || ds[0].Attempts != 1 || ds[1].Attempts != 5 || !strings.Contains(ds[0].Reason, "does not decode") {
			t.Errorf("%+v", ds)
		}
	})
}

func TestADeadLetterKeepsABodyOfAnyBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
		bodies := []string{
			"null", `""`, "0", "1e400", `"` + "\xff" + `"`, `{"a":1,"a":2}`, "{\"\u2028\":\"<&>\"}", "1 ", "\n{}", deep(9_990), deep(9_998), deep(9_999), deep(10_000), deep(10_001),
			`1},"body":{"x":2`, `{"id":"1","type":"x"`, "\x00", "\ufeff{}",
		}
		for i, body := range bodies {
			if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: orders.Name, ID: fmt.Sprint(i), Key: "k\xff", Body: []byte(body)}}}); err != nil {
				t.Fatal(err)
			}
		}
		d := bus.Dead{Queue: b, Topic: orders.Name, Group: "g"}
		for range 2 { // also once more after a redrive
			s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(context.Context, bus.Message[order]) error { return nil })
			<-time.After(time.Minute)
			s.end()
			empty(t, b, orders.Name, "g")
			ds := dead(t, b, orders.Name, "g")
			if len(ds) != len(bodies) {
				t.Fatalf("%d dead letters of %d", len(ds), len(bodies))
			}
			for i, letter := range ds {
				if !bytes.Equal(letter.Body, []byte(bodies[i])) {
					t.Errorf("%.40q became %.40q", bodies[i], letter.Body)
				}
				if letter.Key != "k\xff" {
					t.Errorf("the key of %.40q became %q", bodies[i], letter.Key)
				}
			}
			if n, err := d.Redrive(t.Context(), bus.DeadFilter{}); n != len(bodies) || err != nil {
				t.Fatalf("redrove %d, %v", n, err)
			}
		}
		for i, e := range fetched(t, b, orders.Name, len(bodies)) {
			if e.Message.Key != "k\xff" || string(e.Message.Body) != bodies[i] {
				t.Errorf("%.40q came back as %.40q under the key %q", bodies[i], e.Message.Body, e.Message.Key)
			}
		}
	})
}

// fetched is what the group g is handed now.
func fetched(t *testing.T, q port.Queue, topic string, limit int) []port.Delivery {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	ds, err := q.Fetch(ctx, port.Group{Topic: topic, Name: "g", Consumer: "by-hand", Loan: time.Minute}, limit)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}
