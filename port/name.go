package port

import (
	"fmt"
	"strings"
)

// Limits that hold on every backend.
const (
	MaxName   = 128       // bytes in the name of a topic, group, consumer, channel, lease or fence
	MaxKey    = 512       // bytes in a key, a message ID, a message key, a batch ID, an owner
	MaxParts  = 480       // messages, changes and removals in one batch, together: two records each and a few fit into 1,000
	MaxReason = 4 << 10   // bytes in the reason of a Return
	MaxData   = 64 << 10  // bytes in the data of a lease
	MaxToken  = 1<<53 - 1 // the largest fencing token: every backend carries it exactly
)

// DeadSuffix ends the name of a dead-letter topic, <topic>.<group>.dead, which may be as long as its parts make it.
const DeadSuffix = ".dead"

// CheckName answers [ErrInvalid] unless s has 1 to [MaxName] characters of A-Z a-z 0-9 . _ - and no empty part between dots.
// A topic that ends in [DeadSuffix] may be longer, by a group's name and the suffix. What names the thing in the error.
func CheckName(what, s string) error {
	most := MaxName
	if what == "topic" && strings.HasSuffix(s, DeadSuffix) {
		most = MaxName + 1 + MaxName + len(DeadSuffix)
	}
	if s == "" {
		return fmt.Errorf("%s: the name is empty: %w", what, ErrInvalid)
	}
	if len(s) > most {
		return fmt.Errorf("%s %s: the name has %d bytes, at most %d are allowed: %w", what, brief(s), len(s), most, ErrInvalid)
	}
	last := byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		case c == '.':
			if last == '.' {
				return fmt.Errorf("%s %s: a part between dots is empty: %w", what, brief(s), ErrInvalid)
			}
		default:
			return fmt.Errorf("%s %s: character %q is not one of A-Z a-z 0-9 . _ -: %w", what, brief(s), s[i:i+1], ErrInvalid)
		}
		last = c
	}
	if last == '.' {
		return fmt.Errorf("%s %s: a part between dots is empty: %w", what, brief(s), ErrInvalid)
	}
	return nil
}

// CheckGroupName is [CheckName] for a group, which has no dots.
func CheckGroupName(s string) error {
	if err := CheckName("group", s); err != nil {
		return err
	}
	if strings.Contains(s, ".") {
		return fmt.Errorf("group %s: a group's name has no dots: %w", brief(s), ErrInvalid)
	}
	return nil
}

// CheckKey answers [ErrInvalid] unless s has 1 to [MaxKey] bytes; any bytes will do.
func CheckKey(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s: it is empty: %w", what, ErrInvalid)
	}
	if len(s) > MaxKey {
		return fmt.Errorf("%s %s: %d bytes, at most %d are allowed: %w", what, brief(s), len(s), MaxKey, ErrInvalid)
	}
	return nil
}

// Family is name up to its first '.' or '/': what one step may span where [Caps].Atomic is [AtomicFamily].
func Family(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 {
		return name[:i]
	}
	return name
}

func checkSize(c Caps, what string, b []byte) error {
	if c.MaxBody > 0 && len(b) > c.MaxBody {
		return fmt.Errorf("%s: %d bytes, %s takes at most %d: %w", what, len(b), c.Name, c.MaxBody, ErrInvalid)
	}
	return nil
}

// brief quotes s for an error message, shortened.
func brief(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
