package envelope

import (
	"encoding/base64"
	"strconv"
	"time"
)

// FromCloudEvent reads a CloudEvent 1.0 in the structured JSON format: those of [ToCloudEvent] without loss, and those of others,
// whose attributes that Meta has no field for are kept in Extra. What it refuses wraps [ErrInvalid]; also an attribute that is
// named like a field of the wire without being one of an event (ts, key, attempts, headers, payload), for Extra cannot hold it.
//
// An event need not have a time; At is zero then, and whoever takes the event in says when that is ([Derive] says now). An event
// without data has the payload null, or none where its content type is not JSON. JSON data is a part of event, which is not
// modified from then on.
func FromCloudEvent(event []byte) (Meta, []byte, error) {
	e := eventReader{scanner: scanner{b: event, where: "event"}}
	if at := invalidUTF8(event); at >= 0 {
		return Meta{}, nil, invalid(e.where, at, "not valid UTF-8")
	}
	e.space()
	found, err := e.members(0)
	if err == nil {
		e.end()
		err = e.err
	}
	if err != nil {
		return Meta{}, nil, err
	}
	for _, x := range found {
		e.take(x)
	}
	if e.version != ceVersion {
		e.refuse(ceSpecVersion, strconv.Quote(e.version)+", want 1.0")
	}
	e.settle()
	payload := e.payload()
	e.check(payload)
	if e.err != nil {
		return Meta{}, nil, e.err
	}
	return e.m, payload, nil
}

type eventReader struct {
	scanner
	m                Meta
	version, rest    string
	extra            []extraMember
	data, dataBase64 []byte // the JSON values; nil where absent
}

func (e *eventReader) refuse(what, want string) {
	if e.err == nil {
		e.err = invalid(what, -1, want)
	}
}

// take puts a member in its place. An attribute that is null is absent.
func (e *eventReader) take(x extraMember) {
	if string(x.value) == "null" {
		return
	}
	switch x.name {
	case ceSpecVersion:
		e.version = e.attribute(x)
	case ceID:
		e.m.ID = e.attribute(x)
	case ceSource:
		e.m.Source = e.attribute(x)
	case ceType:
		e.m.Type = e.attribute(x)
	case ceTime:
		at, ok := parseTime(e.attribute(x))
		if !ok {
			e.refuse(ceTime, "want an RFC 3339 time")
		}
		e.m.At = at
	case ceContentType:
		e.m.ContentType = e.attribute(x)
	case ceCorrelation:
		e.m.CorrID = e.attribute(x)
	case ceCausation:
		e.m.CauseID = e.attribute(x)
	case ceTenant:
		e.m.Tenant = e.attribute(x)
	case cePartition:
		e.m.Key = e.attribute(x)
	case HeaderTraceParent, HeaderTraceState:
		e.header(x.name, e.attribute(x))
	case ceRest:
		e.rest = e.attribute(x)
	case ceData:
		e.data = x.value
	case ceDataBase64:
		e.dataBase64 = x.value
	default:
		e.extra = append(e.extra, x)
	}
}

// attribute is the text of an attribute.
func (e *eventReader) attribute(x extraMember) string {
	s := scanner{b: x.value, where: x.name}
	found, ok := s.text()
	if !ok {
		e.refuse(x.name, "want a string")
		return ""
	}
	text, ok := s.unescaped(found)
	if !ok {
		e.refuse(x.name, "unpaired surrogate in a string")
	}
	return string(text)
}

func (e *eventReader) header(name, value string) {
	if e.m.Headers == nil {
		e.m.Headers = map[string]string{}
	}
	e.m.Headers[name] = value
}

// settle makes a Meta of the attributes.
func (e *eventReader) settle() {
	if e.m.Source == "" {
		e.refuse(ceSource, "missing")
	}
	if e.m.Source == ceNoSource {
		e.m.Source = ""
	}
	if e.m.CorrID == "" {
		e.m.CorrID = e.m.ID
	}
	w := writer{b: []byte{'{'}}
	for _, x := range e.extra {
		if fieldNamed([]byte(x.name)) != fieldUnknown {
			e.refuse(x.name, "the name is that of a field on the wire, which is no attribute")
		}
		w.name(string(x.rawName))
		w.b = append(w.b, x.value...)
	}
	e.unpack(&w)
	if len(w.b) > 1 {
		e.m.Extra = append(w.b, '}')
	}
}

// check wants what Append wants, save a time.
func (e *eventReader) check(payload []byte) {
	if e.err != nil {
		return
	}
	checked := e.m
	if checked.At.IsZero() {
		checked.At = time.Unix(0, 0)
	}
	_, e.err = Append(nil, checked, payload)
}

// unpack takes the rest apart; what is unknown goes to w.
func (e *eventReader) unpack(w *writer) {
	if e.rest == "" || e.err != nil {
		return
	}
	p := parser{scanner: scanner{b: []byte(e.rest), where: ceRest}}
	var rest Meta
	if p.scan() {
		p.copyText()
		p.rest(&rest)
	}
	for f := range fieldCount {
		switch f {
		case fieldAttempts, fieldLastError, fieldHeaders:
		default:
			if p.fields[f].from != 0 && p.err == nil {
				p.err = invalid(ceRest, p.fields[f].from, f.String()+" has an attribute of its own")
			}
		}
	}
	if p.err != nil {
		e.err = p.err
		return
	}
	e.m.Attempts, e.m.LastError = rest.Attempts, rest.LastError
	for name, value := range rest.Headers {
		if _, twice := e.m.Headers[name]; twice {
			e.refuse(ceRest, strconv.Quote(name)+" is an attribute too")
		}
		e.header(name, value)
	}
	if len(rest.Extra) > 0 {
		if len(w.b) > 1 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, rest.Extra[1:len(rest.Extra)-1]...)
	}
}

// payload is the data in the form that its content type has here.
func (e *eventReader) payload() []byte {
	if e.err != nil {
		return nil
	}
	if e.m.ContentType == "" {
		e.m.ContentType = ContentTypeJSON
		if e.dataBase64 != nil {
			e.m.ContentType = ceDefaultEncoding
		}
	}
	isJSON := carriesJSON(e.m.ContentType)
	switch {
	case e.data != nil && e.dataBase64 != nil:
		e.refuse(ceDataBase64, "stands beside data")
	case e.dataBase64 != nil:
		body, err := base64.StdEncoding.Strict().DecodeString(e.attribute(extraMember{name: ceDataBase64, value: e.dataBase64}))
		if err == nil && isJSON {
			body, err = jsonValue(body)
		}
		if err != nil {
			e.refuse(ceDataBase64, err.Error())
		}
		return body
	case e.data == nil && isJSON:
		return []byte("null")
	case e.data != nil && isJSON:
		return e.data
	case e.data != nil:
		return []byte(e.attribute(extraMember{name: ceData, value: e.data}))
	}
	return []byte{}
}
