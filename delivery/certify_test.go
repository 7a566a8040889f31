package delivery

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/adapter/env"
	"github.com/musterhq/muster/port"
)

func passed() Report {
	ok := []Check{{Command: "go vet ./...", OK: true}, {Command: "go build", OK: true}, {Command: "go test", OK: true}}
	return Report{Go: "go1.26.0", Checks: ok, Tests: Tests{Passed: 1}, Cases: 1, Binary: port.Digest([]byte(goodProgram)), Size: len(goodProgram)}
}

// tested is a program that has passed, with its binary kept.
func tested(t *testing.T, w *world, files ...file) checked {
	t.Helper()
	if _, err := w.contents.Put(t.Context(), []byte(goodProgram)); err != nil {
		t.Fatal(err)
	}
	return checked{source: coded(t, w, files...), Report: passed()}
}

func TestCertifySignsWhatIsKnown(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	out, err := alone(t, "certify", w.certifyPhase, tested(t, w, file{"main.go", goodProgram}))
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.PublicKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body, err := w.contents.Get(t.Context(), out.Statement)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Verify(body, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Subject) != 3 || s.Predicate.Run != "run" || len(s.Predicate.Policy) == 0 || s.Predicate.Review.Concerns[0] != "none to speak of" || !s.Predicate.Scripted {
		t.Errorf("statement %+v", s)
	}
}

func TestAReviewDecidesNothing(t *testing.T) {
	for name, m := range map[string]*answers{
		"there is none":       {},
		"it is no document":   {texts: []string{"terrible!"}},
		"it is full of doubt": {texts: []string{`{"summary": "Do not use this.", "concerns": ["a", "b"]}`}},
		"the model is away":   {errs: []error{errors.New("away")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, m, Config{})
			out, err := alone(t, "certify", w.certifyPhase, tested(t, w, file{"main.go", goodProgram}))
			if err != nil || out.Review.Summary == "" || !strings.Contains(out.Trail[0].Detail, "review: ") {
				t.Errorf("%+v, %v", out.Review, err)
			}
		})
	}
}

func TestThePolicyRefuses(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	aws := "AKIA" + "ABCDEFGHIJKLMNOP"
	for name, c := range map[string]struct {
		change func(*Report)
		file   string
		says   string
	}{
		"no tests":       {change: func(r *Report) { r.Tests.Passed = 0 }, says: "0 tests passed"},
		"no cases":       {change: func(r *Report) { r.Cases = 0 }, says: "0 acceptance cases"},
		"no vet":         {change: func(r *Report) { r.Checks = r.Checks[1:] }, says: "go vet did not pass"},
		"a failed build": {change: func(r *Report) { r.Checks[1].OK = false }, says: "go build did not pass"},
		"no program":     {change: func(r *Report) { r.Size = 0 }, says: "0 bytes"},
		"a private key":  {file: "\n-----BEGIN RSA " + "PRIVATE KEY-----", says: "line 4: it holds what looks like a private key"},
		"an access key":  {file: aws, says: "an AWS access key"},
		"a password":     {file: `Password: "correcthorse"`, says: "a password in a string"},
		"a licence":      {file: "// SPDX-License-Identifier: MIT OR GPL-3.0-only\n", says: `licence "GPL-3.0-only" is not allowed`},
		"a licence text": {file: "GNU AFFERO GENERAL\nPUBLIC LICENSE", says: "which is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			in := tested(t, w, file{"main.go", goodProgram + c.file})
			if c.change != nil {
				c.change(&in.Report)
			}
			_, err := alone(t, "certify", w.certifyPhase, in)
			wants(t, err, "the program is not certified", c.says)
			if strings.Contains(err.Error(), aws) || strings.Contains(err.Error(), "correcthorse") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
	if _, err := w.policy(passed(), []file{{"LICENSE", "SPDX-License-Identifier: (MIT OR Apache-2.0)\n"}}); err != nil {
		t.Errorf("a good licence is refused: %v", err)
	}
}

// pemKey is a private key as openssl writes it.
func pemKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestTheKeyComesFromTheSecretOrIsMade(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, script(t), Config{Secrets: env.Secrets{Prefix: "DELIVERY_TEST_"}})
	made, err := w.signer(t.Context())
	if err != nil || !strings.Contains(made.String(), "generated, in "+filepath.Join(w.out, ".muster")) {
		t.Fatalf("%v, %v", made, err)
	}
	again, err := w.signer(t.Context())
	if err != nil || !again.private.Equal(made.private) {
		t.Errorf("another key the second time: %v", err)
	}
	info, err := os.Stat(filepath.Join(w.out, ".muster", keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}

	t.Setenv("DELIVERY_TEST_SIGNING_KEY", pemKey(t, private))
	given, err := w.signer(t.Context())
	if err != nil || !given.public().Equal(public) || !strings.Contains(given.String(), `from the secret "signing-key"`) {
		t.Errorf("%v, %v", given, err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s %x", given, given, given, given, given); strings.Contains(shown, fmt.Sprintf("%x", private.Seed()[:4])) {
		t.Errorf("the key shows itself: %s", shown)
	}
	for _, bad := range []string{"no key", pemKey(t, other), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		t.Setenv("DELIVERY_TEST_SIGNING_KEY", bad)
		if _, err := w.signer(t.Context()); !errors.Is(err, port.ErrInvalid) || strings.Contains(err.Error(), bad) {
			t.Errorf("a key that is none: %v", err)
		}
	}
	t.Setenv("DELIVERY_TEST_SIGNING_KEY_FILE", "both")
	if _, err := w.signer(t.Context()); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("two places at once: %v", err)
	}
}

func TestWhatWasNotSignedIsRefused(t *testing.T) {
	w := newWorld(t, script(t), Config{})
	key, err := w.signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good, err := key.sign(Statement{Type: StatementType, PredicateType: PredicateType, Subject: []Subject{subject("a", "b")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(good, key.public()); err != nil {
		t.Fatal(err)
	}
	change := func(fn func(*Envelope)) []byte {
		var e Envelope
		if err := json.Unmarshal(good, &e); err != nil {
			t.Fatal(err)
		}
		fn(&e)
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	resign := func(payload string) []byte {
		return change(func(e *Envelope) {
			e.Payload = []byte(payload)
			e.Signatures[0].Sig = ed25519.Sign(key.private, preAuth(e.PayloadType, e.Payload))
		})
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body []byte
		key  ed25519.PublicKey
		says string
	}{
		"a payload that was changed": {change(func(e *Envelope) { e.Payload[20] ^= 1 }), key.public(), "it was changed"},
		"another type of payload":    {change(func(e *Envelope) { e.PayloadType = "text/plain" }), key.public(), "it was changed"},
		"no signature":               {change(func(e *Envelope) { e.Signatures = nil }), key.public(), "0 signatures"},
		"another key":                {good, other, "signed by another"},
		"no key":                     {good, nil, "0 bytes"},
		"no document":                {[]byte("no"), key.public(), "invalid character"},
		"more than one document":     {append(append([]byte{}, good...), good...), key.public(), "follows"},
		"another statement":          {resign(`{"_type": "x"}`), key.public(), `it is a "x"`},
		"an unknown field":           {resign(`{"x": 1}`), key.public(), "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Verify(c.body, c.key)
			wants(t, err, c.says)
			if !errors.Is(err, port.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
		})
	}
}
