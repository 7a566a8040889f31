package delivery

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"

	"github.com/musterhq/muster/port"
)

// The types of what is signed: an in-toto statement (https://in-toto.io/Statement/v1) in a DSSE envelope
// (https://github.com/secure-systems-lab/dsse).
const (
	PayloadType   = "application/vnd.in-toto+json"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://github.com/musterhq/muster/delivery/v1"
)

// Envelope is signed bytes in the JSON form of DSSE.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"` // base64 on the wire
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an [Envelope].
type Signature struct {
	KeyID string `json:"keyid"` // SHA-256 of the public key in its PKIX form
	Sig   []byte `json:"sig"`   // Ed25519, base64 on the wire
}

// Statement says what is known of the files of a release.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is one file of a release.
type Subject struct {
	Name   string `json:"name"` // its path in the release
	Digest struct {
		SHA256 string `json:"sha256"`
	} `json:"digest"`
}

// Predicate is what the pipeline says about a release.
type Predicate struct {
	Run          string     `json:"run"`
	Release      string     `json:"release"`      // its id
	Program      string     `json:"program"`      // its name
	Requirements string     `json:"requirements"` // SHA-256
	Models       []string   `json:"models"`       // which answered, as served
	Scripted     bool       `json:"scripted"`     // at least one of them is a script that stands in for a model
	Usage        port.Usage `json:"usage"`        // tokens
	Report       Report     `json:"report"`       // of validate
	Policy       []string   `json:"policy"`       // what was checked, and holds
	Review       Review     `json:"review"`       // of a model; it decided nothing
	Trail        []Entry    `json:"trail"`        // what each stay in a phase came to, up to here
}

func subject(name, digest string) Subject {
	s := Subject{Name: name}
	s.Digest.SHA256 = digest
	return s
}

// preAuth is the pre-authentication encoding of DSSE: what is signed.
func preAuth(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// Verify returns the statement of an envelope, encoded as JSON, that the holder of key has signed. port.ErrInvalid for anything else.
func Verify(envelope []byte, key ed25519.PublicKey) (Statement, error) {
	var s Statement
	bad := func(format string, args ...any) (Statement, error) {
		return Statement{}, fmt.Errorf("signed statement: %s: %w", fmt.Sprintf(format, args...), port.ErrInvalid)
	}
	var e Envelope
	if err := strict(envelope, &e); err != nil {
		return bad("%v", err)
	}
	if len(key) != ed25519.PublicKeySize {
		return bad("the public key has %d bytes, not %d", len(key), ed25519.PublicKeySize)
	}
	signed := false
	for _, sig := range e.Signatures {
		signed = signed || ed25519.Verify(key, preAuth(e.PayloadType, e.Payload), sig.Sig)
	}
	switch {
	case !signed:
		return bad("none of its %d signatures is of this key: it was changed, or signed by another", len(e.Signatures))
	case e.PayloadType != PayloadType:
		return bad("its payload has the type %q, not %q", e.PayloadType, PayloadType)
	}
	if err := strict(e.Payload, &s); err != nil {
		return bad("%v", err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType || len(s.Subject) == 0 {
		return bad("it is a %q with the predicate %q about %d files", s.Type, s.PredicateType, len(s.Subject))
	}
	return s, nil
}

// strict decodes one JSON document whose fields are all known.
func strict(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the document")
	}
	return nil
}

// sign encodes and signs a statement. The same statement and key give the same bytes.
func (s signer) sign(what Statement) ([]byte, error) {
	payload, err := json.Marshal(what)
	if err != nil {
		return nil, final("statement: %w", err)
	}
	sig := ed25519.Sign(s.private, preAuth(PayloadType, payload))
	envelope, err := json.Marshal(Envelope{PayloadType: PayloadType, Payload: payload, Signatures: []Signature{{KeyID: s.id, Sig: sig}}})
	if err != nil {
		return nil, final("statement: %w", err)
	}
	return append(envelope, '\n'), nil
}
