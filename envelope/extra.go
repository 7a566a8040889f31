package envelope

import "encoding/json"

// extraMember is a field that the package does not know.
type extraMember struct {
	name    string // unescaped
	rawName []byte // as it stands between its quotes
	value   []byte // as it stands
}

// extraMembers reads Meta.Extra: a JSON object of at most MaxText bytes without a field that is known or comes twice.
func extraMembers(raw json.RawMessage) ([]extraMember, error) {
	const where = "extra"
	if len(raw) > MaxText {
		return nil, invalid(where, -1, tooLong(len(raw), MaxText, "bytes"))
	}
	if at := invalidUTF8(raw); at >= 0 {
		return nil, invalid(where, at, "not valid UTF-8")
	}
	s := scanner{b: raw, where: where}
	s.space()
	found, err := s.members(0)
	if err != nil {
		return nil, err
	}
	if !s.end() {
		return nil, s.err
	}
	for _, m := range found {
		if fieldNamed([]byte(m.name)) != fieldUnknown {
			return nil, invalid(where, -1, `"`+m.name+`" is a field of the envelope`)
		}
	}
	return found, nil
}

// members reads an object inside depth others, none of whose members comes twice.
func (s *scanner) members(depth int) ([]extraMember, error) {
	if !s.open('{', depth) {
		return nil, s.err
	}
	var found []extraMember
	seen := map[string]bool{}
	for first := true; ; first = false {
		name, ok := s.member(first)
		if !ok {
			return found, s.err
		}
		text, ok := s.unescaped(name)
		if !ok {
			return nil, s.err
		}
		if seen[string(text)] {
			s.at = name.from
			s.fail("comes twice: " + string(text))
			return nil, s.err
		}
		from := s.at
		if !s.value(depth + 1) {
			return nil, s.err
		}
		m := extraMember{name: string(text), rawName: s.b[name.from:name.to], value: s.b[from:s.at:s.at]}
		seen[m.name] = true
		found = append(found, m)
	}
}

// unescaped is the text of a string that was read.
func (s *scanner) unescaped(found span) ([]byte, bool) {
	raw := s.b[found.from:found.to]
	if !found.escaped {
		return raw, true
	}
	text, ok := unescape(nil, raw)
	if !ok {
		s.at = found.from
		s.fail("unpaired surrogate in a string")
	}
	return text, ok
}
