package port

import (
	"context"
	"fmt"
	"log/slog"
)

// Secrets gives credentials by name.
type Secrets interface {
	// Get returns the secret as it is now. [ErrNotFound], with the places that were looked in, when there is none or it is
	// empty; [ErrInvalid] for a name that [CheckName] refuses, or when two places disagree. No error holds any part of a
	// secret.
	Get(ctx context.Context, name string) (Secret, error)
}

// Secret is a value that does not show itself: printed with any verb, encoded as JSON, text, XML or gob, and logged, it is
// [Redacted]. It cannot be compared with ==, nor decoded. The zero Secret is empty.
type Secret struct {
	// A closure and no string: where fmt or another reflecting printer cannot call methods (unexported fields, wrong
	// verbs), there is nothing but an address to print.
	reveal func() string
}

// Redacted is how a secret looks from outside.
const Redacted = "[redacted]"

// NewSecret is value as a secret.
func NewSecret(value string) Secret { return Secret{reveal: func() string { return value }} }

// Reveal returns the value. What is done with it from here on is the caller's care.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String is [Redacted].
func (s Secret) String() string { return Redacted }

// Format writes [Redacted], whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// MarshalJSON is [Redacted] as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalText is [Redacted].
func (s Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// GobEncode is [Redacted]; there is no way back.
func (s Secret) GobEncode() ([]byte, error) { return []byte(Redacted), nil }

// LogValue is [Redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }
