package cluster

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/musterhq/muster/port"
)

// note is the data of a lease of this package.
type note struct {
	TTL   int64             `json:"ttl"`   // of the lease, in milliseconds
	Since int64             `json:"since"` // when it was asked for, in milliseconds since 1970 by the holder's clock
	Meta  map[string]string `json:"meta,omitempty"`

	// Of a member that has left: the nonce of its lease, with which whoever joins under the same ID may release it.
	Left string `json:"left,omitempty"`
	// Of a member: the oldest incarnation since which each one left before the next came. 0: the one before did not.
	Chain uint64 `json:"chain,omitempty"`

	// Of a lock that readers hold, and of their door: the door's nonce; of the lock also the door's token.
	Read string `json:"read,omitempty"`
	Door uint64 `json:"door,omitempty"`
}

// encode is n as the data of a lease. Strings and numbers always encode.
func (n note) encode() []byte {
	if len(n.Meta) == 0 && n.Left == "" && n.Chain == 0 && n.Read == "" && n.Door == 0 { // as json has it, for the most frequent
		b := strconv.AppendInt(append(make([]byte, 0, 48), `{"ttl":`...), n.TTL, 10)
		return append(strconv.AppendInt(append(b, `,"since":`...), n.Since, 10), '}')
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic("cluster: " + err.Error())
	}
	return b
}

// noteOf reads the data of a lease. What is no note is the zero note: somebody else put the lease there, and it is held all
// the same.
func noteOf(l port.Lease) note {
	var n note
	if err := json.Unmarshal(l.Data, &n); err != nil {
		return note{}
	}
	return n
}

func (n note) ttl() time.Duration { return time.Duration(n.TTL) * time.Millisecond }

// since is when the lease was asked for, the zero time where the note does not say.
func (n note) since() time.Time {
	if n.Since == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n.Since)
}
