package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/musterhq/muster/port"
)

// FenceHeader is the name under which a request to a resource of one's own carries [FormatFence] of a term, so that the receiver can
// refuse it by a [Gate] or a [FenceCondition].
const FenceHeader = "Muster-Fence"

// FormatFence is a fence as text, NAME=TOKEN.
func FormatFence(f port.Fence) string { return f.Name + "=" + strconv.FormatUint(f.Token, 10) }

// ParseFence reads what [FormatFence] wrote; [port.ErrInvalid] for anything else, and for no fence at all: a resource that is fenced does
// not take what is not.
func ParseFence(s string) (port.Fence, error) {
	name, number, ok := strings.Cut(s, "=")
	token, err := strconv.ParseUint(number, 10, 64)
	f := port.Fence{Name: name, Token: token}
	if !ok || err != nil || name == "" || f.Check() != nil {
		return port.Fence{}, fmt.Errorf("cluster: %q is no fence of the form NAME=TOKEN: %w", s, port.ErrInvalid)
	}
	return f, nil
}

// FenceCondition is an SQL condition that holds where no larger token was seen: column is where the row keeps the largest one, null or a
// number of 64 bits, and token is the placeholder of Term.Token. The statement that has it must also set the column to the token, and
// no row affected means that a newer holder was there before:
//
//	UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND (fence IS NULL OR fence <= $2)
//
// One column fences the effects of one name, such as one election. Both arguments are put into the statement as they are.
func FenceCondition(column, token string) string {
	return "(" + column + " IS NULL OR " + column + " <= " + token + ")"
}

// Gate remembers the largest token of each name that came through, and refuses smaller ones: the memory of a resource that lives in one
// process. It forgets when the process ends; what outlives the process keeps the token with its data ([FenceCondition]). The
// zero value is ready for use, by several goroutines at once.
type Gate struct {
	mu   sync.Mutex
	seen map[string]uint64
}

// Admit lets a fence through unless a larger token of its name came before: then it answers a [port.FenceError], which matches
// [port.ErrStale]. What follows must not be overtaken by another Admit of the name: let whoever acts on the resource hold the resource's own
// lock around both.
func (g *Gate) Admit(f port.Fence) error {
	if f.IsZero() {
		return fmt.Errorf("cluster: an effect without a fence: %w", port.ErrInvalid)
	}
	if err := f.Check(); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if seen := g.seen[f.Name]; seen > f.Token {
		return fmt.Errorf("cluster: %w", &port.FenceError{Name: f.Name, Token: f.Token, Seen: seen})
	}
	if g.seen == nil {
		g.seen = map[string]uint64{}
	}
	g.seen[f.Name] = f.Token
	return nil
}
