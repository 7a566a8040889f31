package cluster

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/musterhq/muster/port"
)

// The kinds of leases. The kind begins the lease's name, so all leases of a kind are one family and are renewed by one call.
const (
	kindMember = "member" // member.ID
	kindLead   = "lead"   // lead.ELECTION
	kindLock   = "lock"   // lock.NAME
	kindSlot   = "slot"   // slot.NAME.N
	kindShare  = "share"  // what stands about a lock: share.NAME.q.N waits for it, share.NAME.r.N reads, share.NAME.door lets readers in
)

// leaseName is the name of a lease, or port.ErrInvalid for a name that is none. What is said of it in the error is the kind.
func leaseName(kind string, parts ...string) (string, error) {
	name := kind + "." + strings.Join(parts, ".")
	if err := port.CheckName(kind, parts[0]); err != nil {
		return "", fmt.Errorf("cluster: %w", err)
	}
	if len(name) > port.MaxName {
		return "", fmt.Errorf("cluster: %s %q: the name is too long by %d bytes: %w", kind, parts[0], len(name)-port.MaxName, port.ErrInvalid)
	}
	return name, nil
}

// newNonce is 128 random bits as text.
func newNonce() string { return rand.Text() }

// process is host-pid-, in characters that a name may have.
var process = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host" // the nonce alone tells processes apart
	}
	host = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
			return r
		default:
			return '-'
		}
	}, host)
	return host[:min(len(host), 40)] + "-" + strconv.Itoa(os.Getpid()) + "-"
})

var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567")

// defaultID is host-pid-nonce, in characters that a name may have.
func defaultID() string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // it ends the program rather than fail
	return process() + lower.EncodeToString(random[:])
}
