package envelope

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Codec turns a payload into bytes and back. Its methods are safe for use by many goroutines at once.
type Codec[T any] interface {
	// ContentType is constant. A JSON one ([ContentTypeJSON], or any that ends in +json) makes the bytes travel as they are,
	// any other makes them travel as base64.
	ContentType() string

	// Append appends the bytes of v to dst and returns the extended slice. After an error dst is returned as it was.
	Append(dst []byte, v T) ([]byte, error)

	// Decode reads src into v. It may keep src, which nobody modifies afterwards; it does not modify it either.
	Decode(src []byte, v *T) error
}

// JSON is the codec of encoding/json. What it refuses wraps [ErrInvalid].
//
// JSON[json.RawMessage] is for payloads that are JSON already: they pass through, checked by [Append] and [Parse] alone. A nil
// one is null, as in encoding/json; Decode copies, since the payload of a parsed message is part of what others may read.
type JSON[T any] struct{}

// ContentType is [ContentTypeJSON].
func (JSON[T]) ContentType() string { return ContentTypeJSON }

// Append is json.Marshal.
func (JSON[T]) Append(dst []byte, v T) ([]byte, error) {
	if raw, ok := any(&v).(*json.RawMessage); ok {
		if *raw == nil {
			return append(dst, "null"...), nil
		}
		return append(dst, *raw...), nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("%w: payload: %w", ErrInvalid, err)
	}
	return append(dst, b...), nil
}

// Decode is json.Unmarshal.
func (JSON[T]) Decode(src []byte, v *T) error {
	if raw, ok := any(v).(*json.RawMessage); ok {
		*raw = append((*raw)[:0], src...)
		return nil
	}
	if err := json.Unmarshal(src, v); err != nil {
		return fmt.Errorf("%w: payload: %w", ErrInvalid, err)
	}
	return nil
}

// Bytes is the codec of payloads that are bytes and nothing more. Decode keeps src: the payload is read, not written to.
type Bytes struct{}

// ContentType is application/octet-stream.
func (Bytes) ContentType() string { return contentTypeBytes }

const contentTypeBytes = "application/octet-stream"

// Append appends v.
func (Bytes) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode sets v to src, with no room behind it, so that an append to v copies.
func (Bytes) Decode(src []byte, v *[]byte) error {
	*v = src[:len(src):len(src)]
	return nil
}

// carriesJSON says whether a payload of that content type is JSON and so travels as it is.
func carriesJSON(contentType string) bool {
	switch contentType {
	case "", ContentTypeJSON:
		return true
	case contentTypeBytes:
		return false
	}
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.TrimSpace(essence)
	if strings.EqualFold(essence, ContentTypeJSON) || strings.EqualFold(essence, "text/json") {
		return true
	}
	at := len(essence) - len("+json")
	return at > 0 && strings.EqualFold(essence[at:], "+json")
}
