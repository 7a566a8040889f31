package envelope_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

// full has every field set, as it comes back from the wire.
func full() envelope.Meta {
	m := sampleMeta()
	m.Headers = map[string]string{"b": "2", "a": "1 \"quoted\" \\ \n\r\t\x01 é"}
	m.Attempts = 5
	m.LastError = "card: declined\n\tat pay.go:17"
	m.Extra = []byte(`{"shard":3,"tags":["x", "y"]}`)
	return m
}

func mustAppend(t *testing.T, m envelope.Meta, payload string) []byte {
	t.Helper()
	wire, err := envelope.Append(nil, m, []byte(payload))
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return wire
}

func mustParse(t *testing.T, wire []byte) (envelope.Meta, string) {
	t.Helper()
	m, payload, err := envelope.Parse(wire)
	if err != nil {
		t.Fatalf("Parse(%s): %v", wire, err)
	}
	return m, string(payload)
}

// wantInvalid wants a refusal that names what is wrong.
func wantInvalid(t *testing.T, err error, says string) {
	t.Helper()
	if !errors.Is(err, envelope.ErrInvalid) || !strings.Contains(err.Error(), says) {
		t.Errorf("error is %v, want ErrInvalid that says %q", err, says)
	}
}

func TestAppend(t *testing.T) {
	t.Run("the wire has its names and its order, and absent fields are left out", func(t *testing.T) {
		m := envelope.Meta{ID: "1", Type: "t", At: time.Date(2026, 11, 24, 5, 3, 2, 120, time.FixedZone("", 3600))}
		if got, want := string(mustAppend(t, m, `{}`)), `{"id":"1","type":"t","ts":"2026-11-24T04:03:02.00000012Z","corrId":"1","payload":{}}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		want := `{"id":"019b2c3d-4e5f-7a6b-8c7d-9e0f1a2b3c4d","type":"orders.placed","ts":"2026-11-24T04:03:02.123456789Z",` +
			`"corrId":"019b2c3d-0000-7a6b-8c7d-9e0f1a2b3c4d","causeId":"019b2c3d-1111-7a6b-8c7d-9e0f1a2b3c4d","tenantId":"acme",` +
			`"source":"/shop","key":"customer-42","attempts":5,"lastError":"card: declined\n\tat pay.go:17",` +
			`"headers":{"a":"1 \"quoted\" \\ \n\r\t\u0001 é","b":"2"},"shard":3,"tags":["x", "y"],"payload":[1, 2]}`
		if got := string(mustAppend(t, full(), ` [1, 2] `)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("what is no JSON travels as base64 with its content type", func(t *testing.T) {
		m := envelope.Meta{ID: "1", Type: "t", At: time.Unix(0, 1), ContentType: "text/plain"}
		if got, want := string(mustAppend(t, m, "\xff\x00")), `"contentType":"text/plain","payloadBase64":"/wA="}`; !strings.HasSuffix(got, want) {
			t.Errorf("got %s, want the end %s", got, want)
		}
	})
	t.Run("the same message has the same bytes each time", func(t *testing.T) {
		first := string(mustAppend(t, full(), "1"))
		for range 50 {
			if again := string(mustAppend(t, full(), "1")); again != first {
				t.Fatalf("%s\n%s", first, again)
			}
		}
	})
	t.Run("it appends, and gives dst back as it was after an error", func(t *testing.T) {
		dst, err := envelope.Append([]byte("before "), sampleMeta(), []byte("1"))
		if err != nil || !strings.HasPrefix(string(dst), `before {"id":`) {
			t.Errorf("%s, %v", dst, err)
		}
		dst, err = envelope.Append([]byte("before "), sampleMeta(), nil)
		if err == nil || string(dst) != "before " {
			t.Errorf("%q, %v", dst, err)
		}
	})
	t.Run("at most two allocations", func(t *testing.T) {
		m, payload := withHeaders(sampleMeta()), []byte(`{"a":1}`)
		if n := testing.AllocsPerRun(100, func() { _, _ = envelope.Append(nil, m, payload) }); n > 2 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n+1) }
	many := map[string]string{}
	for _, a := range "abcdefghijklmnop" {
		for _, b := range "abcdefghijklmnop" {
			many[string(a)+string(b)] = ""
		}
	}
	for _, c := range []struct {
		name, says string
		change     func(*envelope.Meta)
	}{
		{"no id", "id: missing", func(m *envelope.Meta) { m.ID = "" }},
		{"no type", "type: missing", func(m *envelope.Meta) { m.Type = "" }},
		{"no time", "ts: missing", func(m *envelope.Meta) { m.At = time.Time{} }},
		{"a year of five digits", "ts: ", func(m *envelope.Meta) { m.At = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"an id that is too long", "id: 513 bytes, at most 512", func(m *envelope.Meta) { m.ID = long(envelope.MaxID) }},
		{"a corrId that is too long", "corrId: 513", func(m *envelope.Meta) { m.CorrID = long(envelope.MaxID) }},
		{"a key that is too long", "key: 1025", func(m *envelope.Meta) { m.Key = long(envelope.MaxName) }},
		{"a last error that is too long", "lastError: 65537", func(m *envelope.Meta) { m.LastError = long(envelope.MaxText) }},
		{"a tenant that is no UTF-8", "tenantId: not valid UTF-8", func(m *envelope.Meta) { m.Tenant = "a\xff" }},
		{"negative attempts", "attempts: -1", func(m *envelope.Meta) { m.Attempts = -1 }},
		{"attempts beyond 32 bits", "attempts: 2147483648", func(m *envelope.Meta) { m.Attempts = math.MaxInt32 + 1 }},
		{"a header without a name", "headers: a header has no name", func(m *envelope.Meta) { m.Headers = map[string]string{"": "x"} }},
		{"a header with a long name", "headers: the name", func(m *envelope.Meta) { m.Headers = map[string]string{long(envelope.MaxName): ""} }},
		{"a header with a long value", `headers: the value of "h"`, func(m *envelope.Meta) { m.Headers = map[string]string{"h": long(envelope.MaxText)} }},
		{"a header that is no UTF-8", "headers: not valid UTF-8", func(m *envelope.Meta) { m.Headers = map[string]string{"h": "\xc3"} }},
		{"too many headers", "headers: 256 headers, at most 128", func(m *envelope.Meta) { m.Headers = many }},
		{"extra that is no object", "extra at byte 0: want a {", func(m *envelope.Meta) { m.Extra = []byte(`[1]`) }},
		{"extra that does not end", "extra at byte 6", func(m *envelope.Meta) { m.Extra = []byte(`{"a":1`) }},
		{"extra with something behind it", "extra at byte 3: want the end", func(m *envelope.Meta) { m.Extra = []byte(`{} ,"id":"2"`) }},
		{"extra that holds a known field", `extra: "payload" is a field`, func(m *envelope.Meta) { m.Extra = []byte(`{"pay\u006coad":1}`) }},
		{"extra that holds a field twice", "extra at byte 8: comes twice", func(m *envelope.Meta) { m.Extra = []byte(`{"a":1,"a":2}`) }},
		{"extra with half a character", "extra at byte 2: unpaired surrogate", func(m *envelope.Meta) { m.Extra = []byte(`{"\ud800":1}`) }},
		{"extra with half a value", "extra at byte 5: want a value", func(m *envelope.Meta) { m.Extra = []byte(`{"a":}`) }},
		{"extra that is no UTF-8", "extra at byte 2: not valid UTF-8", func(m *envelope.Meta) { m.Extra = []byte("{\"\xff\":1}") }},
		{"extra that is too long", "extra: 65543 bytes", func(m *envelope.Meta) { m.Extra = []byte(`{"a":"` + long(envelope.MaxText-2) + `"}`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sampleMeta()
			c.change(&m)
			_, err := envelope.Append(nil, m, []byte("1"))
			wantInvalid(t, err, c.says)
		})
	}
	for payload, says := range map[string]string{
		"":           "payload at byte 0: empty; want a JSON value, such as null",
		" ":          "payload at byte 1: empty",
		"{} {}":      "payload at byte 3: want the end",
		`1,"id":"2"`: "payload at byte 1: want the end",
		"nul":        "payload at byte 0: want a value",
		"\"\xff\"":   "payload at byte 1: not valid UTF-8",
		"é\"\xff\"":  "payload at byte 3: not valid UTF-8",
	} {
		t.Run("the payload "+payload, func(t *testing.T) {
			_, err := envelope.Append(nil, sampleMeta(), []byte(payload))
			wantInvalid(t, err, says)
		})
	}
}

func TestErrorText(t *testing.T) {
	if got := envelope.ErrorText(nil); got != "" {
		t.Errorf("nil is %q", got)
	}
	if got := envelope.ErrorText(errors.New("a\xffb")); got != "a?b" {
		t.Errorf("got %q", got)
	}
	for _, unit := range []string{"x", "é", "€", "😀"} {
		for before := range 4 {
			text := envelope.ErrorText(errors.New(strings.Repeat("a", before) + strings.Repeat(unit, envelope.MaxText+1)))
			if len(text) > envelope.MaxText || len(text) < envelope.MaxText-4 || !strings.HasSuffix(text, unit+"…") {
				t.Errorf("%s: %d bytes, end %q", unit, len(text), text[len(text)-8:])
			}
			m := sampleMeta()
			m.LastError = text
			mustAppend(t, m, "1")
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name, contentType, payload, wantType string
	}{
		{"JSON", "", `{"a":[1,2.5e-3,-0,true,false,null,"\ud83d\ude00\u00e9\/"]}`, envelope.ContentTypeJSON},
		{"JSON with parameters", "Application/JSON; charset=utf-8", `1`, "Application/JSON; charset=utf-8"},
		{"JSON of a kind", "application/vnd.x+json", `[]`, "application/vnd.x+json"},
		{"JSON as text", "text/json", `""`, "text/json"},
		{"bytes", "application/octet-stream", "\x00\xff{", "application/octet-stream"},
		{"no bytes", "text/plain", "", "text/plain"},
		{"a type named +json alone is none", "+json", "x", "+json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := full()
			want.ContentType = c.contentType
			got, payload := mustParse(t, mustAppend(t, want, c.payload))
			want.ContentType = c.wantType
			if !reflect.DeepEqual(got, want) || payload != c.payload {
				t.Errorf("got  %+v %q\nwant %+v %q", got, payload, want, c.payload)
			}
		})
	}
}

func TestTextIsReadBackWhateverStandsWhereInIt(t *testing.T) {
	for _, odd := range []string{"\x00", "\x1f", `"`, `\`, "\x7f", "é", "😀", "\u2028"} {
		for size := range 20 {
			for at := range size + 1 {
				m := sampleMeta()
				m.Key = strings.Repeat("k", at) + odd + strings.Repeat("k", size-at)
				wire, err := envelope.Append(nil, m, []byte("1"))
				if err != nil || !json.Valid(wire) {
					t.Fatalf("%q: %v %s", m.Key, err, wire)
				}
				if got, _ := mustParse(t, wire); got.Key != m.Key {
					t.Fatalf("%q came back as %q", m.Key, got.Key)
				}
			}
		}
	}
}
