package port

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// KV holds plain keys. A key that others wrote with the backend's own client is the same key.
type KV interface {
	// Get returns one Value for each key, in their order; a key that does not exist has Found false. TTL stays 0.
	Get(ctx context.Context, keys ...string) ([]Value, error)

	// GetTTL is Get that tells TTL too. Some backends have to ask twice for it.
	GetTTL(ctx context.Context, keys ...string) ([]Value, error)

	// Apply makes each change alone, in order, and tells of each what came of it. For several as one step, see
	// [Queue].Write. The error is for the call: then nothing is known beyond what the error says. After [ErrUncertain] a
	// conditional change that is repeated finds its condition spent: the caller recognises its own value by a nonce in it.
	Apply(ctx context.Context, changes ...Change) ([]Applied, error)

	// Add adds delta to the decimal number at key, which counts as 0 when absent, and returns the sum. A key that Add
	// creates lives for ttl (0: without end); an existing one keeps the time that it has. [ErrInvalid] when the value is
	// no 64-bit decimal number or would leave that range. After [ErrUncertain] a repetition may add a second time: what
	// must be exact is a number in a step of [Queue].Write, or of a settlement.
	Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)

	// Keys yields the keys that match pattern, each once, in no order. One that exists from the start to the end of the
	// loop is always among them. It asks in portions; an error is the last item.
	Keys(ctx context.Context, pattern string) iter.Seq2[string, error]

	// Clear deletes every key of the namespace and tells how many they were. It touches no topic and no lease, and no key
	// of another namespace. [ErrUnsupported] unless the backend was opened with leave to do this.
	Clear(ctx context.Context) (int, error)
}

// Value is what a key holds.
type Value struct {
	Key   string
	Found bool
	Bytes []byte
	TTL   time.Duration // from GetTTL: what is left to live; 0: no end
}

// If is the condition of a change.
type If int

const (
	Always If = iota // whatever is there
	Absent           // only where there is no such key
	Equals           // only where the value equals Old, byte by byte
)

// String is "always", "absent" or "equals".
func (i If) String() string {
	switch i {
	case Always:
		return "always"
	case Absent:
		return "absent"
	case Equals:
		return "equals"
	default:
		return fmt.Sprintf("If(%d)", int(i))
	}
}

// KeepTTL in Change.TTL leaves the key's time to live as it was; a key that did not exist gets none.
const KeepTTL time.Duration = -1

// Change is one key to be set or deleted.
type Change struct {
	Key    string
	Delete bool          // with Always, deleting what is not there is done and no error
	Value  []byte        // nil is the empty value; must be empty with Delete
	If     If            // default Always
	Old    []byte        // for Equals; nil equals the empty value; must be nil otherwise
	TTL    time.Duration // 0: no end; KeepTTL: as it was; else at least Caps.MinTTL; must be 0 with Delete
	Fence  Fence         // default none
}

// Applied is what came of a change.
type Applied struct {
	Done bool  // false: the condition did not hold, or Err says why
	Was  Value // of a condition that did not hold: what is there instead, in the same round trip; of Delete: Found alone
	Err  error // a FenceError when a newer token was seen; nil when only the condition failed
}

// Fence carries the fencing token of a term, so that whoever receives an effect can refuse one from a past holder. A step or
// change with a Fence is refused with a [FenceError] when a larger token of the same Name was seen before in the same family
// (where Caps.Atomic is AtomicAll: in the namespace); otherwise its token is now seen. The zero Fence is none.
type Fence struct {
	Name  string // of the lease
	Token uint64 // 1 to MaxToken
}

// IsZero reports whether there is no fence.
func (f Fence) IsZero() bool { return f.Name == "" && f.Token == 0 }

// Check answers [ErrInvalid] for a fence that is neither zero nor whole.
func (f Fence) Check() error {
	if f.IsZero() {
		return nil
	}
	if err := CheckName("fence", f.Name); err != nil {
		return err
	}
	return checkToken("fence "+brief(f.Name), f.Token)
}

// Check answers [ErrInvalid] for a change that no backend takes, or that c cannot take.
func (c Change) Check(caps Caps) error {
	if err := CheckKey("key", c.Key); err != nil {
		return err
	}
	bad := func(why string) error { return fmt.Errorf("change of key %s: %s: %w", brief(c.Key), why, ErrInvalid) }
	switch {
	case c.If < Always || c.If > Equals:
		return bad("unknown condition " + c.If.String())
	case c.If != Equals && c.Old != nil:
		return bad("Old is given without If: Equals")
	case c.Delete && len(c.Value) > 0:
		return bad("it deletes and has a value")
	case c.Delete && c.TTL != 0:
		return bad("it deletes and has a time to live")
	case c.Delete && c.If == Absent:
		return bad("it deletes what is absent")
	}
	if c.TTL != KeepTTL {
		if err := CheckTTL(caps, "key "+brief(c.Key), c.TTL, true); err != nil {
			return err
		}
	}
	if err := c.Fence.Check(); err != nil {
		return err
	}
	return checkSize(caps, "value of key "+brief(c.Key), c.Value)
}

// CheckTTL answers [ErrInvalid] for a time to live that is negative or shorter than c.MinTTL, and for 0 unless it may be none.
// What names the thing in the error.
func CheckTTL(c Caps, what string, ttl time.Duration, orNone bool) error {
	if ttl == 0 && orNone {
		return nil
	}
	if ttl <= 0 || ttl < c.MinTTL {
		return fmt.Errorf("%s: time to live %v is shorter than %s's minimum %v: %w", what, ttl, c.Name, max(c.MinTTL, time.Millisecond), ErrInvalid)
	}
	return nil
}

// Millis is d in whole milliseconds, rounded up, as every backend counts.
func Millis(d time.Duration) int64 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return int64(ms)
}

func checkToken(what string, token uint64) error {
	if token == 0 || token > MaxToken {
		return fmt.Errorf("%s: token %d is not in 1 to 2^53-1: %w", what, token, ErrInvalid)
	}
	return nil
}
