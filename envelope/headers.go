package envelope

import (
	"slices"
	"strconv"
	"strings"
)

// headerFlaw says what is wrong with the size of a header; "" for nothing.
func headerFlaw(name string, value int) string {
	switch {
	case name == "":
		return "a header has no name"
	case len(name) > MaxName:
		return "the name of a header has " + tooLong(len(name), MaxName, "bytes")
	case value > MaxText:
		return "the value of " + strconv.Quote(name) + " has " + tooLong(value, MaxText, "bytes")
	}
	return ""
}

// header is a header on its way to the wire.
type header struct{ name, value string }

// sortedHeaders appends the headers to dst in the order of their names.
func sortedHeaders(dst []header, headers map[string]string) []header {
	for name, value := range headers {
		dst = append(dst, header{name, value})
	}
	if len(dst) > 1 {
		slices.SortFunc(dst, func(a, b header) int { return strings.Compare(a.name, b.name) })
	}
	return dst
}

// headers appends the headers.
func (w *writer) headers(headers []header) {
	if len(headers) == 0 {
		return
	}
	if len(headers) > MaxHeaders {
		w.fail(fieldHeaders.String(), tooLong(len(headers), MaxHeaders, "headers"))
		return
	}
	w.name(fieldHeaders.String())
	w.b = append(w.b, '{')
	for i, h := range headers {
		if want := headerFlaw(h.name, len(h.value)); want != "" {
			w.fail(fieldHeaders.String(), want)
			return
		}
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.text(fieldHeaders, h.name)
		w.b = append(w.b, ':')
		w.text(fieldHeaders, h.value)
	}
	w.b = append(w.b, '}')
}

// headers reads the headers: into nothing while the fields are looked for, later into a map.
func (p *parser) headers(into map[string]string) bool {
	if !p.open('{', 1) {
		return false
	}
	for n := 0; ; n++ {
		name, ok := p.member(n == 0)
		if !ok {
			return p.err == nil
		}
		at := p.at
		value, ok := p.text()
		if !ok {
			return false
		}
		if n == MaxHeaders {
			return p.fail("more than " + strconv.Itoa(MaxHeaders) + " headers")
		}
		if into == nil {
			continue
		}
		k, v := p.string(name), p.string(value)
		_, twice := into[k]
		want := headerFlaw(k, len(v))
		if twice {
			want = strconv.Quote(k) + " comes twice"
		}
		if want != "" {
			p.at = at
			p.fail(want)
		}
		if p.err != nil {
			return false
		}
		into[k] = v
	}
}
