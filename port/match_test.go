package port_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestMatchHasTheRulesOfRedis(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "aa", false},
		{"aa", "a", false},
		{"*", "", true},
		{"*", "a/b.c\n", true},
		{"a*", "a", true},
		{"a*c", "abbc", true},
		{"a*c", "abcd", false},
		{"**", "x", true},
		{"*a*b*", "xxaxxbxx", true},
		{"*a*b*", "xxbxxaxx", false},
		{"*ab", "aab", true},
		{"a*b*c", "abcbc", true},
		{"?", "a", true},
		{"?", "", false},
		{"?", "ab", false},
		{"a?c", "a/c", true},
		{"??", "é", true},
		{"?", "é", false},
		{"[abc]", "b", true},
		{"[abc]", "d", false},
		{"[a-c]", "b", true},
		{"[c-a]", "b", true},
		{"[a-c]", "d", false},
		{"[a-]", "-", true},
		{"[-a]", "-", true},
		{"[^a]", "b", true},
		{"[^a]", "a", false},
		{"[^a]", "", false},
		{"[^a-c]x", "dx", true},
		{"[a^]", "^", true},
		{`[\]]`, "]", true},
		{`[\a-c]`, "b", true},
		{`[a-\c]`, "b", true},
		{`[\-a]`, "-", true},
		{`[\^a]`, "^", true},
		{"[[]", "[", true},
		{"[*]", "*", true},
		{"[*]", "a", false},
		{"[]", "a", false},
		{"[^]", "a", true},
		{"[\x00-\xff]", "\x80", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{`\\`, `\`, true},
		{`\a`, "a", true},
		{`a\?b`, "a?b", true},
		{`a\?b`, "axb", false},
		{"a]", "a]", true},
		{"", "", false},
		{"[a", "a", false},
		{`a\`, "a", false},
		{`[a\]`, "a", false},
		{"a-z", "b", false},
	} {
		if got := port.Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) is %v", c.pattern, c.s, got)
		}
	}
}

func TestMalformedPatternsAreInvalidAndMatchNothing(t *testing.T) {
	for _, p := range []string{"", "[", "[a", "a[", "[^", `[\]`, `\`, `a\`, `\\\`, "[]a[", strings.Repeat("a", port.MaxKey+1)} {
		if err := port.CheckPattern(p); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("CheckPattern(%q): %v", p, err)
		}
		if port.Match(p, p) {
			t.Errorf("%q matches itself", p)
		}
	}
}

func TestIsPatternTellsWhatMayMatchMoreThanItself(t *testing.T) {
	for s, want := range map[string]bool{"": false, "a.b/c-d_e]^": false, "a*": true, "a?": true, "[a]": true, `\a`: true} {
		if got := port.IsPattern(s); got != want {
			t.Errorf("IsPattern(%q) is %v", s, got)
		}
	}
}

func TestManyStarsNeedNoExponentialTime(t *testing.T) {
	pattern := strings.Repeat("a*", port.MaxKey/2-1) + "b"
	if port.Match(pattern, strings.Repeat("a", 10_000)) {
		t.Error("a string without b matches")
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { port.Match(`ord*.[a-p]l?ced\.*`, "orders.placed.billing") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzMatch holds Match against a matcher that follows the rules one by one, by recursion.
func FuzzMatch(f *testing.F) {
	for _, p := range []string{"*", "a?c", "[a-c]*", `\*[^a]`, "[]", "[^]", "a*b*c", `[\]-a]`, "[a", `\`, "[z-a]", "[a-]"} {
		for _, s := range []string{"", "a", "abc", "*b", "]", "a-c"} {
			f.Add(p, s)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 24 || len(s) > 24 { // the reference is exponential
			return
		}
		elements, ok := parse(pattern)
		if ok != (port.CheckPattern(pattern) == nil) {
			t.Fatalf("CheckPattern(%q) is %v, well formed is %v", pattern, port.CheckPattern(pattern), ok)
		}
		if got, want := port.Match(pattern, s), ok && matches(elements, s); got != want {
			t.Fatalf("Match(%q, %q) is %v", pattern, s, got)
		}
	})
}

// element is one part of a pattern: any run, or the bytes that it takes.
type element struct {
	run   bool
	takes [256]bool
}

// parse cuts a pattern into elements; ok is false when it is malformed or empty.
func parse(p string) (es []element, ok bool) {
	if p == "" {
		return nil, false
	}
	for len(p) > 0 {
		var e element
		c := p[0]
		p = p[1:]
		switch c {
		case '*':
			e.run = true
		case '?':
			for i := range e.takes {
				e.takes[i] = true
			}
		case '\\':
			if p == "" {
				return nil, false
			}
			e.takes[p[0]] = true
			p = p[1:]
		case '[':
			if e.takes, p, ok = parseSet(p); !ok {
				return nil, false
			}
		default:
			e.takes[c] = true
		}
		es = append(es, e)
	}
	return es, true
}

// parseSet reads a set behind its opening bracket: first its members, escaped or not, up to the bracket, then its ranges.
func parseSet(p string) (takes [256]bool, rest string, ok bool) {
	not := strings.HasPrefix(p, "^")
	p = strings.TrimPrefix(p, "^")
	type member struct {
		c       byte
		escaped bool
	}
	var members []member
	for {
		if p == "" {
			return takes, "", false
		}
		m := member{c: p[0]}
		p = p[1:]
		if m.c == ']' {
			break
		}
		if m.c == '\\' {
			if p == "" {
				return takes, "", false
			}
			m = member{p[0], true}
			p = p[1:]
		}
		members = append(members, m)
	}
	for i := 0; i < len(members); i++ {
		lo, hi := members[i].c, members[i].c
		if i+2 < len(members) && members[i+1] == (member{c: '-'}) {
			hi = members[i+2].c
			i += 2
		}
		for c := int(min(lo, hi)); c <= int(max(lo, hi)); c++ {
			takes[c] = true
		}
	}
	if not {
		for c := range takes {
			takes[c] = !takes[c]
		}
	}
	return takes, p, true
}

func matches(es []element, s string) bool {
	if len(es) == 0 {
		return s == ""
	}
	if es[0].run {
		return matches(es[1:], s) || s != "" && matches(es, s[1:])
	}
	return s != "" && es[0].takes[s[0]] && matches(es[1:], s[1:])
}

func BenchmarkMatch(b *testing.B) {
	for _, pattern := range []string{"orders.placed.billing", "orders.*", "*.b?ll[a-z]ng"} {
		b.Run(fmt.Sprintf("%q", pattern), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				port.Match(pattern, "orders.placed.billing")
			}
		})
	}
}
