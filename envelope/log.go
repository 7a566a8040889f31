package envelope

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
)

// LogHandler is h with the correlation on every line whose context carries it (see [With] and [WithPlace]): corrId, causeId,
// tenantId and id of the message; topic, group, worker, attempt and phase of its place. What is empty is left out, save attempt,
// which every line at a place has.
//
// The fields stand at the top level before the line's own, also for a logger with groups, so that they are found by one name.
// A line's own field of the same name is kept beside them. Where h is not enabled nothing is done.
func LogHandler(h slog.Handler) slog.Handler {
	if wrapped, ok := h.(*logHandler); ok {
		return wrapped
	}
	return &logHandler{next: h}
}

// logHandler keeps the groups to itself, for once a handler has opened one nothing can be put at its top level.
type logHandler struct {
	next   slog.Handler // has the attributes of the top level
	groups []logGroup   // outermost first
}

type logGroup struct {
	name  string
	attrs []slog.Attr
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	if len(h.groups) == 0 {
		return &logHandler{next: h.next.WithAttrs(attrs)}
	}
	groups := slices.Clone(h.groups)
	last := &groups[len(groups)-1]
	last.attrs = slices.Concat(last.attrs, attrs)
	return &logHandler{next: h.next, groups: groups}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{next: h.next, groups: append(slices.Clip(h.groups), logGroup{name: name})}
}

func (h *logHandler) Handle(ctx context.Context, line slog.Record) error {
	s := scopeOf(ctx)
	if s == nil && len(h.groups) == 0 {
		return h.next.Handle(ctx, line)
	}
	out := slog.NewRecord(line.Time, line.Level, line.Message, line.PC)
	if s != nil {
		var room [9]slog.Attr
		out.AddAttrs(s.attrs(room[:0])...)
	}
	if len(h.groups) == 0 {
		line.Attrs(func(a slog.Attr) bool {
			out.AddAttrs(a)
			return true
		})
	} else {
		out.AddAttrs(h.nested(line))
	}
	return h.next.Handle(ctx, out)
}

// nested is the line's own attributes inside the groups.
func (h *logHandler) nested(line slog.Record) slog.Attr {
	last := len(h.groups) - 1
	own := slices.Grow(slices.Clone(h.groups[last].attrs), line.NumAttrs())
	line.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	group := slog.GroupAttrs(h.groups[last].name, own...)
	for _, g := range slices.Backward(h.groups[:last]) {
		group = slog.GroupAttrs(g.name, append(slices.Clip(g.attrs), group)...)
	}
	return group
}

// attrs appends the fields of a line to dst.
func (s *scope) attrs(dst []slog.Attr) []slog.Attr {
	add := func(name, value string) {
		if value != "" {
			dst = append(dst, slog.String(name, value))
		}
	}
	if s.hasMeta {
		add("corrId", cmp.Or(s.meta.CorrID, s.meta.ID))
		add("causeId", s.meta.CauseID)
		add("tenantId", s.meta.Tenant)
		add("id", s.meta.ID)
	}
	if s.hasPlace {
		add("topic", s.place.Topic)
		add("group", s.place.Group)
		add("worker", s.place.Worker)
		dst = append(dst, slog.Int("attempt", s.place.Attempt))
		add("phase", s.place.Phase)
	}
	return dst
}
