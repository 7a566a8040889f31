package envelope_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/musterhq/muster/envelope"
)

func TestJSON(t *testing.T) {
	codec := envelope.JSON[order]{}
	t.Run("a value comes back", func(t *testing.T) {
		want, raw := sampleOrder()
		b, err := codec.Append([]byte("before "), want)
		if err != nil || string(b) != "before "+string(raw) {
			t.Fatalf("%s, %v", b, err)
		}
		var got order
		if err := codec.Decode(raw, &got); err != nil || got.Note != want.Note || got.Cents != want.Cents {
			t.Errorf("%+v, %v", got, err)
		}
		if codec.ContentType() != envelope.ContentTypeJSON {
			t.Error(codec.ContentType())
		}
	})
	t.Run("what does not decode is ErrInvalid, with its cause", func(t *testing.T) {
		var got order
		err := codec.Decode([]byte(`{"cents":"many"}`), &got)
		wantInvalid(t, err, "payload: json: cannot unmarshal")
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
			t.Errorf("%v has no cause", err)
		}
	})
	t.Run("what does not encode is ErrInvalid, and dst is as it was", func(t *testing.T) {
		b, err := envelope.JSON[func()]{}.Append([]byte("before"), func() {})
		wantInvalid(t, err, "payload: json: unsupported type")
		if string(b) != "before" {
			t.Errorf("%s", b)
		}
	})
	t.Run("JSON passes through", func(t *testing.T) {
		raw := envelope.JSON[json.RawMessage]{}
		b, err := raw.Append(nil, json.RawMessage(` {"a" : 1}`))
		if err != nil || string(b) != ` {"a" : 1}` {
			t.Errorf("%s, %v", b, err)
		}
		if b, err = raw.Append(nil, nil); err != nil || string(b) != "null" {
			t.Errorf("nil is %s, %v", b, err)
		}
		src := []byte(`[1]`)
		var got json.RawMessage
		if err := raw.Decode(src, &got); err != nil || string(got) != `[1]` {
			t.Errorf("%s, %v", got, err)
		}
		got[1] = '2'
		if string(src) != `[1]` {
			t.Error("the decoded value is part of the message")
		}
	})
}

func TestBytes(t *testing.T) {
	var codec envelope.Codec[[]byte] = envelope.Bytes{}
	b, err := codec.Append([]byte("a"), []byte("b\xff"))
	if err != nil || string(b) != "ab\xff" || codec.ContentType() != "application/octet-stream" {
		t.Errorf("%q, %v", b, err)
	}
	var got []byte
	if err := codec.Decode(b[:2], &got); err != nil || string(got) != "ab" {
		t.Errorf("%q, %v", got, err)
	}
	if _ = append(got, '!'); string(b) != "ab\xff" {
		t.Error("an append wrote into the message")
	}
}
