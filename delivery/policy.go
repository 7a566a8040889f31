package delivery

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// credential is what one kind of secret looks like.
type credential struct {
	what    string
	pattern *regexp.Regexp
}

// credentials are few and plain: what they find is suspect, what they do not find may be a secret all the same.
var credentials = []credential{
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY`)},
	{"an AWS access key", regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a GitHub token", regexp.MustCompile(`\b(gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{60,})`)},
	{"a Slack token", regexp.MustCompile(`\bxox[abeoprs]-[0-9A-Za-z-]{10,}`)},
	{"a Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"an API key of a model", regexp.MustCompile(`\bsk-[0-9A-Za-z_-]{20,}`)},
	{"a password in a string", regexp.MustCompile(`(?i)\b(password|passwd|secret|api_?key|access_?token)\s*[:=]+\s*"[^"\s]{8,}"`)},
}

var (
	spdxLine = regexp.MustCompile(`SPDX-License-Identifier:\s*([^\r\n*]+)`)
	copyleft = regexp.MustCompile(`(?i)GNU\s+(LESSER\s+|AFFERO\s+)?GENERAL\s+PUBLIC\s+LICENSE|Mozilla\s+Public\s+License|Server\s+Side\s+Public\s+License`)
)

// policy checks what a release must keep. It returns the rules that hold, or what breaks one.
func (p *Pipeline) policy(r Report, files []file) ([]string, error) {
	var wrong []error
	if r.Tests.Passed == 0 || r.Tests.Failed > 0 || r.Cases == 0 {
		wrong = append(wrong, fmt.Errorf("%d tests passed, %d failed, %d acceptance cases passed: there must be some, and none that fails", r.Tests.Passed, r.Tests.Failed, r.Cases))
	}
	for _, name := range []string{"go vet", "go build", "go test"} {
		if !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.OK && strings.HasPrefix(c.Command, name) }) {
			wrong = append(wrong, fmt.Errorf("%s did not pass", name))
		}
	}
	if r.Size == 0 || r.Size > maxBinary {
		wrong = append(wrong, fmt.Errorf("the program has %d bytes, 1 to %d are allowed", r.Size, maxBinary))
	}
	for _, f := range files {
		for _, c := range credentials {
			if at := c.pattern.FindStringIndex(f.Content); at != nil {
				wrong = append(wrong, fmt.Errorf("file %q, line %d: it holds what looks like %s", f.Path, 1+strings.Count(f.Content[:at[0]], "\n"), c.what))
			}
		}
		wrong = append(wrong, p.licences(f)...)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return []string{
		"vet, build and tests passed",
		"only the standard library is used",
		"no file holds what looks like a credential",
		"no file names a licence beyond " + strings.Join(p.c.Licences, ", "),
		fmt.Sprintf("the files have at most %d bytes, the program at most %d", maxTree, maxBinary),
	}, nil
}

// licences are the licences that a file names and must not.
func (p *Pipeline) licences(f file) (wrong []error) {
	for _, m := range spdxLine.FindAllStringSubmatch(f.Content, -1) {
		expression := strings.NewReplacer("(", " ", ")", " ").Replace(m[1])
		for id := range strings.FieldsSeq(expression) {
			if id != "AND" && id != "OR" && !slices.Contains(p.c.Licences, id) {
				wrong = append(wrong, fmt.Errorf("file %q: licence %q is not allowed; allowed are %s", f.Path, id, strings.Join(p.c.Licences, ", ")))
			}
		}
	}
	if m := copyleft.FindString(f.Content); m != "" {
		wrong = append(wrong, fmt.Errorf("file %q: it names the %s, which is not allowed", f.Path, m))
	}
	return wrong
}
