package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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

// dead lists the dead letters of a group.
func dead(t *testing.T, q port.Queue, topic, name string) []bus.DeadLetter {
	t.Helper()
	var all []bus.DeadLetter
	for d, err := range (bus.Dead{Queue: q, Topic: topic, Group: name}).List(t.Context(), bus.DeadFilter{}) {
		if err != nil {
			t.Error(err)
		}
		all = append(all, d)
	}
	return all
}

// empty reports an error when the group has not finished everything.
func empty(t *testing.T, q port.Queue, topic, name string) {
	t.Helper()
	if g := group(t, q, topic, name); g.Lag+g.Loaned+g.Delayed != 0 {
		t.Errorf("group %s of %s has left over %+v", name, topic, g)
	}
}

func TestAPanicIsAFailureAndItsStackIsInTheDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		cause := errors.New("index out of luck")
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(context.Context, bus.Message[order]) error { panic(cause) })
		publish(t, b, orders, order{ID: "1"})
		<-time.After(time.Minute)
		s.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != 1 || ds[0].Attempts != 5 || ds[0].Reason != "panic: index out of luck" || !strings.Contains(ds[0].Stack, "verdict_test.go") {
			t.Errorf("%+v", ds)
		}
	})
}

func TestAHandlerThatEndsItsGoroutineFailsAndItsWorkerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var l log
		s := subscribe(t, b, orders, bus.Group{Name: "g", Workers: 1, Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			if m.Payload.ID == "exit" && m.Attempt == 0 {
				runtime.Goexit()
			}
			l.add("%s/%d", m.Payload.ID, m.Attempt)
			return nil
		})
		publish(t, b, orders, order{ID: "exit"})
		publish(t, b, orders, order{ID: "next"})
		<-time.After(time.Minute)
		s.end()
		if got := fmt.Sprint(l.all()); got != "[next/0 exit/1]" {
			t.Errorf("handled %s", got)
		}
	})
}

func TestPermanentDiesAtOnceAndAfterWaitsAsLongAsItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		start := time.Now()
		var again time.Duration
		s := subscribe(t, b, orders, bus.Group{Name: "g", Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			switch {
			case m.Payload.ID == "permanent":
				return fmt.Errorf("wrapped: %w", retry.Permanent(errors.New("no")))
			case m.Attempt == 0:
				return retry.After(time.Hour, errors.New("busy"))
			}
			again = time.Since(start)
			return nil
		})
		publish(t, b, orders, order{ID: "permanent"})
		publish(t, b, orders, order{ID: "after"})
		<-time.After(2 * time.Hour)
		s.end()
		if ds := dead(t, b, orders.Name, "g"); len(ds) != 1 || ds[0].Attempts != 1 {
			t.Errorf("%+v", ds)
		}
		if again < time.Hour || again > time.Hour+time.Second {
			t.Errorf("it came again after %v", again)
		}
	})
}

func TestAHandlerHasItsTimeAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		g := bus.Group{Name: "g", Timeout: time.Second, Retry: retry.Backoff{Tries: 1}, Log: quiet}
		s := subscribe(t, b, orders, g, func(ctx context.Context, _ bus.Message[order]) error {
			<-ctx.Done()
			return ctx.Err()
		})
		publish(t, b, orders, order{ID: "1"})
		<-time.After(time.Minute)
		s.end()
		if ds := dead(t, b, orders.Name, "g"); len(ds) != 1 || ds[0].Reason != context.DeadlineExceeded.Error() {
			t.Errorf("%+v", ds)
		}
	})
}

func TestWhatDoesNotDecodeGoesToTheDeadLettersAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		typed, err := envelope.Append(nil, envelope.Derive(t.Context(), envelope.Meta{Type: "x", Tenant: "acme"}), []byte(`"no order"`))
		if err != nil {
			t.Fatal(err)
		}
		bodies := [][]byte{[]byte("\xff\xfe\x00 no JSON"), []byte(` {"id": "spaces and <html> & more"} `), []byte(`{}`), {}, typed}
		for i, body := range bodies {
			if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: orders.Name, ID: fmt.Sprintf("%d\xff", i), Body: body}}}); err != nil {
				t.Fatal(err)
			}
		}
		s := subscribe(t, b, orders, bus.Group{Name: "g", Workers: 1, Log: quiet}, func(context.Context, bus.Message[order]) error {
			t.Error("it was handled")
			return nil
		})
		<-time.After(time.Minute)
		s.end()
		ds := dead(t, b, orders.Name, "g")
		if len(ds) != len(bodies) {
			t.Fatalf("%d dead letters", len(ds))
		}
		for i, d := range ds {
			if !bytes.Equal(d.Body, bodies[i]) {
				t.Errorf("%q became %q", bodies[i], d.Body)
			}
		}
		if last := ds[len(ds)-1]; last.Tenant != "acme" || !strings.Contains(last.Reason, "does not decode") {
			t.Errorf("%+v", last)
		}
		empty(t, b, orders.Name, "g")
		if n, err := (bus.Dead{Queue: b, Topic: orders.Name, Group: "g"}).Redrive(t.Context(), bus.DeadFilter{}); n != len(bodies) || err != nil {
			t.Errorf("redrove %d, %v", n, err)
		}
	})
}

