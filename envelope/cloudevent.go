package envelope

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strconv"
	"strings"
)

// The attributes of a CloudEvent that stand for a field of Meta. Those of the extensions are the documented ones where there is one:
// Correlation, Partitioning, Distributed Tracing.
const (
	ceSpecVersion     = "specversion"
	ceID              = "id"
	ceSource          = "source"
	ceType            = "type"
	ceTime            = "time"
	ceContentType     = "datacontenttype"
	ceCorrelation     = "correlationid"
	ceCausation       = "causationid"
	ceTenant          = "tenantid"
	cePartition       = "partitionkey"
	ceRest            = "musterrest" // JSON text of the fields that no attribute can hold
	ceData            = "data"
	ceDataBase64      = "data_base64"
	ceNoSource        = "urn:muster:unnamed" // the source of a message that names none
	ceMaxNameLen      = 20
	ceVersion         = "1.0"
	ceDefaultEncoding = "application/octet-stream"
)

// ToCloudEvent is a message as a CloudEvent 1.0 in the structured JSON format. [FromCloudEvent] reads all of it back. What
// CloudEvents cannot carry wraps [ErrInvalid]: beside what [Append] refuses, a Source that is no URI reference, and a
// control character in the text of an attribute.
//
// At becomes time, Key partitionkey, CorrID correlationid, CauseID causationid, Tenant tenantid, the trace headers the
// attributes of their names; a message without Source has "urn:muster:unnamed". A member of Extra whose name and value an
// attribute can have becomes one. The rest, which is the other headers and members of Extra, Attempts and LastError, is
// JSON text in musterrest.
func ToCloudEvent(m Meta, payload []byte) ([]byte, error) {
	if _, err := Append(nil, m, payload); err != nil {
		return nil, err
	}
	e := eventWriter{writer: writer{b: []byte{'{'}}}
	e.attribute(ceSpecVersion, ceVersion)
	e.attribute(ceID, m.ID)
	e.source(m.Source)
	e.attribute(ceType, m.Type)
	e.name(ceTime)
	e.b = append(m.At.UTC().AppendFormat(append(e.b, '"'), "2006-01-02T15:04:05.999999999Z07:00"), '"')
	e.attribute(ceContentType, cmp.Or(m.ContentType, ContentTypeJSON))
	e.attribute(ceCorrelation, cmp.Or(m.CorrID, m.ID))
	e.attribute(ceCausation, m.CauseID)
	e.attribute(ceTenant, m.Tenant)
	e.attribute(cePartition, m.Key)
	e.remainder(m)
	e.data(m.ContentType, payload)
	if e.err != nil {
		return nil, e.err
	}
	return append(e.b, '}'), nil
}

// eventWriter writes a CloudEvent out of a message that Append accepts.
type eventWriter struct{ writer }

func (e *eventWriter) attribute(name, s string) {
	if s == "" {
		return
	}
	if !attributeText(s) {
		e.fail(name, "a CloudEvent allows no control character")
		return
	}
	e.name(name)
	e.text(fieldUnknown, s)
}

func (e *eventWriter) source(s string) {
	if _, err := url.Parse(s); err != nil || strings.ContainsAny(s, " \"<>\\^`{|}") {
		e.fail(ceSource, strconv.Quote(s)+" is no URI reference, as a CloudEvent wants it")
		return
	}
	e.attribute(ceSource, cmp.Or(s, ceNoSource))
}

// remainder writes the headers, attempts, lastError and extra fields: as attributes where that can be, in ceRest where not.
func (e *eventWriter) remainder(m Meta) {
	rest := Meta{Attempts: m.Attempts, LastError: m.LastError, Headers: maps.Clone(m.Headers)}
	for _, name := range []string{HeaderTraceParent, HeaderTraceState} {
		if value := rest.Headers[name]; value != "" && attributeText(value) {
			e.attribute(name, value)
			delete(rest.Headers, name)
		}
	}
	var found []extraMember
	if len(m.Extra) > 0 {
		found, _ = extraMembers(m.Extra) // Append has read it
	}
	w := writer{b: []byte{'{'}}
	w.rest(&rest, sortedHeaders(nil, rest.Headers))
	for _, x := range found {
		if attributeName(x.name) && attributeValue(x.value) {
			e.name(x.name)
			e.b = append(e.b, x.value...)
			continue
		}
		w.name(string(x.rawName))
		w.b = append(w.b, x.value...)
	}
	if len(w.b) == 1 {
		return
	}
	var text bytes.Buffer
	if err := json.Compact(&text, append(w.b, '}')); err != nil {
		e.fail(ceRest, err.Error())
		return
	}
	e.attribute(ceRest, text.String())
}

func (e *eventWriter) data(contentType string, payload []byte) {
	if !carriesJSON(contentType) {
		e.name(ceDataBase64)
		e.b = base64.StdEncoding.AppendEncode(append(e.b, '"'), payload)
		e.b = append(e.b, '"')
		return
	}
	e.name(ceData)
	e.b = append(e.b, bytes.TrimSpace(payload)...)
}

// attributeText says whether s may be the value of an attribute: no control character.
func attributeText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f })
}

// attributeName says whether an unknown field may go as an attribute of its name.
func attributeName(name string) bool {
	switch name {
	case ceSpecVersion, ceID, ceSource, ceType, ceTime, ceContentType, ceCorrelation, ceCausation, ceTenant, cePartition,
		HeaderTraceParent, HeaderTraceState, ceRest, ceData:
		return false
	}
	return name != "" && len(name) <= ceMaxNameLen &&
		!strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// attributeValue says whether a JSON value is of a type that an attribute may have: text, a boolean, a 32-bit whole number.
func attributeValue(raw []byte) bool {
	switch raw[0] {
	case '"':
		var s string
		return json.Unmarshal(raw, &s) == nil && attributeText(s)
	case 't', 'f':
		return true
	}
	_, err := strconv.ParseInt(string(raw), 10, 32)
	return err == nil
}
