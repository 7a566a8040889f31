package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/musterhq/muster/envelope"
)

// rfc3339 is what UnmarshalText should check by itself.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseByStandard is Parse with encoding/json: what it reads, and whether it accepts. It knows no position, and not the
// rule that a surrogate may not stand alone: such text holds U+FFFD for it.
func parseByStandard(wire []byte) (m envelope.Meta, payload []byte, ok bool) {
	if !utf8.Valid(wire) || !json.Valid(wire) || bytes.TrimSpace(wire)[0] != '{' {
		return m, nil, false
	}
	top, twice := membersByStandard(wire)
	if twice {
		return m, nil, false
	}
	good := true
	text := func(name string, limit int) (s string) {
		raw, present := top[name]
		if present && (raw[0] != '"' || json.Unmarshal(raw, &s) != nil || len(s) > limit) {
			good = false
		}
		delete(top, name)
		return s
	}
	m.ID, m.Type = text("id", envelope.MaxID), text("type", envelope.MaxName)
	ts := text("ts", envelope.MaxName)
	m.CorrID, m.CauseID = text("corrId", envelope.MaxID), text("causeId", envelope.MaxID)
	m.Tenant, m.Source, m.Key = text("tenantId", envelope.MaxName), text("source", envelope.MaxName), text("key", envelope.MaxName)
	m.LastError = text("lastError", envelope.MaxText)
	m.ContentType = text("contentType", envelope.MaxName)
	if !rfc3339.MatchString(ts) || m.At.UnmarshalText([]byte(ts)) != nil || m.At.IsZero() || m.ID == "" || m.Type == "" {
		good = false
	}
	m.At = m.At.UTC()
	if m.CorrID == "" {
		m.CorrID = m.ID
	}
	if raw, present := top["attempts"]; present {
		var n int32
		if raw[0] == 'n' || json.Unmarshal(raw, &n) != nil || n < 0 {
			good = false
		}
		m.Attempts = int(n)
		delete(top, "attempts")
	}
	if raw, present := top["headers"]; present {
		var values map[string]*string
		if raw[0] != '{' || json.Unmarshal(raw, &values) != nil {
			return m, nil, false
		}
		_, twice := membersByStandard(raw)
		if twice || len(values) > envelope.MaxHeaders {
			good = false
		}
		for name, value := range values {
			if value == nil || name == "" || len(name) > envelope.MaxName || len(*value) > envelope.MaxText {
				return m, nil, false
			}
			if m.Headers == nil {
				m.Headers = map[string]string{}
			}
			m.Headers[name] = *value
		}
		delete(top, "headers")
	}
	raw, plain := top["payload"]
	encoded, isBase64 := top["payloadBase64"]
	delete(top, "payload")
	delete(top, "payloadBase64")
	if plain == isBase64 {
		return m, nil, false
	}
	kind := strings.ToLower(strings.TrimSpace(strings.Split(m.ContentType, ";")[0]))
	isJSON := m.ContentType == "" || kind == "application/json" || kind == "text/json" || len(kind) > 5 && strings.HasSuffix(kind, "+json")
	if isJSON == isBase64 {
		return m, nil, false
	}
	payload = raw
	if isBase64 {
		var s string
		var err error
		if encoded[0] != '"' || json.Unmarshal(encoded, &s) != nil {
			return m, nil, false
		}
		if payload, err = base64.StdEncoding.Strict().DecodeString(s); err != nil {
			return m, nil, false
		}
	}
	if m.ContentType == "" {
		m.ContentType = envelope.ContentTypeJSON
	}
	if len(top) > 0 {
		m.Extra, _ = json.Marshal(top)
	}
	return m, payload, good
}

// membersByStandard is an object's members, and whether one comes twice.
func membersByStandard(object []byte) (members map[string]json.RawMessage, twice bool) {
	members = map[string]json.RawMessage{}
	dec := json.NewDecoder(bytes.NewReader(object))
	_, _ = dec.Token()
	for dec.More() {
		name, _ := dec.Token()
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return members, twice
		}
		if _, known := members[name.(string)]; known {
			twice = true
		}
		members[name.(string)] = raw
	}
	return members, twice
}

