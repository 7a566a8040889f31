package envelope_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/envelope"
)

func TestContext(t *testing.T) {
	t.Run("a context without a message has none", func(t *testing.T) {
		m, hasMeta := envelope.From(t.Context())
		at, hasPlace := envelope.PlaceFrom(t.Context())
		if hasMeta || hasPlace || !reflect.DeepEqual(m, envelope.Meta{}) || at != (envelope.Place{}) || envelope.IdempotencyKey(t.Context()) != "" {
			t.Error(m, hasMeta, at, hasPlace)
		}
	})
	t.Run("each part is kept when another is set, in any order", func(t *testing.T) {
		m, at := full(), envelope.Place{Topic: "orders", Group: "billing", Attempt: 2}
		one := envelope.WithIdempotencyKey(envelope.WithPlace(envelope.With(t.Context(), m), at), "k")
		two := envelope.With(envelope.WithPlace(envelope.WithIdempotencyKey(t.Context(), "k"), at), m)
		all := envelope.Enter(t.Context(), m, at, "k")
		for i, ctx := range []context.Context{one, two, all} {
			gotMeta, hasMeta := envelope.From(ctx)
			gotPlace, hasPlace := envelope.PlaceFrom(ctx)
			if !hasMeta || !hasPlace || !reflect.DeepEqual(gotMeta, m) || gotPlace != at || envelope.IdempotencyKey(ctx) != "k" {
				t.Errorf("%d: %+v %v %+v %v", i, gotMeta, hasMeta, gotPlace, hasPlace)
			}
		}
	})
	t.Run("a part alone is a part alone", func(t *testing.T) {
		ctx := envelope.WithPlace(t.Context(), envelope.Place{Topic: "t"})
		if _, ok := envelope.From(ctx); ok {
			t.Error("a place brought a message")
		}
		if _, ok := envelope.PlaceFrom(envelope.With(t.Context(), full())); ok {
			t.Error("a message brought a place")
		}
	})
	t.Run("an inner message hides the outer one, and only below", func(t *testing.T) {
		outer := envelope.With(t.Context(), envelope.Meta{ID: "outer"})
		inner := envelope.With(outer, envelope.Meta{ID: "inner"})
		a, _ := envelope.From(outer)
		b, _ := envelope.From(inner)
		if a.ID != "outer" || b.ID != "inner" {
			t.Error(a.ID, b.ID)
		}
	})
	t.Run("entering leaves nothing of an outer message", func(t *testing.T) {
		ctx := envelope.Enter(envelope.Enter(t.Context(), full(), envelope.Place{Phase: "plan"}, "k"), envelope.Meta{ID: "2"}, envelope.Place{}, "")
		m, _ := envelope.From(ctx)
		at, _ := envelope.PlaceFrom(ctx)
		if m.ID != "2" || at.Phase != "" || envelope.IdempotencyKey(ctx) != "" {
			t.Error(m, at)
		}
	})
	t.Run("values, the end and its cause pass through", func(t *testing.T) {
		type key struct{}
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
		below, stop := context.WithCancel(envelope.With(ctx, full()))
		defer stop()
		if below.Value(key{}) != "v" {
			t.Error("the value is lost")
		}
		cancel(why)
		<-below.Done()
		if !errors.Is(context.Cause(below), why) {
			t.Error(context.Cause(below))
		}
	})
}

func TestDerive(t *testing.T) {
	t.Run("a message outside of any is a root: its corrId is its id", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := envelope.Derive(t.Context(), envelope.Meta{Type: "t"})
			if m.ID == "" || m.CorrID != m.ID || m.CauseID != "" || !m.At.Equal(time.Now()) || m.At.Location() != time.UTC {
				t.Errorf("%+v", m)
			}
		})
	})
	t.Run("what the message says stays", func(t *testing.T) {
		ctx := envelope.With(t.Context(), envelope.Meta{ID: "in", CorrID: "c", Tenant: "acme"})
		want := full()
		if got := envelope.Derive(ctx, want); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("an input without corrId gives its id", func(t *testing.T) {
		if m := envelope.Derive(envelope.With(t.Context(), envelope.Meta{ID: "in"}), envelope.Meta{}); m.CorrID != "in" || m.CauseID != "in" {
			t.Errorf("%+v", m)
		}
	})
	t.Run("a place alone gives nothing", func(t *testing.T) {
		if m := envelope.Derive(envelope.WithPlace(t.Context(), envelope.Place{Topic: "t"}), envelope.Meta{}); m.CorrID != m.ID || m.CauseID != "" {
			t.Errorf("%+v", m)
		}
	})
	for _, c := range []struct {
		name             string
		input, own, want map[string]string
	}{
		{"no trace, no headers", map[string]string{"other": "x"}, nil, nil},
		{"the trace is taken over, other headers are not", map[string]string{"traceparent": "p", "tracestate": "s", "other": "x"}, nil, map[string]string{"traceparent": "p", "tracestate": "s"}},
		{"a trace without state", map[string]string{"traceparent": "p"}, map[string]string{"a": "b", "tracestate": "stray"}, map[string]string{"a": "b", "traceparent": "p"}},
		{"an own trace stays, without the other's state", map[string]string{"traceparent": "p", "tracestate": "s"}, map[string]string{"traceparent": "q"}, map[string]string{"traceparent": "q"}},
		{"a state without a trace is nothing", map[string]string{"tracestate": "s"}, map[string]string{"a": "b"}, map[string]string{"a": "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := maps.Clone(c.own)
			m := envelope.Derive(envelope.With(t.Context(), envelope.Meta{ID: "in", Headers: c.input}), envelope.Meta{Headers: c.own})
			if !maps.Equal(m.Headers, c.want) || !maps.Equal(c.own, before) {
				t.Errorf("got %v, want %v; its own are %v", m.Headers, c.want, c.own)
			}
		})
	}
}

func TestCorrelationIsKeptBetweenPhases(t *testing.T) {
	// C31: correlation lost between phases. Each phase publishes under the context of its input, and says nothing of it.
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	root := envelope.Derive(t.Context(), envelope.Meta{Type: "plan.in", Tenant: "acme", Headers: map[string]string{"traceparent": trace}})
	input := root
	for _, phase := range []string{"plan", "code", "validate", "certify", "deploy"} {
		wire := mustAppend(t, input, "1")
		m, _ := mustParse(t, wire)
		ctx := envelope.Enter(t.Context(), m, envelope.Place{Topic: m.Type, Phase: phase}, m.ID)
		out := envelope.Derive(ctx, envelope.Meta{ID: envelope.DeriveIDAt(0, m.Type, m.ID, phase, phase+".out"), Type: phase + ".out"})
		if out.CorrID != root.ID || out.CauseID != input.ID || out.ID == input.ID || out.Tenant != "acme" || out.Headers["traceparent"] != trace {
			t.Fatalf("%s: %+v", phase, out)
		}
		input = out
	}
}
