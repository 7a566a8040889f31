package envelope

import "time"

func (w *writer) ts(m *Meta) {
	if m.At.IsZero() {
		w.fail(fieldTs.String(), "missing")
		return
	}
	w.b = append(w.b, w.lead(fieldTs)...)
	b, err := appendTime(w.b, m.At.UTC())
	if err != nil {
		w.fail(fieldTs.String(), err.Error())
		return
	}
	w.b = append(b, '"')
}

// appendTime is AppendText of a time in UTC, written for this one layout.
func appendTime(dst []byte, at time.Time) ([]byte, error) {
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendText(dst)
	}
	hour, minute, second := at.Clock()
	var text [30]byte
	twoDigits(text[0:], year/100, 0)
	twoDigits(text[2:], year%100, '-')
	twoDigits(text[5:], int(month), '-')
	twoDigits(text[8:], day, 'T')
	twoDigits(text[11:], hour, ':')
	twoDigits(text[14:], minute, ':')
	twoDigits(text[17:], second, '.')
	ns := at.Nanosecond()
	for i := 28; i > 19; i-- {
		text[i] = '0' + byte(ns%10)
		ns /= 10
	}
	end := 29
	for text[end-1] == '0' && end > 20 {
		end--
	}
	if end == 20 {
		end-- // no fraction
	}
	text[end] = 'Z'
	return append(dst, text[:end+1]...), nil
}

// twoDigits writes the two digits of n, which is below 100, and what stands behind them, which the next ones may write over.
func twoDigits(to []byte, n int, behind byte) {
	_ = to[2]
	to[0], to[1], to[2] = '0'+byte(n/10), '0'+byte(n%10), behind
}

func (p *parser) time() time.Time {
	text := p.required(fieldTs)
	if p.err != nil {
		return time.Time{}
	}
	at, ok := parseTime(text)
	if !ok || at.IsZero() {
		p.where, p.at = fieldTs.String(), p.fields[fieldTs].from
		p.fail("want an RFC 3339 time after year 1, such as 2006-01-02T15:04:05.999999999Z")
	}
	return at
}

// parseTime reads an RFC 3339 time. The standard library also takes one-digit hours, a comma before the fraction, and zones
// that are none (go.dev/issue/54580); this does not.
func parseTime(text string) (at time.Time, ok bool) {
	if at, ok = parseUTC(text); ok {
		return at, true
	}
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

// parseUTC is parseTime for what Append writes, as most times come; false for what is to be looked at again.
func parseUTC(text string) (at time.Time, ok bool) {
	const layout = "2006-01-02T15:04:05Z"
	n := len(text)
	if n < len(layout) || n > len(layout)+10 || text[n-1] != 'Z' ||
		text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' {
		return at, false
	}
	century, ok0 := number2(text[0:])
	rest, ok1 := number2(text[2:])
	month, ok2 := number2(text[5:])
	day, ok3 := number2(text[8:])
	hour, ok4 := number2(text[11:])
	minute, ok5 := number2(text[14:])
	second, ok6 := number2(text[17:])
	ns := 0
	if n > len(layout) {
		if text[19] != '.' || n == len(layout)+1 {
			return at, false
		}
		for i := 20; i < 29; i++ {
			ns *= 10
			if i >= n-1 {
				continue
			}
			d := text[i] - '0'
			if d > 9 {
				return at, false
			}
			ns += int(d)
		}
	}
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return at, false
	}
	at = time.Date(century*100+rest, time.Month(month), day, hour, minute, second, ns, time.UTC)
	return at, day <= 28 || at.Day() == day // else the month has no such day
}

// number2 is the number that two digits are.
func number2(text string) (n int, ok bool) {
	tens, units := text[0]-'0', text[1]-'0'
	return int(tens)*10 + int(units), tens <= 9 && units <= 9
}
