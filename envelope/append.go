package envelope

import (
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Append appends the wire form of a message to dst and returns the extended slice; after an error, which wraps [ErrInvalid], it
// returns dst as it was.
//
// The wire form is one JSON object with the fields id, type, ts, corrId, causeId, tenantId, source, key, attempts, lastError,
// headers, contentType, those of m.Extra, and the payload, in this order, so that the same message has the same bytes each
// time. Absent optional fields are left out, save corrId, which is m.ID where m.CorrID is empty.
//
// A payload of a JSON content type is one JSON value, checked and passed through untouched but for white space around it; an
// empty one is an error, for nothing is written as null. Any other payload may be empty, and travels as payloadBase64.
func Append(dst []byte, m Meta, payload []byte) ([]byte, error) {
	var few [8]header
	headers := sortedHeaders(few[:0], m.Headers)
	w := writer{b: append(slices.Grow(dst, size(&m, headers, payload)), '{')}
	w.required(fieldID, m.ID)
	w.required(fieldType, m.Type)
	w.ts(&m)
	w.optional(fieldCorrID, cmp.Or(m.CorrID, m.ID))
	w.optional(fieldCauseID, m.CauseID)
	w.optional(fieldTenantID, m.Tenant)
	w.optional(fieldSource, m.Source)
	w.optional(fieldKey, m.Key)
	w.rest(&m, headers)
	if m.ContentType != ContentTypeJSON {
		w.optional(fieldContentType, m.ContentType)
	}
	w.extra(m.Extra)
	w.payload(m.ContentType, payload)
	if w.err != nil {
		return dst, w.err
	}
	return append(w.b, '}'), nil
}

// ErrorText is the text of err as [Meta] takes it for LastError, whatever it holds: what is no UTF-8 is replaced, and what is
// longer than MaxText is cut, with "…" at the end. The text of nil is empty.
func ErrorText(err error) string {
	if err == nil {
		return ""
	}
	const mark = "…"
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) <= MaxText {
		return s
	}
	end := MaxText - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// size is about how many bytes m, headers and payload need on the wire, rather too many than too few.
func size(m *Meta, headers []header, payload []byte) int {
	n := 192 + len(m.ID) + len(m.Type) + len(m.CorrID) + len(m.CauseID) + len(m.Tenant) + len(m.Source) + len(m.Key) +
		len(m.LastError) + len(m.ContentType) + len(m.Extra) + len(payload)
	if m.CorrID == "" {
		n += len(m.ID)
	}
	for _, h := range headers {
		n += len(`"":"",`) + len(h.name) + len(h.value)
	}
	if !carriesJSON(m.ContentType) {
		n += len(payload)/3 + 4
	}
	return n
}

// writer appends members to an object and keeps the first error.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(what, want string) {
	if w.err == nil {
		w.err = invalid(what, -1, want)
	}
}

// name starts a member.
func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(append(append(w.b, '"'), name...), '"', ':')
}

// lead is that of f, without its comma where f is the first member.
func (w *writer) lead(f field) string {
	lead := f.lead()
	if w.b[len(w.b)-1] == '{' {
		return lead[1:]
	}
	return lead
}

func (w *writer) required(f field, s string) {
	if s == "" {
		w.fail(f.String(), "missing")
		return
	}
	w.optional(f, s)
}

func (w *writer) optional(f field, s string) {
	if s == "" {
		return
	}
	if limit := f.limit(); len(s) > limit {
		w.fail(f.String(), tooLong(len(s), limit, "bytes"))
		return
	}
	lead := w.lead(f)
	if isPlainASCII(s) {
		w.b = append(append(append(w.b, lead...), s...), '"')
		return
	}
	w.b = append(w.b, lead[:len(lead)-1]...)
	w.escape(f, s)
}

// text appends s as a JSON string.
func (w *writer) text(f field, s string) {
	if isPlainASCII(s) {
		w.b = append(append(append(w.b, '"'), s...), '"')
		return
	}
	w.escape(f, s)
}

// escape is text for what may not stand as it is.
func (w *writer) escape(f field, s string) {
	if !utf8.ValidString(s) {
		w.fail(f.String(), "not valid UTF-8")
	}
	w.b = append(w.b, '"')
	for {
		i := plainUntil(s, 0)
		w.b = append(w.b, s[:i]...)
		if i == len(s) {
			break
		}
		w.b = appendEscaped(w.b, s[i])
		s = s[i+1:]
	}
	w.b = append(w.b, '"')
}

// rest appends what has no place in the head of a CloudEvent: attempts, lastError, headers.
func (w *writer) rest(m *Meta, headers []header) {
	if m.Attempts < 0 || m.Attempts > math.MaxInt32 {
		w.fail(fieldAttempts.String(), strconv.Itoa(m.Attempts)+" is out of range, want 0 to 2147483647")
		return
	}
	if m.Attempts > 0 {
		w.name(fieldAttempts.String())
		w.b = strconv.AppendInt(w.b, int64(m.Attempts), 10)
	}
	w.optional(fieldLastError, m.LastError)
	w.headers(headers)
}

// extra appends the members of a JSON object.
func (w *writer) extra(raw []byte) {
	if len(raw) == 0 {
		return
	}
	found, err := extraMembers(raw)
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return
	}
	for _, m := range found {
		w.name(string(m.rawName))
		w.b = append(w.b, m.value...)
	}
}

func (w *writer) payload(contentType string, payload []byte) {
	if !carriesJSON(contentType) {
		w.b = append(w.b, w.lead(fieldPayloadBase64)...)
		w.b = base64.StdEncoding.AppendEncode(w.b, payload)
		w.b = append(w.b, '"')
		return
	}
	value, err := jsonValue(payload)
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return
	}
	w.name(fieldPayload.String())
	w.b = append(w.b, value...)
}

// jsonValue is payload without the white space around it, if it is one JSON value that may stand in an envelope.
func jsonValue(payload []byte) ([]byte, error) {
	if at := invalidUTF8(payload); at >= 0 {
		return nil, invalid(fieldPayload.String(), at, "not valid UTF-8")
	}
	s := scanner{b: payload, where: fieldPayload.String()}
	found, ok := s.whole(1)
	if !ok {
		return nil, s.err
	}
	return payload[found.from:found.to], nil
}

// invalidUTF8 is the first byte of b that is not part of valid UTF-8; -1 where all is.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for at := 0; ; {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n <= 1 {
			return at
		}
		at += n
	}
}
