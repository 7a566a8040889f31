package envelope_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/musterhq/muster/envelope"
)

func TestAPayloadIsJSONAsTheStandardLibraryReadsIt(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	payloads := []string{
		`0`, `-0`, `10`, `01`, `-`, `+1`, `1.`, `1.5`, `.5`, `1e`, `1e5`, `1E+5`, `1e-5`, `1e+`, `0x1`, `00`, `-01`, `1 2`, `1a`,
		`""`, `"`, `"a`, `"a\`, `"\"`, `"\""`, `"\\"`, `"\/\b\f\n\r\t"`, `"\x"`, `"\u00e9"`, `"\u00E9"`, `"\u00g9"`, `"\u00e"`, `"\u"`, `"\ud800"`,
		"\"\x00\"", "\"\n\"", "\"\x1f\"", "\"\x7f\"", `"é😀"`, "\"12345678\x01\"", `"1234567\"89012345678"`, "\"\u2028\"",
		`true`, `false`, `null`, `tru`, `truer`, `nul`, `True`, `fals`, `t`,
		`[]`, `[ ]`, `[1]`, `[1,]`, `[,1]`, `[1,2]`, `[1 2]`, `[`, `[1`, `[1,`, `]`, `[[],[{}]]`, `[1}`,
		`{}`, `{ }`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a" : 1 , "b" : [ 2 ] }`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1,"a":2}`, `{"a":[}`, `{`, `{"a`, `{1:2}`, `}`, `{"a":1]`,
		"\t\r\n 1 \t\r\n", "\v1", "\u00a01", "1\x00", "\ufeff1", `//1`, `NaN`,
		nested(9_999), nested(10_000), objects(9_999), objects(10_000),
	}
	for _, payload := range payloads {
		_, err := envelope.Append(nil, sampleMeta(), []byte(payload))
		// The envelope is one level around the payload.
		if want := json.Valid([]byte("{\"payload\":" + payload + "}")); (err == nil) != want {
			t.Errorf("%.40q: %v, want valid %v", payload, err, want)
		}
	}
}

func TestEscapesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, text := range []string{`\"\\\/\b\f\n\r\t`, `a\u0041\u00e9\u20AC\u20ac`, `\ud83d\ude00 \uD83D\uDE00`, `1234567\n89`, `\u0000`, `\uFFFD`, `\u2028`} {
		var want string
		if err := json.Unmarshal([]byte(`"`+text+`"`), &want); err != nil {
			t.Fatal(err)
		}
		if m, _ := mustParse(t, []byte(head+`,"key":"`+text+`","payload":1}`)); m.Key != want {
			t.Errorf("%s is %q, want %q", text, m.Key, want)
		}
	}
	for _, text := range []string{`\ud83d`, `\ud83d x`, `\ude00\ud83d`, `\ud83d\u0041`, `\ud83d\n`} {
		_, _, err := envelope.Parse([]byte(head + `,"key":"` + text + `","payload":1}`))
		wantInvalid(t, err, "key at byte 56: unpaired surrogate")
	}
}

// Strings are looked at eight bytes at a time, and long ones at thirty-two: wherever in one something stands, it is found.
func TestWhatIsSpecialInAStringIsFoundWhereverItStands(t *testing.T) {
	for length := range 120 {
		for at := range length {
			for _, special := range []string{`"`, `\`, "\x1f", "\t", "\x00", `\n`, "!", "#", " ", "[", "]", "\x7f", "ä", "\U0010ffff"} {
				payload := []byte(`"` + strings.Repeat("x", at) + special + strings.Repeat("y", length-at-1) + `"`)
				if _, err := envelope.Append(nil, sampleMeta(), payload); (err == nil) != json.Valid(payload) {
					t.Fatalf("%q: %v, want valid %v", payload, err, json.Valid(payload))
				}
			}
		}
	}
}
