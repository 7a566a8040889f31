package envelope_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"

	"github.com/musterhq/muster/envelope"
)

// logged is the line that say writes, without its time.
func logged(t *testing.T, say func(*slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	plain := slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	say(slog.New(envelope.LogHandler(plain)))
	return strings.TrimSuffix(out.String(), "\n")
}

func handling(ctx context.Context) context.Context {
	return envelope.Enter(ctx, envelope.Meta{ID: "i", CorrID: "c", CauseID: "p", Tenant: "acme"},
		envelope.Place{Topic: "orders", Group: "billing", Worker: "w-1", Attempt: 2, Phase: "charge"}, "k")
}

const correlation = `"corrId":"c","causeId":"p","tenantId":"acme","id":"i","topic":"orders","group":"billing","worker":"w-1","attempt":2,"phase":"charge"`

func TestLogHandler(t *testing.T) {
	ctx := handling(t.Context())
	for _, c := range []struct {
		name string
		say  func(*slog.Logger)
		want string
	}{
		{"B5: a handler's line carries level, corrId and phase by itself", func(l *slog.Logger) {
			l.WarnContext(ctx, "declined")
		}, `{"level":"WARN","msg":"declined",` + correlation + `}`},
		{"C30: a line drops none of its own fields, however many", func(l *slog.Logger) {
			l.InfoContext(ctx, "m", "a", 1, "b", 2, "c", 3, "d", 4, "e", 5, "f", 6, "g", 7, "h", 8)
		}, `{"level":"INFO","msg":"m",` + correlation + `,"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}`},
		{"C30: a line's own field of the same name is kept", func(l *slog.Logger) {
			l.InfoContext(ctx, "m", "id", 7)
		}, `{"level":"INFO","msg":"m",` + correlation + `,"id":7}`},
		{"the logger's fields come first", func(l *slog.Logger) {
			l.With("a", 1).With().InfoContext(ctx, "m", "b", 2)
		}, `{"level":"INFO","msg":"m","a":1,` + correlation + `,"b":2}`},
		{"in a group the correlation stays at the top level", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).With("c", 3).InfoContext(ctx, "m", "d", 4)
		}, `{"level":"INFO","msg":"m","a":1,` + correlation + `,"g":{"b":2,"c":3,"d":4}}`},
		{"groups in groups", func(l *slog.Logger) {
			l.WithGroup("g").With("a", 1).WithGroup("").WithGroup("h").WithGroup("i").InfoContext(ctx, "m", "b", 2)
		}, `{"level":"INFO","msg":"m",` + correlation + `,"g":{"a":1,"h":{"i":{"b":2}}}}`},
		{"a group of nothing is left out", func(l *slog.Logger) {
			l.WithGroup("g").WithGroup("h").InfoContext(ctx, "m")
		}, `{"level":"INFO","msg":"m",` + correlation + `}`},
		{"without a message a line is as it is", func(l *slog.Logger) {
			l.Info("m", "a", 1)
		}, `{"level":"INFO","msg":"m","a":1}`},
		{"without a message a group is as it is", func(l *slog.Logger) {
			l.WithGroup("g").Info("m", "a", 1)
		}, `{"level":"INFO","msg":"m","g":{"a":1}}`},
		{"what is empty is left out, but the first try is 0", func(l *slog.Logger) {
			l.InfoContext(envelope.WithPlace(envelope.With(t.Context(), envelope.Meta{ID: "i"}), envelope.Place{Topic: "t"}), "m")
		}, `{"level":"INFO","msg":"m","corrId":"i","id":"i","topic":"t","attempt":0}`},
		{"an idempotency key alone says nothing", func(l *slog.Logger) {
			l.InfoContext(envelope.WithIdempotencyKey(t.Context(), "k"), "m")
		}, `{"level":"INFO","msg":"m"}`},
		{"two wrappers are one", func(l *slog.Logger) {
			slog.New(envelope.LogHandler(l.Handler())).InfoContext(ctx, "m")
		}, `{"level":"INFO","msg":"m",` + correlation + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := logged(t, c.say); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("loggers made from one do not share their fields", func(t *testing.T) {
		got := logged(t, func(l *slog.Logger) {
			base := l.WithGroup("g").With("a", 1)
			one, two := base.With("b", 2), base.With("b", 3)
			deep, deeper := base.WithGroup("h"), base.WithGroup("i")
			one.Info("one")
			two.Info("two")
			deep.Info("deep", "x", 1)
			deeper.Info("deeper", "x", 1)
		})
		want := strings.Join([]string{
			`{"level":"INFO","msg":"one","g":{"a":1,"b":2}}`,
			`{"level":"INFO","msg":"two","g":{"a":1,"b":3}}`,
			`{"level":"INFO","msg":"deep","g":{"a":1,"h":{"x":1}}}`,
			`{"level":"INFO","msg":"deeper","g":{"a":1,"i":{"x":1}}}`,
		}, "\n")
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("a level that is off costs nothing", func(t *testing.T) {
		log := slog.New(envelope.LogHandler(slog.NewJSONHandler(new(bytes.Buffer), nil)))
		if n := testing.AllocsPerRun(100, func() { log.DebugContext(ctx, "m") }); n > 0 || log.Enabled(ctx, slog.LevelDebug) {
			t.Errorf("%v allocations", n)
		}
	})
	t.Run("no attributes and no group are the same handler", func(t *testing.T) {
		h := envelope.LogHandler(slog.DiscardHandler)
		if h.WithAttrs(nil) != h || h.WithGroup("") != h {
			t.Error("another handler")
		}
	})
	t.Run("it is a slog.Handler in every other respect, with and without a message", func(t *testing.T) {
		for _, around := range []func(slog.Handler) slog.Handler{envelope.LogHandler, inMessage} {
			var out bytes.Buffer
			err := slogtest.TestHandler(around(slog.NewJSONHandler(&out, nil)), func() []map[string]any { return lines(t, &out) })
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// always is a handler whose every line is logged while a message is handled.
type always struct{ slog.Handler }

func inMessage(h slog.Handler) slog.Handler { return always{envelope.LogHandler(h)} }

func (a always) Handle(ctx context.Context, r slog.Record) error {
	return a.Handler.Handle(handling(ctx), r)
}

func (a always) WithAttrs(attrs []slog.Attr) slog.Handler { return always{a.Handler.WithAttrs(attrs)} }

func (a always) WithGroup(name string) slog.Handler { return always{a.Handler.WithGroup(name)} }

// lines reads what was logged.
func lines(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range bytes.Lines(out.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		all = append(all, fields)
	}
	return all
}

func BenchmarkLogHandler(b *testing.B) {
	ctx := handling(b.Context())
	for _, c := range []struct {
		name  string
		level slog.Level
		wrap  func(slog.Handler) slog.Handler
	}{
		{"plain", slog.LevelInfo, func(h slog.Handler) slog.Handler { return h }},
		{"correlated", slog.LevelInfo, envelope.LogHandler},
		{"off", slog.LevelDebug, envelope.LogHandler},
	} {
		b.Run(c.name, func(b *testing.B) {
			log := slog.New(c.wrap(slog.NewJSONHandler(discard{}, nil)))
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(ctx, c.level, "charged", slog.Int("cents", 100))
			}
		})
	}
}

// discard takes lines, unlike io.Discard, for which a handler may do less.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func ExampleLogHandler() {
	timeless := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	var out strings.Builder
	log := slog.New(envelope.LogHandler(slog.NewTextHandler(&out, timeless)))

	input := envelope.Meta{ID: "2", CorrID: "1", CauseID: "1", Tenant: "acme"}
	ctx := envelope.Enter(context.Background(), input, envelope.Place{Topic: "orders.placed", Group: "billing"}, "2/billing")
	log.InfoContext(ctx, "charged", "cents", 1299)
	fmt.Print(out.String())
	// Output:
	// level=INFO msg=charged corrId=1 causeId=1 tenantId=acme id=2 topic=orders.placed group=billing attempt=0 cents=1299
}