func TestMiddlewareIsAroundTheHandlerInOrderAndSeesTheRawPayloadAndTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var l log
		named := func(name string) bus.Middleware {
			return func(next bus.Handler[[]byte]) bus.Handler[[]byte] {
				return func(ctx context.Context, m bus.Message[[]byte]) error {
					l.add("%s in %s", name, m.Payload)
					err := next(ctx, m)
					l.add("%s out %v", name, err)
					return err
				}
			}
		}
		var lines bytes.Buffer
		logged := bus.Logged(slog.New(envelope.LogHandler(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		off := bus.Logged(quiet)
		topic := bus.Topic[int]{Name: "numbers"}
		s := subscribe(t, b, topic, bus.Group{Name: "g", Use: []bus.Middleware{named("outer"), logged, off, named("inner")}, Log: quiet},
			func(ctx context.Context, m bus.Message[int]) error { return bus.Reject(errors.New("odd")) })
		id := publish(t, b, topic, 7)
		synctest.Wait()
		s.end()
		if got, want := fmt.Sprint(l.all()), "[outer in 7 inner in 7 inner out odd outer out odd]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line["corrId"] != id || line["error"] != "odd" {
			t.Errorf("logged %s, %v", lines.Bytes(), err)
		}
	})
}

// C30, C31: logs that drop their fields, correlation lost between phases.
func TestCorrelationGoesThroughEveryHopAndEveryLineWithoutBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		var lines bytes.Buffer
		logger := slog.New(envelope.LogHandler(slog.NewJSONHandler(&lines, nil)))
		type hop struct{ id, corr, cause, tenant, key string }
		var hops []hop
		note := func(ctx context.Context, m envelope.Meta) {
			logger.InfoContext(ctx, "hop", "own", 1)
			hops = append(hops, hop{m.ID, m.CorrID, m.CauseID, m.Tenant, envelope.IdempotencyKey(ctx)})
		}
		g := bus.Group{Name: "g", Workers: 1, Log: quiet}
		third := bus.Topic[int]{Name: "orders.third"}
		s1 := subscribe(t, b, orders, g, func(ctx context.Context, m bus.Message[order]) error {
			note(ctx, m.Meta)
			bus.Emit(m, shipped, shipment{m.Payload.ID})
			return nil
		})
		s2 := subscribe(t, b, shipped, g, func(ctx context.Context, m bus.Message[shipment]) error {
			note(ctx, m.Meta)
			_, err := third.Publish(ctx, b, 3)
			return err
		})
		s3 := subscribe(t, b, third, g, func(ctx context.Context, m bus.Message[int]) error {
			note(ctx, m.Meta)
			return nil
		})
		if _, err := orders.PublishAll(t.Context(), b, bus.Out[order]{Payload: order{ID: "1"}, Tenant: "acme"}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		s1.end()
		s2.end()
		s3.end()
		if len(hops) != 3 {
			t.Fatalf("%d hops", len(hops))
		}
		for i, h := range hops {
			if h.corr != hops[0].id || h.tenant != "acme" || i > 0 && h.cause != hops[i-1].id || !strings.HasSuffix(h.key, "/g/"+h.id) {
				t.Errorf("hop %d: %+v", i, h)
			}
		}
		for line := range strings.Lines(lines.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"corrId", "tenantId", "topic", "group", "own"} {
				if fields[name] == nil {
					t.Errorf("the line %s has no %s", line, name)
				}
			}
		}
	})
}

func TestVerdictsHaveTextEvenWithoutACause(t *testing.T) {
	cause := errors.New("cause")
	if err := bus.Reject(nil); err.Error() != "rejected" || !errors.Is(err, bus.ErrRejected) {
		t.Error(err)
	}
	if err := bus.Reject(cause); err.Error() != "cause" || !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := bus.Later(0, nil); err.Error() != "later" || !errors.Is(err, bus.ErrLater) {
		t.Error(err)
	}
	if err := bus.Later(0, cause); err.Error() != "cause" || !errors.Is(err, cause) {
		t.Error(err)
	}
}
