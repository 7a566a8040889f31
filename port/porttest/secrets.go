package porttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

// SecretsSuite says how to open the source of secrets that is to be proved.
type SecretsSuite struct {
	// Open gives a source that has these secrets, by name, and no others whose names begin with "absent".
	Open func(t *testing.T, secrets map[string]string) port.Secrets
}

// Secrets proves the source that s opens, with one subtest for each case.
func Secrets(t *testing.T, s SecretsSuite) { proveAll(t, s, secretsPromises()) }

func secretsPromises() []promise[SecretsSuite] {
	return []promise[SecretsSuite]{
		{"a secret comes back to the byte", "Get returns the secret as it is now.", secretsBack},
		{"a secret that is not there is not found, and the error says where it was looked for", "ErrNotFound, with the places that were looked in, when there is none.", secretsAbsent},
		{"an empty secret is none", "ErrNotFound when it is empty.", secretsEmpty},
		{"a name that is no name is refused", "ErrInvalid for a name that CheckName refuses.", secretsNames},
		{"errors show no secret", "No error holds any part of a secret.", secretsQuiet},
		{"a call whose context has ended says why", "A call returns as soon as its context ends, with an error that wraps context.Cause.", secretsEnded},
		{"many may ask at once", "Everything is safe for use by many goroutines at once.", secretsCrowd},
	}
}

func (e *exam) secret(s port.Secrets, name, want string) {
	got, err := s.Get(e.ctx, name)
	e.must(err, "Get of "+name)
	e.check(got.Reveal() == want, "secret %q has %d bytes that are not those stored (%d)", name, len(got.Reveal()), len(want))
	e.check(fmt.Sprintf("%v %+v", got, got) == port.Redacted+" "+port.Redacted, "secret %q shows itself", name)
}

func secretsBack(e *exam, s SecretsSuite) {
	values := map[string]string{
		"plain": "hunter2", "spaces": "  a b\t", "lines": "-----BEGIN-----\nabc\n-----END-----", "bytes": "\xff\xfe\x01",
		"long": strings.Repeat("x", 20_000), "equals": "a=b=c", "with-dash.and.dot": "v", "quotes": `"$HOME" 'x'`,
	}
	src := s.Open(e.t, values)
	for name, value := range values {
		e.secret(src, name, value)
	}
}

func secretsAbsent(e *exam, s SecretsSuite) {
	_, err := s.Open(e.t, map[string]string{"present": "v"}).Get(e.ctx, "absent-key")
	e.is(err, port.ErrNotFound, "Get of a secret that is not there")
	e.check(strings.Contains(err.Error(), "absent-key"), "the error %q does not name the secret", err)
}

func secretsEmpty(e *exam, s SecretsSuite) {
	_, err := s.Open(e.t, map[string]string{"empty": ""}).Get(e.ctx, "empty")
	e.is(err, port.ErrNotFound, "Get of an empty secret")
}

func secretsNames(e *exam, s SecretsSuite) {
	src := s.Open(e.t, map[string]string{"present": "v"})
	for _, name := range []string{"", "a b", "a/b", "../a", "a=b", "a\x00", "ä", ".", "a..b", strings.Repeat("n", port.MaxName+1)} {
		_, err := src.Get(e.ctx, name)
		e.is(err, port.ErrInvalid, fmt.Sprintf("Get of name %.40q", name))
	}
}

func secretsQuiet(e *exam, s SecretsSuite) {
	src := s.Open(e.t, map[string]string{"present": "hunter2"})
	for _, name := range []string{"absent", "present.x", "", "a b"} {
		_, err := src.Get(e.ctx, name)
		e.check(err != nil, "Get of %q found something", name)
		e.check(!strings.Contains(err.Error(), "hunter2"), "the error of Get of %q shows the secret of another name", name)
	}
}

func secretsEnded(e *exam, s SecretsSuite) {
	_, err := s.Open(e.t, map[string]string{"present": "v"}).Get(e.ended(), "present")
	e.is(err, errEnough, "Get under an ended context")
}

func secretsCrowd(e *exam, s SecretsSuite) {
	src := s.Open(e.t, map[string]string{"one": "1", "two": "2"})
	e.crowd(32, func(i int) {
		e.secret(src, []string{"one", "two"}[i%2], []string{"1", "2"}[i%2])
	})
}
