package envelope_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

func TestToCloudEvent(t *testing.T) {
	t.Run("every field has its place", func(t *testing.T) {
		m := full()
		m.Headers = map[string]string{"traceparent": "00-1-2-01", "tracestate": "a=b", "X-Own": "1"}
		m.Extra = []byte(`{"dataschema":"https://example.com/s","big":2147483648,"Shard":[1, 2],"tenantid":"other","b":true}`)
		want := `{"specversion":"1.0","id":"019b2c3d-4e5f-7a6b-8c7d-9e0f1a2b3c4d","source":"/shop","type":"orders.placed",` +
			`"time":"2026-11-24T04:03:02.123456789Z","datacontenttype":"application/json",` +
			`"correlationid":"019b2c3d-0000-7a6b-8c7d-9e0f1a2b3c4d","causationid":"019b2c3d-1111-7a6b-8c7d-9e0f1a2b3c4d",` +
			`"tenantid":"acme","partitionkey":"customer-42","traceparent":"00-1-2-01","tracestate":"a=b",` +
			`"dataschema":"https://example.com/s","b":true,` +
			`"musterrest":"{\"attempts\":5,\"lastError\":\"card: declined\\n\\tat pay.go:17\",\"headers\":{\"X-Own\":\"1\"},` +
			`\"big\":2147483648,\"Shard\":[1,2],\"tenantid\":\"other\"}","data":{"a": 1}}`
		got, err := envelope.ToCloudEvent(m, []byte(" {\"a\": 1}\n"))
		if err != nil || string(got) != want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
		}
	})
	t.Run("attribute names are those that CloudEvents allow", func(t *testing.T) {
		event, err := envelope.ToCloudEvent(full(), []byte("1"))
		var attributes map[string]json.RawMessage
		if err != nil || json.Unmarshal(event, &attributes) != nil {
			t.Fatal(err)
		}
		for name := range attributes {
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || len(name) > 20 {
				t.Error(name)
			}
		}
	})
	for _, c := range []struct {
		name, says string
		change     func(*envelope.Meta)
	}{
		{"what the wire refuses", "id: missing", func(m *envelope.Meta) { m.ID = "" }},
		{"a source that is no URI reference", `source: "Order Service" is no URI reference`, func(m *envelope.Meta) { m.Source = "Order Service" }},
		{"a source that does not parse", "is no URI reference", func(m *envelope.Meta) { m.Source = "%zz" }},
		{"a control character in an attribute", "partitionkey: a CloudEvent allows no control character", func(m *envelope.Meta) { m.Key = "a\nb" }},
		{"a control character in the rest", "musterrest: a CloudEvent allows no control character", func(m *envelope.Meta) { m.Headers = map[string]string{"h": "\u0085"} }},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			m := sampleMeta()
			c.change(&m)
			_, err := envelope.ToCloudEvent(m, []byte("1"))
			wantInvalid(t, err, c.says)
		})
	}
}

func TestCloudEventRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*envelope.Meta){
		"all fields":             func(*envelope.Meta) {},
		"no optional field":      func(m *envelope.Meta) { *m = envelope.Meta{ID: "1", Type: "t", At: m.At} },
		"bytes":                  func(m *envelope.Meta) { m.ContentType = "application/octet-stream" },
		"a kind of JSON":         func(m *envelope.Meta) { m.ContentType = "application/x+json" },
		"odd trace headers":      func(m *envelope.Meta) { m.Headers = map[string]string{"traceparent": "", "tracestate": "a\nb"} },
		"extra as attributes":    func(m *envelope.Meta) { m.Extra = []byte(`{"dataschema":"x","shard":3,"on":false}`) },
		"extra of reserved name": func(m *envelope.Meta) { m.Extra = []byte(`{"data":"x","time":3,"musterrest":{"id":"1"}}`) },
		"extra of both kinds":    func(m *envelope.Meta) { m.Extra = []byte(`{"shard":3,"Shard":null}`) },
	} {
		t.Run(name, func(t *testing.T) {
			want := full()
			change(&want)
			event, err := envelope.ToCloudEvent(want, []byte(`"x"`))
			if err != nil {
				t.Fatal(err)
			}
			got, payload, err := envelope.FromCloudEvent(event)
			if err != nil || string(payload) != `"x"` {
				t.Fatalf("%s, %v: %s", payload, err, event)
			}
			if want.CorrID == "" {
				want.CorrID = want.ID
			}
			if want.ContentType == "" {
				want.ContentType = envelope.ContentTypeJSON
			}
			if !sameExtra(got.Extra, want.Extra) {
				t.Errorf("extra %s, want %s", got.Extra, want.Extra)
			}
			got.Extra, want.Extra = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// event is what every event needs, without the brace at its end.
const event = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`

func TestFromCloudEvent(t *testing.T) {
	t.Run("another's event keeps its attributes", func(t *testing.T) {
		m, payload, err := envelope.FromCloudEvent([]byte(event + `,"subject":"s","time":"2026-11-24T05:03:02+01:00","comexample1":"x","n":4,"none":null,"data":[1] } `))
		want := envelope.Meta{
			ID: "1", Type: "t", Source: "/s", CorrID: "1", At: time.Date(2026, 11, 24, 4, 3, 2, 0, time.UTC),
			ContentType: envelope.ContentTypeJSON, Extra: []byte(`{"subject":"s","comexample1":"x","n":4}`),
		}
		if err != nil || !reflect.DeepEqual(m, want) || string(payload) != "[1]" {
			t.Errorf("%+v %s %v", m, payload, err)
		}
	})
	t.Run("without a time At is zero, and Derive says now", func(t *testing.T) {
		m, _, err := envelope.FromCloudEvent([]byte(event + `}`))
		if err != nil || !m.At.IsZero() {
			t.Fatal(m.At, err)
		}
		mustAppend(t, envelope.Derive(t.Context(), m), "null")
	})
	for _, c := range []struct{ name, rest, contentType, payload string }{
		{"no data is null", ``, "application/json", "null"},
		{"null is null", `,"data":null`, "application/json", "null"},
		{"no data of another type is nothing", `,"datacontenttype":"text/plain"`, "text/plain", ""},
		{"text in data", `,"datacontenttype":"text/plain","data":"a\u00e9\n"`, "text/plain", "aé\n"},
		{"bytes", `,"datacontenttype":"image/png","data_base64":"/wA="`, "image/png", "\xff\x00"},
		{"bytes of no type", `,"data_base64":"/wA="`, "application/octet-stream", "\xff\x00"},
		{"JSON as bytes", `,"datacontenttype":"application/json","data_base64":"eyB9"`, "application/json", "{ }"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, payload, err := envelope.FromCloudEvent([]byte(event + c.rest + `}`))
			if err != nil || m.ContentType != c.contentType || string(payload) != c.payload || payload == nil {
				t.Errorf("%s %q %v", m.ContentType, payload, err)
			}
		})
	}
	for _, c := range []struct{ name, event, says string }{
		{"no object", `[]`, "event at byte 0: want a {"},
		{"no UTF-8", "{\"\xff\"}", "event at byte 2: not valid UTF-8"},
		{"something behind it", event + `} x`, "event at byte 56: want the end"},
		{"another version", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, `specversion: "0.3", want 1.0`},
		{"no version", `{"id":"1","source":"/s","type":"t"}`, "specversion: "},
		{"no id", `{"specversion":"1.0","source":"/s","type":"t"}`, "id: missing"},
		{"no source", `{"specversion":"1.0","id":"1","type":"t"}`, "source: missing"},
		{"no type", `{"specversion":"1.0","id":"1","source":"/s"}`, "type: missing"},
		{"an attribute twice", event + `,"id":"2"}`, "comes twice: id"},
		{"an id that is a number", `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, "id: want a string"},
		{"half a character", event + `,"tenantid":"\ud800"}`, "tenantid: unpaired surrogate"},
		{"a time that is none", event + `,"time":"today"}`, "time: want an RFC 3339 time"},
		{"an attribute that Extra cannot hold", event + `,"key":"k"}`, "key: the name is that of a field on the wire"},
		{"both kinds of data", event + `,"data":1,"data_base64":""}`, "data_base64: stands beside data"},
		{"data of another type that is no text", event + `,"datacontenttype":"text/plain","data":{}}`, "data: want a string"},
		{"base64 that is none", event + `,"data_base64":"a"}`, "data_base64: illegal base64"},
		{"JSON as bytes that is none", event + `,"datacontenttype":"text/json","data_base64":"YQ=="}`, "data_base64: envelope: invalid: payload"},
		{"a rest that is none", event + `,"musterrest":"{"}`, "musterrest"},
		{"a rest with another field", event + `,"musterrest":"{\"id\":\"2\"}"}`, "musterrest at byte 7: id has an attribute of its own"},
		{"a rest with a header that is an attribute too", event + `,"traceparent":"a","musterrest":"{\"headers\":{\"traceparent\":\"b\"}}"}`, `musterrest: "traceparent" is an attribute too`},
		{"a rest with an attribute", event + `,"x":1,"musterrest":"{\"x\":2}"}`, "comes twice"},
		{"a size over its limit", event + `,"partitionkey":"` + strings.Repeat("k", envelope.MaxName+1) + `"}`, "key: 1025 bytes"},
		{"a content type over its limit", event + `,"datacontenttype":"` + strings.Repeat("k", envelope.MaxName+1) + `"}`, "1025 bytes"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			_, _, err := envelope.FromCloudEvent([]byte(c.event))
			wantInvalid(t, err, c.says)
		})
	}
}
