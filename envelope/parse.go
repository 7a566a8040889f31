package envelope

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
)

// Parse reads what [Append] writes, and the same fields in any order with any white space, as other producers write them. What
// it refuses wraps [ErrInvalid]: no JSON, no UTF-8, a known field twice or of another type (null included), id, type, ts or the
// payload missing, a payload in the form of the other content types, a size over its limit, anything behind the object.
//
// A missing corrId is the id. Fields that are not known are kept in Extra; names are case-sensitive.
//
// A JSON payload is a part of wire, which is not modified from then on; everything else is copied.
func Parse(wire []byte) (Meta, []byte, error) {
	p := parser{scanner: scanner{b: wire, where: "envelope"}}
	if !p.scan() {
		return Meta{}, nil, p.err
	}
	p.copyText()
	var m Meta
	p.fill(&m)
	payload := p.body(&m)
	if p.err != nil {
		return Meta{}, nil, p.err
	}
	return m, payload, nil
}

// parser notes where each field stands, then copies the text around the payload at once, then cuts the fields out of it.
type parser struct {
	scanner
	fields [fieldCount]span // of a field with text what is between the quotes, of another the value; from is 0 where absent
	extra  []byte           // an object of the unknown fields, not yet closed
	seen   map[string]bool  // their names

	head, tail string // what stands before and behind the payload
	behind     int    // where tail starts
}

// scan reads the object and notes its fields.
func (p *parser) scan() bool {
	if p.at = invalidUTF8(p.b); p.at >= 0 {
		return p.fail("not valid UTF-8")
	}
	p.at = 0
	p.space()
	if !p.open('{', 0) {
		return false
	}
	whole := p.where
	for first := true; ; first = false {
		p.where = whole
		name, ok := p.member(first)
		if !ok {
			return p.err == nil && p.end()
		}
		if !p.field(name) {
			return false
		}
	}
}

// field reads the value of a member.
func (p *parser) field(name span) bool {
	text := p.b[name.from:name.to]
	if name.escaped {
		var ok bool
		if text, ok = p.unescaped(name); !ok {
			return false
		}
	}
	f := fieldNamed(text)
	if f == fieldUnknown {
		return p.unknown(name, string(text))
	}
	p.where = f.String()
	if p.fields[f].from != 0 {
		p.at = name.from
		return p.fail("comes twice")
	}
	found := span{from: p.at}
	var ok bool
	switch f {
	case fieldPayload:
		ok = p.value(1)
		found.to = p.at
	case fieldAttempts:
		if ok = p.at < len(p.b) && p.number(); !ok {
			p.fail("want a number")
		}
		found.to = p.at
	case fieldHeaders:
		ok = p.headers(nil)
		found.to = p.at
	default:
		found, ok = p.text()
	}
	p.fields[f] = found
	return ok
}

