package port

import (
	"fmt"
	"strings"
)

// Match reports whether pattern matches the whole of s, byte by byte. It is the one glob of every backend, with the rules of
// Redis: '*' is any run of bytes, '?' any one byte, [abc] and [a-z] one of a set, [^...] one outside of it, and a backslash
// takes the next byte literally, inside a set too. '/' and '.' are ordinary. A pattern that [CheckPattern] refuses matches
// nothing.
func Match(pattern, s string) bool {
	if CheckPattern(pattern) != nil {
		return false
	}
	return match(pattern, s)
}

// match walks both strings once and goes back to the last '*' on a mismatch, so it needs at most len(pattern)*len(s) steps.
func match(p, s string) bool {
	starP, starS := -1, 0
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) && p[i] == '*' {
			starP, starS = i, j
			i++
			continue
		}
		if i < len(p) {
			if ok, n := one(p[i:], s[j]); ok {
				i += n
				j++
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starS++
		i, j = starP+1, starS
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// one matches c with the single-byte element at the start of p and tells how long that element is.
func one(p string, c byte) (ok bool, n int) {
	switch p[0] {
	case '?':
		return true, 1
	case '\\':
		return p[1] == c, 2
	case '[':
		return set(p, c)
	default:
		return p[0] == c, 1
	}
}

// set matches c with the set at the start of p.
func set(p string, c byte) (ok bool, n int) {
	i := 1
	not := p[i] == '^'
	if not {
		i++
	}
	for p[i] != ']' {
		lo, w := setByte(p[i:])
		i += w
		hi := lo
		if p[i] == '-' && p[i+1] != ']' {
			hi, w = setByte(p[i+1:])
			i += 1 + w
		}
		if lo > hi {
			lo, hi = hi, lo
		}
		ok = ok || lo <= c && c <= hi
	}
	return ok != not, i + 1
}

func setByte(p string) (c byte, n int) {
	if p[0] == '\\' {
		return p[1], 2
	}
	return p[0], 1
}

// CheckPattern answers [ErrInvalid] for a pattern that is empty, longer than [MaxKey], ends in a backslash or has a set without
// an end.
func CheckPattern(pattern string) error {
	if err := CheckKey("pattern", pattern); err != nil {
		return err
	}
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
			if i == len(pattern) {
				return fmt.Errorf("pattern %s: a backslash ends it; write \\\\ for a literal one: %w", brief(pattern), ErrInvalid)
			}
		case '[':
			end := setEnd(pattern, i+1)
			if end < 0 {
				return fmt.Errorf("pattern %s: the set at byte %d has no end; write \\[ for a literal bracket: %w", brief(pattern), i, ErrInvalid)
			}
			i = end
		}
	}
	return nil
}

// setEnd is the place of the bracket that ends the set whose inside begins at i, or -1.
func setEnd(p string, i int) int {
	for ; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return -1
}

// IsPattern reports whether s has a metacharacter, so that it may match more than itself.
func IsPattern(s string) bool { return strings.ContainsAny(s, `*?[\`) }
