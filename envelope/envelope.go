// Package envelope is what travels: the message with its identity around the payload, its form on the wire, and the
// correlation that a handler's code, logs and publishes take from the context without being asked.
//
// [Append] and [Parse] are the wire codec, [Codec] turns payloads into bytes and back, [NewID] and [DeriveID] make ids,
// [Enter], [From] and [Derive] carry the correlation through a context, [LogHandler] puts it on every log line, and
// [ToCloudEvent] and [FromCloudEvent] speak to the world outside.
//
// What may not enter: anything that knows a backend, a port, or how often a message was delivered. The package imports the
// standard library alone and does no I/O.
package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrInvalid is what every refusal of this package wraps. The text names the field, the place and what is wanted:
// "envelope: invalid: headers at byte 212: want a string".
var ErrInvalid = errors.New("envelope: invalid")

// The limits of an envelope, checked by [Append] and [Parse] alike. They bound what is around the payload; the size of the
// payload is bounded by the backend.
const (
	MaxID      = 512       // bytes of id, corrId and causeId
	MaxName    = 1024      // bytes of type, tenantId, source, key, contentType and the name of a header
	MaxText    = 64 * 1024 // bytes of lastError, of a header's value, and of Extra
	MaxHeaders = 128       // headers
)

// ContentTypeJSON is the content type of a payload that says nothing else.
const ContentTypeJSON = "application/json"

// Meta is a message without its payload. All text is valid UTF-8. The zero value of an optional field means that it is absent.
//
// A Meta is copied freely; Headers and Extra are shared between the copies and not modified once the Meta is in use.
type Meta struct {
	ID          string            // required; stays the same through every retry and redrive
	Type        string            // required; what the payload is, such as the name of the topic
	At          time.Time         // required; when the message came to be, kept in UTC to the nanosecond
	CorrID      string            // what the message is part of; default ID, which makes the message a root
	CauseID     string            // ID of the message that it was derived from; default none
	Tenant      string            // whom it is for; default none
	Source      string            // who made it, best a URI reference (CloudEvents ask for one); default none
	Key         string            // what is to be handled in order; default none
	Headers     map[string]string // anything else, such as HeaderTraceParent; default none
	ContentType string            // of the payload; default ContentTypeJSON
	Attempts    int               // in dead letters only: how often it was tried, 0 to 1<<31-1; default 0
	LastError   string            // in dead letters only: see ErrorText; default none
	Extra       json.RawMessage   // a JSON object of the fields that this package does not know, as they stood; default none
}

// Envelope is a message with its payload decoded.
type Envelope[T any] struct {
	Meta
	Payload T
}

// field numbers what is known on the wire.
type field int

const (
	fieldUnknown field = iota
	fieldID
	fieldType
	fieldTs
	fieldCorrID
	fieldCauseID
	fieldTenantID
	fieldSource
	fieldKey
	fieldAttempts
	fieldLastError
	fieldHeaders
	fieldContentType
	fieldPayload
	fieldPayloadBase64
	fieldCount
)

// String is the field's name on the wire.
func (f field) String() string {
	switch f {
	case fieldID:
		return "id"
	case fieldType:
		return "type"
	case fieldTs:
		return "ts"
	case fieldCorrID:
		return "corrId"
	case fieldCauseID:
		return "causeId"
	case fieldTenantID:
		return "tenantId"
	case fieldSource:
		return "source"
	case fieldKey:
		return "key"
	case fieldAttempts:
		return "attempts"
	case fieldLastError:
		return "lastError"
	case fieldHeaders:
		return "headers"
	case fieldContentType:
		return "contentType"
	case fieldPayload:
		return "payload"
	case fieldPayloadBase64:
		return "payloadBase64"
	}
	return "unknown field"
}

// lead is what stands before the text of f on the wire where it is not the first member; "" where f has no text.
func (f field) lead() string {
	switch f {
	case fieldID:
		return `,"id":"`
	case fieldType:
		return `,"type":"`
	case fieldTs:
		return `,"ts":"`
	case fieldCorrID:
		return `,"corrId":"`
	case fieldCauseID:
		return `,"causeId":"`
	case fieldTenantID:
		return `,"tenantId":"`
	case fieldSource:
		return `,"source":"`
	case fieldKey:
		return `,"key":"`
	case fieldLastError:
		return `,"lastError":"`
	case fieldContentType:
		return `,"contentType":"`
	case fieldPayloadBase64:
		return `,"payloadBase64":"`
	}
	return ""
}

// fieldNamed is the inverse of String; names are case-sensitive.
func fieldNamed(name []byte) field {
	switch string(name) {
	case "id":
		return fieldID
	case "type":
		return fieldType
	case "ts":
		return fieldTs
	case "corrId":
		return fieldCorrID
	case "causeId":
		return fieldCauseID
	case "tenantId":
		return fieldTenantID
	case "source":
		return fieldSource
	case "key":
		return fieldKey
	case "attempts":
		return fieldAttempts
	case "lastError":
		return fieldLastError
	case "headers":
		return fieldHeaders
	case "contentType":
		return fieldContentType
	case "payload":
		return fieldPayload
	case "payloadBase64":
		return fieldPayloadBase64
	}
	return fieldUnknown
}

// limit is how many bytes the text of f may have.
func (f field) limit() int {
	switch f {
	case fieldID, fieldCorrID, fieldCauseID:
		return MaxID
	case fieldLastError:
		return MaxText
	}
	return MaxName
}

// invalid is an ErrInvalid about a field; at is the byte in the input, negative where there is none.
func invalid(what string, at int, want string) error {
	if at < 0 {
		return fmt.Errorf("%w: %s: %s", ErrInvalid, what, want)
	}
	return fmt.Errorf("%w: %s at byte %d: %s", ErrInvalid, what, at, want)
}

// tooLong says that something of n units is over its limit.
func tooLong(n, limit int, unit string) string {
	return fmt.Sprintf("%d %s, at most %d", n, unit, limit)
}
