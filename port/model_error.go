package port

import (
	"fmt"
	"strings"
	"time"
)

// ModelErrorKind says what kept a model from answering.
type ModelErrorKind string

// What keeps a model from answering, what each matches by errors.Is, and whether the same request is worth repeating.
const (
	ModelRateLimited    ModelErrorKind = "rate limited"     // ErrUnavailable; repeat, after RetryAfter where it is given
	ModelOverloaded     ModelErrorKind = "overloaded"       // ErrUnavailable; repeat: the server is down, unreachable or full
	ModelTimeout        ModelErrorKind = "timeout"          // ErrUncertain; repeat: no answer in time, the tokens may be charged
	ModelBadOutput      ModelErrorKind = "bad output"       // repeat: an answer came that is not what was asked for
	ModelQuotaExhausted ModelErrorKind = "quota exhausted"  // ErrUnavailable; in vain until somebody pays
	ModelAuth           ModelErrorKind = "not authorised"   // ErrUnavailable; in vain until the credentials change
	ModelInvalid        ModelErrorKind = "invalid request"  // ErrInvalid; in vain
	ModelContextTooLong ModelErrorKind = "context too long" // ErrInvalid; in vain: the request must become shorter
	ModelRefused        ModelErrorKind = "refused"          // in vain: the server's own rules forbid the request
)

// ModelError is why there is no answer. It matches the sentinel of its kind and whatever Err matches.
type ModelError struct {
	Kind       ModelErrorKind
	Model      string        // which was asked; "" where no model was
	RetryAfter time.Duration // what the server asked for; 0: it did not say
	Err        error         // the cause
}

// Error names the model, the kind, the wait and the cause.
func (e *ModelError) Error() string {
	var b strings.Builder
	b.WriteString("model")
	if e.Model != "" {
		b.WriteString(" " + e.Model)
	}
	b.WriteString(": " + string(e.Kind))
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, ", retry after %v", e.RetryAfter)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *ModelError) Unwrap() error { return e.Err }

// Is reports whether target is the sentinel of the kind.
func (e *ModelError) Is(target error) bool {
	switch e.Kind {
	case ModelRateLimited, ModelOverloaded, ModelQuotaExhausted, ModelAuth:
		return target == ErrUnavailable
	case ModelTimeout:
		return target == ErrUncertain
	case ModelInvalid, ModelContextTooLong:
		return target == ErrInvalid
	default:
		return false
	}
}

// Retryable reports whether the same request may succeed when it is made again, a bounded number of times, not before
// RetryAfter.
func (e *ModelError) Retryable() bool {
	switch e.Kind {
	case ModelRateLimited, ModelOverloaded, ModelTimeout, ModelBadOutput:
		return true
	default:
		return false
	}
}
