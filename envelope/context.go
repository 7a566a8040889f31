package envelope

import (
	"cmp"
	"context"
	"maps"
	"time"
)

// The headers of W3C Trace Context, which a derived message takes over.
const (
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

// Place is where a message is handled.
type Place struct {
	Topic   string
	Group   string
	Worker  string // who handles it; default none
	Attempt int    // failures so far; 0 is the first try
	Phase   string // the step of a pipeline; default none
}

// scope is what a context carries: all of it in one node, so that one look finds it.
type scope struct {
	context.Context
	meta           Meta
	place          Place
	hasMeta        bool
	hasPlace       bool
	idempotencyKey string
}

type scopeKey struct{}

// Value finds the scope itself, and else what is further up.
func (s *scope) Value(key any) any {
	if _, ok := key.(scopeKey); ok {
		return s
	}
	return s.Context.Value(key)
}

// scopeOf is what ctx carries; nil for nothing.
func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// within is a new scope around ctx that holds what ctx carries.
func within(ctx context.Context) *scope {
	s := &scope{}
	if outer := scopeOf(ctx); outer != nil {
		*s = *outer
	}
	s.Context = ctx
	return s
}

// Enter is the context in which a message is handled: [With], [WithPlace] and [WithIdempotencyKey] at once, for one allocation.
func Enter(ctx context.Context, m Meta, at Place, idempotencyKey string) context.Context {
	return &scope{Context: ctx, meta: m, hasMeta: true, place: at, hasPlace: true, idempotencyKey: idempotencyKey}
}

// With is ctx while the message m is handled: what is logged and published under it belongs to m.
func With(ctx context.Context, m Meta) context.Context {
	s := within(ctx)
	s.meta, s.hasMeta = m, true
	return s
}

// From is the message that is handled; false where none is.
func From(ctx context.Context) (Meta, bool) {
	if s := scopeOf(ctx); s != nil {
		return s.meta, s.hasMeta
	}
	return Meta{}, false
}

// WithPlace is ctx at a place.
func WithPlace(ctx context.Context, at Place) context.Context {
	s := within(ctx)
	s.place, s.hasPlace = at, true
	return s
}

// PlaceFrom is where the message is handled; false where none is.
func PlaceFrom(ctx context.Context) (Place, bool) {
	if s := scopeOf(ctx); s != nil {
		return s.place, s.hasPlace
	}
	return Place{}, false
}

// WithIdempotencyKey is ctx for work that is named by key: the same key on each try.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	s := within(ctx)
	s.idempotencyKey = key
	return s
}

// IdempotencyKey names the work that is done, for side effects that must not happen twice; "" where nothing named it.
func IdempotencyKey(ctx context.Context) string {
	if s := scopeOf(ctx); s != nil {
		return s.idempotencyKey
	}
	return ""
}

// Derive completes the Meta of a new message. What m says stays. ID is a [NewID] and At is now by default. Under the handling of
// a message, CorrID and Tenant are by default that message's, CauseID its ID, and the trace headers its own, unless m has a
// traceparent. Elsewhere the message is a root: CorrID is its ID. m.Headers is not modified.
func Derive(ctx context.Context, m Meta) Meta {
	if m.ID == "" {
		m.ID = NewID()
	}
	if m.At.IsZero() {
		m.At = time.Now().UTC()
	}
	if s := scopeOf(ctx); s != nil && s.hasMeta {
		m.CorrID = cmp.Or(m.CorrID, s.meta.CorrID, s.meta.ID)
		m.CauseID = cmp.Or(m.CauseID, s.meta.ID)
		m.Tenant = cmp.Or(m.Tenant, s.meta.Tenant)
		m.Headers = withTrace(m.Headers, s.meta.Headers)
	}
	m.CorrID = cmp.Or(m.CorrID, m.ID)
	return m
}

// withTrace is headers with the trace of the input. The two headers belong together: a tracestate is nothing beside another
// traceparent.
func withTrace(headers, input map[string]string) map[string]string {
	parent := input[HeaderTraceParent]
	if parent == "" || headers[HeaderTraceParent] != "" {
		return headers
	}
	traced := make(map[string]string, len(headers)+2)
	maps.Copy(traced, headers)
	traced[HeaderTraceParent] = parent
	delete(traced, HeaderTraceState)
	if state := input[HeaderTraceState]; state != "" {
		traced[HeaderTraceState] = state
	}
	return traced
}
