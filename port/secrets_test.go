package port_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestASecretDoesNotShowItselfHoweverItIsPrinted(t *testing.T) {
	const value = "hunter2"
	s := port.NewSecret(value)
	type config struct {
		Key    port.Secret
		hidden port.Secret
	}
	holders := []any{s, &s, config{s, s}, &config{s, s}, []port.Secret{s}, map[string]port.Secret{"k": s}, [1]port.Secret{s}, struct{ c any }{s}, errors.New(s.String())}
	hex := fmt.Sprintf("%x", value)
	for _, v := range holders {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%c", "%U", "%e", "%w", "%z", "%10.3s", "%+q", "%!"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, value) || strings.Contains(strings.ToLower(out), hex) || strings.Contains(out, "104 117 110") {
				t.Errorf("%s of %T shows the secret: %s", verb, v, out)
			}
		}
		if out := fmt.Sprint(v) + fmt.Sprintln(v); strings.Contains(out, value) {
			t.Errorf("%T shows the secret: %s", v, out)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, s); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if fmt.Sprintf("%+v", config{Key: s})[:16] != "{Key:[redacted] " {
		t.Errorf("a struct prints %+v", config{Key: s})
	}
	if s.Reveal() != value || s.IsZero() || !(port.Secret{}).IsZero() || (port.Secret{}).Reveal() != "" {
		t.Error("a secret must reveal its value, and the zero one nothing")
	}
	if fmt.Sprint(port.Secret{}) != "[redacted]" {
		t.Error("the zero secret prints otherwise, which tells that it is empty")
	}
}

func TestASecretDoesNotShowItselfHoweverItIsEncodedOrLogged(t *testing.T) {
	type config struct {
		Key  port.Secret
		Many map[string]port.Secret
	}
	c := config{port.NewSecret("hunter2"), map[string]port.Secret{"a": port.NewSecret("hunter2")}}
	encoded, err := json.Marshal(c)
	if want := `{"Key":"[redacted]","Many":{"a":"[redacted]"}}`; err != nil || string(encoded) != want {
		t.Errorf("JSON is %s, %v; want %s", encoded, err, want)
	}
	if err := json.Unmarshal(encoded, &c); err == nil {
		t.Error("a redacted secret decodes from JSON as if it were one")
	}
	type page struct{ Key port.Secret }
	encoded, err = xml.Marshal(page{c.Key})
	if err != nil || !strings.Contains(string(encoded), "<Key>[redacted]</Key>") {
		t.Errorf("XML is %s, %v", encoded, err)
	}
	text, err := c.Key.MarshalText()
	if err != nil || string(text) != "[redacted]" {
		t.Errorf("text is %s, %v", text, err)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(c); err != nil || !strings.Contains(b.String(), "[redacted]") || strings.Contains(b.String(), "hunter2") {
		t.Errorf("gob is %q, %v", b.String(), err)
	}
	for name, h := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		b.Reset()
		slog.New(h(&b)).Info("opened", "key", c.Key, "config", c, "pointer", &c.Key, "error", fmt.Errorf("key %v", c.Key))
		if strings.Contains(b.String(), "hunter2") || !strings.Contains(b.String(), "[redacted]") {
			t.Errorf("the %s log is %s", name, b.String())
		}
	}
}

func ExampleSecret() {
	key := port.NewSecret("hunter2")
	fmt.Printf("%v %q %#v\n", key, key, key)
	fmt.Println(len(key.Reveal()))
	// Output:
	// [redacted] [redacted] [redacted]
	// 7
}