// unknown keeps a member as it stands.
func (p *parser) unknown(name span, text string) bool {
	p.where = strconv.Quote(text)
	if p.seen[text] {
		p.at = name.from
		return p.fail("comes twice")
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[text] = true
	from := p.at
	if !p.value(1) {
		return false
	}
	sep := byte(',')
	if p.extra == nil {
		sep = '{'
	}
	p.extra = append(p.extra, sep, '"')
	p.extra = append(p.extra, p.b[name.from:name.to]...)
	p.extra = append(p.extra, '"', ':')
	p.extra = append(p.extra, p.b[from:p.at]...)
	if len(p.extra) >= MaxText {
		p.at = from
		return p.fail("the unknown fields have more than " + strconv.Itoa(MaxText) + " bytes")
	}
	return true
}

// copyText makes the strings that the fields are cut out of: one, or two where a field stands behind the payload.
func (p *parser) copyText() {
	body := p.fields[fieldPayload]
	if body.from == 0 {
		body = p.fields[fieldPayloadBase64]
	}
	p.head = string(p.b[:body.from])
	p.behind = body.to
	for f := fieldID; f < fieldPayload; f++ {
		if p.fields[f].from > body.from {
			p.tail = string(p.b[body.to:])
			return
		}
	}
}

// cut is the text between two places, neither of them inside the payload.
func (p *parser) cut(from, to int) string {
	if to <= len(p.head) {
		return p.head[from:to]
	}
	return p.tail[from-p.behind : to-p.behind]
}

// string is the text of a string that was scanned.
func (p *parser) string(found span) string {
	if !found.escaped {
		return p.cut(found.from, found.to)
	}
	text, _ := p.unescaped(found)
	return string(text)
}

// optional is the text of a field; "" where it is absent.
func (p *parser) optional(f field) string {
	found := p.fields[f]
	if found.from == 0 || p.err != nil {
		return ""
	}
	if found.escaped {
		p.where = f.String()
	}
	s := p.string(found)
	if limit := f.limit(); len(s) > limit {
		p.where, p.at = f.String(), found.from
		p.fail(tooLong(len(s), limit, "bytes"))
	}
	return s
}

// required is the text of a field that may not be absent or empty.
func (p *parser) required(f field) string {
	s := p.optional(f)
	if s == "" && p.err == nil {
		p.err = invalid(f.String(), -1, "missing")
	}
	return s
}

func (p *parser) fill(m *Meta) {
	m.ID = p.required(fieldID)
	m.Type = p.required(fieldType)
	m.At = p.time()
	if m.CorrID = p.optional(fieldCorrID); m.CorrID == "" {
		m.CorrID = m.ID
	}
	m.CauseID = p.optional(fieldCauseID)
	m.Tenant = p.optional(fieldTenantID)
	m.Source = p.optional(fieldSource)
	m.Key = p.optional(fieldKey)
	m.ContentType = p.optional(fieldContentType)
	p.rest(m)
}

// rest fills what has no place in the head of a CloudEvent.
func (p *parser) rest(m *Meta) {
	if p.err != nil {
		return
	}
	m.Attempts = p.attempts()
	m.LastError = p.optional(fieldLastError)
	if found := p.fields[fieldHeaders]; found.from != 0 && p.err == nil {
		p.where = fieldHeaders.String()
		p.at = found.from
		m.Headers = map[string]string{}
		if p.headers(m.Headers); len(m.Headers) == 0 {
			m.Headers = nil
		}
	}
	if p.extra != nil {
		m.Extra = json.RawMessage(append(p.extra, '}'))
	}
}

func (p *parser) attempts() int {
	found := p.fields[fieldAttempts]
	if found.from == 0 {
		return 0
	}
	n, err := strconv.Atoi(string(p.b[found.from:found.to]))
	if err != nil || n < 0 || n > math.MaxInt32 {
		p.where = fieldAttempts.String()
		p.at = found.from
		p.fail("want a whole number from 0 to 2147483647")
		return 0
	}
	return n
}

// body is the payload, and settles the content type.
func (p *parser) body(m *Meta) []byte {
	if p.err != nil {
		return nil
	}
	plain, encoded := p.fields[fieldPayload], p.fields[fieldPayloadBase64]
	isJSON := carriesJSON(m.ContentType)
	switch {
	case plain.from == 0 && encoded.from == 0:
		p.err = invalid(fieldPayload.String(), -1, "missing")
	case plain.from != 0 && encoded.from != 0:
		p.err = invalid(fieldPayload.String(), plain.from, "stands beside payloadBase64")
	case plain.from != 0 && !isJSON:
		p.err = invalid(fieldPayload.String(), plain.from, "content type "+strconv.Quote(m.ContentType)+" wants payloadBase64")
	case encoded.from != 0 && isJSON:
		p.err = invalid(fieldPayloadBase64.String(), encoded.from, "content type "+strconv.Quote(m.ContentType)+" wants payload")
	case encoded.from != 0:
		return p.base64(encoded)
	}
	if m.ContentType == "" {
		m.ContentType = ContentTypeJSON
	}
	return p.b[plain.from:plain.to:plain.to]
}

// strictBase64 refuses bits that stand for nothing: one payload has one text.
var strictBase64 = base64.StdEncoding.Strict()

func (p *parser) base64(found span) []byte {
	p.where = fieldPayloadBase64.String()
	text, ok := p.unescaped(found)
	if !ok {
		return nil
	}
	body, err := strictBase64.AppendDecode(make([]byte, 0, strictBase64.DecodedLen(len(text))), text)
	if err != nil {
		p.at = found.from
		p.fail(err.Error())
	}
	return body
}
