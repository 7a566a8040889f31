package envelope_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

// head is what every message needs, without the brace at its end.
const head = `{"id":"1","type":"t","ts":"2026-11-24T04:03:02Z"`

func TestParse(t *testing.T) {
	t.Run("any order, any white space, and escapes in names", func(t *testing.T) {
		wire := "\n{ \"payload\" : {\"a\" : 1} ,\t\"t\\u0079pe\":\"t\", \"headers\" : { \"a\\u0020\" : \"b\\n\" , \"c\":\"\" },\r\n" +
			`"shard": { "n" : 1 }, "id":"caf\u00e9", "ts" : "2026-11-24T05:03:02+01:00", "x":null } `
		m, payload := mustParse(t, []byte(wire))
		want := envelope.Meta{
			ID: "café", Type: "t", CorrID: "café", At: time.Date(2026, 11, 24, 4, 3, 2, 0, time.UTC),
			Headers: map[string]string{"a ": "b\n", "c": ""}, ContentType: envelope.ContentTypeJSON,
			Extra: []byte(`{"shard":{ "n" : 1 },"x":null}`),
		}
		if !reflect.DeepEqual(m, want) || payload != `{"a" : 1}` {
			t.Errorf("got  %+v %s\nwant %+v", m, payload, want)
		}
	})
	t.Run("a missing or empty corrId is the id (C31)", func(t *testing.T) {
		for _, rest := range []string{`,"payload":1}`, `,"corrId":"","payload":1}`} {
			if m, _ := mustParse(t, []byte(head+rest)); m.CorrID != "1" {
				t.Errorf("corrId is %q", m.CorrID)
			}
		}
	})
	t.Run("empty optional fields are absent ones", func(t *testing.T) {
		a, _ := mustParse(t, []byte(head+`,"payload":1}`))
		b, _ := mustParse(t, []byte(head+`,"causeId":"","tenantId":"","source":"","key":"","attempts":0,"lastError":"","headers":{},"contentType":"","payload":1}`))
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%+v\n%+v", a, b)
		}
	})
	t.Run("names are case-sensitive", func(t *testing.T) {
		if m, _ := mustParse(t, []byte(head+`,"ID":"2","payload":1}`)); m.ID != "1" || string(m.Extra) != `{"ID":"2"}` {
			t.Errorf("%+v", m)
		}
	})
	t.Run("unknown fields survive a change of the message", func(t *testing.T) {
		m, payload := mustParse(t, []byte(head+`,"a":[ 1 ],"payload":1,"b":{"id":"9"}}`))
		m.Attempts = 3
		again, _ := mustParse(t, mustAppend(t, m, payload))
		if string(again.Extra) != `{"a":[ 1 ],"b":{"id":"9"}}` || again.Attempts != 3 {
			t.Errorf("%s", again.Extra)
		}
	})
	t.Run("the payload is part of the wire, and an append to it copies", func(t *testing.T) {
		wire := mustAppend(t, sampleMeta(), `"x"`)
		before := string(wire)
		_, payload, err := envelope.Parse(wire)
		if err != nil || &payload[0] != &wire[len(wire)-4] {
			t.Fatalf("payload was copied (%v)", err)
		}
		if _ = append(payload, '!'); string(wire) != before {
			t.Errorf("the append wrote into %s", wire)
		}
	})
	t.Run("the text does not change with the wire", func(t *testing.T) {
		wire := mustAppend(t, full(), "1")
		m, _ := mustParse(t, wire)
		clear(wire)
		if !reflect.DeepEqual(m, full()) {
			t.Errorf("%+v", m)
		}
	})
	t.Run("base64 may be escaped", func(t *testing.T) {
		if _, payload := mustParse(t, []byte(head+`,"payloadBase64":"\/wA=","contentType":"x"}`)); payload != "\xff\x00" {
			t.Errorf("%q", payload)
		}
	})
	t.Run("at most two allocations", func(t *testing.T) {
		for name, contentType := range map[string]string{"JSON": "", "bytes": "application/octet-stream"} {
			m := sampleMeta()
			m.ContentType = contentType
			wire := mustAppend(t, m, `{"a":1}`)
			if n := testing.AllocsPerRun(100, func() { _, _, _ = envelope.Parse(wire) }); n > 2 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	})
}

