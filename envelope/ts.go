package envelope

import "time"

func (w *writer) ts(m *Meta) {
	if m.At.IsZero() {
		w.fail(fieldTs.String(), "missing")
		return
	}
	w.name(fieldTs.String())
	w.b = append(w.b, '"')
	b, err := m.At.UTC().AppendText(w.b)
	if err != nil {
		w.fail(fieldTs.String(), err.Error())
		return
	}
	w.b = append(b, '"')
}

func (p *parser) time() time.Time {
	text := p.required(fieldTs)
	if p.err != nil {
		return time.Time{}
	}
	at, ok := parseTime(text)
	if !ok || at.IsZero() {
		p.at = p.fields[fieldTs].from
		p.fail("want an RFC 3339 time after year 1, such as 2006-01-02T15:04:05.999999999Z")
	}
	return at
}

// parseTime reads an RFC 3339 time. The standard library also takes one-digit hours, a comma before the fraction, and zones
// that are none (go.dev/issue/54580); this does not.
func parseTime(text string) (at time.Time, ok bool) {
	const seconds = len("2006-01-02T15:04:05")
	n := len(text)
	if n <= seconds || text[seconds-6] != ':' || text[seconds] == ',' {
		return at, false
	}
	if text[n-1] != 'Z' && (text[n-5:n-3] > "23" || text[n-2:] > "59") {
		return at, false
	}
	var room [64]byte
	err := at.UnmarshalText(append(room[:0], text...))
	return at.UTC(), err == nil
}
