package envelope

import (
	"slices"
	"strconv"
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

// headers appends the headers, sorted.
func (w *writer) headers(headers map[string]string) {
	if len(headers) == 0 {
		return
	}
	if len(headers) > MaxHeaders {
		w.fail(fieldHeaders.String(), tooLong(len(headers), MaxHeaders, "headers"))
		return
	}
	var few [8]string
	names := few[:0]
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	w.name(fieldHeaders.String())
	w.b = append(w.b, '{')
	for i, name := range names {
		value := headers[name]
		if want := headerFlaw(name, len(value)); want != "" {
			w.fail(fieldHeaders.String(), want)
			return
		}
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.text(fieldHeaders, name)
		w.b = append(w.b, ':')
		w.text(fieldHeaders, value)
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