// sameExtra compares two objects by value.
func sameExtra(a, b []byte) bool {
	var x, y map[string]any
	if len(a) > 0 && unmarshalNumbers(a, &x) != nil || len(b) > 0 && unmarshalNumbers(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

func unmarshalNumbers(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(v)
}

func FuzzParse(f *testing.F) {
	wire, _ := envelope.Append(nil, full(), []byte(`{"a":[1,-2.5e+7,"x\u00e9\n",true,false,null,{}]}`))
	f.Add(wire)
	m := full()
	m.ContentType = "text/plain"
	wire, _ = envelope.Append(nil, m, []byte("plain"))
	f.Add(wire)
	for _, s := range []string{
		head + `,"payload":1}`, head + `,"payload":null,"headers":{"a":"b"},"x":[]}`, head + `,"key":null,"payload":1}`,
		head + `,"attempts":2147483648,"payload":1}`, head + `,"id":"2","payload":1}`, head + `,"\u0069d":"2","payload":01}`,
		head + `,"payload":"\ud800"}`, head + `,"key":"\ud83d\ude00","payload":[[],{"a":{}}]} `, head + `,"payload":1e}`,
		`{"payload":-0.0E-1,"ts":"2026-11-24T04:03:02.5+23:59","type":"t","id":"1"}`, `{}`, `[]`, `{"a":"b`, ``, ` `, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m, payload, err := envelope.Parse(wire)
		want, wantPayload, ok := parseByStandard(wire)
		if err != nil {
			if ok && !bytes.Contains(wire, []byte(`\u`)) && len(wire) < envelope.MaxText {
				t.Fatalf("refused what encoding/json reads: %v", err)
			}
			return
		}
		if !ok {
			t.Fatalf("accepted %s", wire)
		}
		extra := m.Extra
		if !sameExtra(extra, want.Extra) {
			t.Fatalf("extra %s, want %s", extra, want.Extra)
		}
		m.Extra, want.Extra = nil, nil
		if !reflect.DeepEqual(m, want) || !bytes.Equal(payload, wantPayload) {
			t.Fatalf("got  %+v %q\nwant %+v %q", m, payload, want, wantPayload)
		}
		m.Extra = extra
		again, err := envelope.Append(nil, m, payload)
		if err != nil {
			t.Fatalf("read, but not written: %v", err)
		}
		back, backPayload, err := envelope.Parse(again)
		if err != nil || !reflect.DeepEqual(back, m) || !bytes.Equal(backPayload, payload) {
			t.Fatalf("got  %+v %q %v\nwant %+v %q", back, backPayload, err, m, payload)
		}
	})
}

func FuzzAppend(f *testing.F) {
	f.Add("1", "t", "c", "cause", "tenant", "/source", "key", "h", "v", "last", int64(1), 3, "", []byte(`{"a":1}`))
	f.Add("\"\\\n\x00\u2028é😀", "t", "", "", "", "", "", "", "", "", int64(-62_135_596_799), 0, "text/plain", []byte("\xff"))
	f.Add("1", "\xff", "", "", "", "", "", "x", "\x7f", "", int64(1)<<40, -1, "a/b+json", []byte(` [1 , {}] `))
	f.Fuzz(func(t *testing.T, id, kind, corr, cause, tenant, source, key, name, value, last string, sec int64, attempts int, contentType string, payload []byte) {
		m := envelope.Meta{
			ID: id, Type: kind, At: time.Unix(sec, sec&0x1fffffff).UTC(), CorrID: corr, CauseID: cause, Tenant: tenant, Source: source,
			Key: key, Headers: map[string]string{name: value}, LastError: last, Attempts: attempts, ContentType: contentType,
		}
		wire, err := envelope.Append(nil, m, payload)
		if err != nil {
			return
		}
		back, backPayload, ok := parseByStandard(wire)
		if !ok {
			t.Fatalf("encoding/json does not read %s", wire)
		}
		if m.CorrID == "" {
			m.CorrID = m.ID
		}
		if m.ContentType == "" {
			m.ContentType = envelope.ContentTypeJSON
		}
		if m.ContentType == envelope.ContentTypeJSON {
			payload = bytes.Trim(payload, " \t\r\n")
		} else if json.Valid(payload) {
			payload, backPayload = bytes.TrimSpace(payload), bytes.TrimSpace(backPayload)
		}
		if !reflect.DeepEqual(back, m) || !bytes.Equal(backPayload, payload) {
			t.Fatalf("got  %+v %q\nwant %+v %q", back, backPayload, m, payload)
		}
		again, _, err := envelope.Parse(wire)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("got  %+v %v\nwant %+v", again, err, m)
		}
	})
}

func FuzzCloudEvent(f *testing.F) {
	f.Add("1", "t", "/s", "k", "h", "v", []byte(`{"shard":3,"Tags":[1, 2],"dataschema":"x","time":1}`), "", []byte(`{"a":1}`))
	f.Add("1", "t", "", "", "traceparent", "00-1-2-01", []byte(`{"a":-1,"b":true,"c":null,"id2":""}`), "text/plain", []byte("\xff"))
	f.Fuzz(func(t *testing.T, id, kind, source, key, name, value string, extra []byte, contentType string, payload []byte) {
		m := envelope.Meta{
			ID: id, Type: kind, At: time.Unix(1, 1).UTC(), CorrID: "c", Source: source, Key: key,
			Headers: map[string]string{name: value}, ContentType: contentType, Extra: extra,
		}
		event, err := envelope.ToCloudEvent(m, payload)
		if err != nil || source == "urn:muster:unnamed" {
			return
		}
		back, backPayload, err := envelope.FromCloudEvent(event)
		if err != nil {
			t.Fatalf("not read back: %v: %s", err, event)
		}
		if !sameExtra(back.Extra, m.Extra) && len(m.Extra) > 2 && !bytes.Contains(m.Extra, []byte("null")) {
			t.Fatalf("extra %s, want %s", back.Extra, m.Extra)
		}
		back.Extra, m.Extra = nil, nil
		if m.ContentType == "" {
			m.ContentType = envelope.ContentTypeJSON
		}
		if !reflect.DeepEqual(back, m) || !bytes.Equal(bytes.TrimSpace(backPayload), bytes.TrimSpace(payload)) {
			t.Fatalf("got  %+v %q\nwant %+v %q\n%s", back, backPayload, m, payload, event)
		}
	})
}