func TestParseRefuses(t *testing.T) {
	var headers strings.Builder
	for i := range envelope.MaxHeaders + 1 {
		fmt.Fprintf(&headers, `"h%d":"",`, i)
	}
	for _, c := range []struct{ name, wire, says string }{
		{"nothing", ``, "envelope at byte 0: want a {"},
		{"an array", `[]`, "envelope at byte 0: want a {"},
		{"an open object", `{`, "envelope at byte 1: want a string"},
		{"an object that is closed twice", head + `,"payload":1}}`, "want the end"},
		{"a trailing comma", head + `,"payload":1,}`, "want a string"},
		{"a missing comma", head + ` "payload":1}`, "want , or }"},
		{"a missing colon", head + `,"payload" 1}`, "want :"},
		{"no UTF-8", "{\"id\":\"\xff\"}", "envelope at byte 7: not valid UTF-8"},
		{"no id", `{"type":"t","ts":"2026-11-24T04:03:02Z","payload":1}`, "id: missing"},
		{"an empty id", `{"id":"","type":"t","ts":"2026-11-24T04:03:02Z","payload":1}`, "id: missing"},
		{"no type", `{"id":"1","ts":"2026-11-24T04:03:02Z","payload":1}`, "type: missing"},
		{"no ts", `{"id":"1","type":"t","payload":1}`, "ts: missing"},
		{"a ts that is a number", `{"id":"1","type":"t","ts":1,"payload":1}`, "ts at byte 26: want a string"},
		{"a ts without a zone", `{"id":"1","type":"t","ts":"2026-11-24T04:03:02","payload":1}`, "ts at byte 27: want an RFC 3339 time"},
		{"a ts with a comma", `{"id":"1","type":"t","ts":"2026-11-24T04:03:02,5Z","payload":1}`, "ts at byte 27"},
		{"a ts with a short hour", `{"id":"1","type":"t","ts":"2026-11-24T4:03:02.5Z","payload":1}`, "ts at byte 27"},
		{"a ts with a zone of a day", `{"id":"1","type":"t","ts":"2026-11-24T04:03:02+24:00","payload":1}`, "ts at byte 27"},
		{"a ts on no day", `{"id":"1","type":"t","ts":"2026-02-30T04:03:02Z","payload":1}`, "ts at byte 27"},
		{"the zero time", `{"id":"1","type":"t","ts":"0001-01-01T00:00:00Z","payload":1}`, "ts at byte 27"},
		{"no payload", head + `}`, "payload: missing"},
		{"two kinds of payload", head + `,"payload":1,"payloadBase64":""}`, "stands beside payloadBase64"},
		{"base64 without a content type", head + `,"payloadBase64":""}`, "wants payload"},
		{"a payload of a content type that is none", head + `,"contentType":"text/plain","payload":1}`, "wants payloadBase64"},
		{"base64 that is none", head + `,"contentType":"x","payloadBase64":"a"}`, "payloadBase64 at byte 84: illegal base64"},
		{"base64 with loose bits", head + `,"contentType":"x","payloadBase64":"/x=="}`, "illegal base64"},
		{"base64 with half a character", head + `,"contentType":"x","payloadBase64":"\udc00"}`, "unpaired surrogate"},
		{"a field twice", head + `,"id":"2","payload":1}`, "id at byte 50: comes twice"},
		{"a field twice, escaped", head + `,"i\u0064":"2","payload":1}`, "id at byte 50: comes twice"},
		{"an unknown field twice", head + `,"x":1,"\u0078":2,"payload":1}`, `"x" at byte 56: comes twice`},
		{"an unknown field without a value", head + `,"x":}`, `"x" at byte 53: want a value`},
		{"an unknown name with half a character", head + `,"\ud800\u0041":1}`, "unpaired surrogate"},
		{"unknown fields that are too long", head + `,"x":"` + strings.Repeat("x", envelope.MaxText) + `","payload":1}`, "more than 65536"},
		{"null for a string", head + `,"key":null,"payload":1}`, "key at byte 55: want a string"},
		{"a key that is too long", head + `,"key":"` + strings.Repeat("k", envelope.MaxName+1) + `","payload":1}`, "key at byte 56: 1025 bytes, at most 1024"},
		{"half a character", head + `,"key":"\ud800","payload":1}`, "key at byte 56: unpaired surrogate"},
		{"a number for attempts that is text", head + `,"attempts":"3","payload":1}`, "attempts at byte 60: want a"},
		{"attempts that end", head + `,"attempts":`, "attempts at byte 60: want a number"},
		{"a fraction for attempts", head + `,"attempts":1.0,"payload":1}`, "attempts at byte 60: want a whole number"},
		{"negative attempts", head + `,"attempts":-1,"payload":1}`, "want a whole number"},
		{"attempts beyond 32 bits", head + `,"attempts":2147483648,"payload":1}`, "want a whole number"},
		{"headers that are a list", head + `,"headers":[],"payload":1}`, "headers at byte 59: want a {"},
		{"a header that is a number", head + `,"headers":{"a":1},"payload":1}`, "headers at byte 64: want a string"},
		{"headers without a comma", head + `,"headers":{"a":"1" "b":"2"},"payload":1}`, "headers at byte 68: want , or }"},
		{"a header twice", head + `,"headers":{"a":"1","a":"2"},"payload":1}`, `headers at byte 72: "a" comes twice`},
		{"a header without a name", head + `,"headers":{"":"1"},"payload":1}`, "a header has no name"},
		{"a header with half a character", head + `,"headers":{"a":"\ud800"},"payload":1}`, "headers at byte 65: unpaired surrogate"},
		{"too many headers", head + `,"headers":{` + strings.TrimSuffix(headers.String(), ",") + `},"payload":1}`, "more than 128 headers"},
		{"a payload that ends", head + `,"payload":`, "payload at byte 59: want a value"},
		{"a payload that is none", head + `,"payload":x}`, "payload at byte 59: want a value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, payload, err := envelope.Parse([]byte(c.wire))
			wantInvalid(t, err, c.says)
			if !reflect.DeepEqual(m, envelope.Meta{}) || payload != nil {
				t.Errorf("%+v, %s beside the error", m, payload)
			}
		})
	}
}

func TestTheIDStaysTheSameThroughEveryRetry(t *testing.T) {
	// C7: a new id on each retry. What a retry writes is the message that it read.
	m := envelope.Derive(t.Context(), envelope.Meta{Type: "orders.placed"})
	id := m.ID
	wire := mustAppend(t, m, `{"cents":1}`)
	for attempt := range 5 {
		again, payload := mustParse(t, wire)
		again.Attempts = attempt + 1
		again.LastError = "declined"
		wire = mustAppend(t, envelope.Derive(t.Context(), again), payload)
		if again.ID != id || !strings.HasPrefix(string(wire), `{"id":"`+id+`"`) {
			t.Fatalf("attempt %d has the id %s, want %s", attempt, again.ID, id)
		}
	}
	if last, _ := mustParse(t, wire); last.ID != id || last.CorrID != id || !last.At.Equal(m.At) || last.Attempts != 5 {
		t.Errorf("%+v", last)
	}
}
