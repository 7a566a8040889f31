package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// space is the subjects of one namespace. Names have dots, and a name is one token of a subject: its dots are written as '~',
// which no name has. Names of which a part may be asked for (channels, leases) keep them.
type space struct {
	stream string
	root   string
}

func spaceOf(namespace string) space {
	return space{stream: "muster_" + token(namespace), root: "muster." + token(namespace) + "."}
}

func token(name string) string { return strings.ReplaceAll(name, ".", "~") }

func untoken(t string) string { return strings.ReplaceAll(t, "~", ".") }

// Subjects of the stream: "s." and one letter for what it is.

func (s space) all() string                      { return s.root + "s.>" }
func (s space) topics() string                   { return s.root + "s.t.*" }
func (s space) topic(topic string) string        { return s.root + "s.t." + token(topic) }
func (s space) log(topic string) string          { return s.root + "s.m." + token(topic) }
func (s space) removed(topic string) string      { return s.root + "s.x." + token(topic) }
func (s space) delayed(topic string) string      { return s.root + "s.q." + token(topic) }
func (s space) group(topic, group string) string { return s.root + "s.g." + token(topic) + "." + group }
func (s space) fence(name string) string         { return s.root + "s.f." + token(name) }
func (s space) batch(id string) string           { return s.root + "s.b." + hexOf(id) }
func (s space) leases() string                   { return s.root + "s.o.>" }
func (s space) lease(name string) string         { return s.root + "s.o." + name }
func (s space) keys() string                     { return s.root + "s.k.>" }
func (s space) key(key string) string            { return s.root + "s.k." + encodeKey(key) }

// Where the stream is one of a cluster, signals and hints of leases are kept in it for a while, and so is the record of view.newest (see
// feed).
func (s space) feed() string                     { return s.root + "s.v.>" }
func (s space) newest() string                   { return s.root + "s.v.z" }
func (s space) keptSignal(channel string) string { return s.root + "s.v.n." + channel }
func (s space) keptLeaseHint(name string) string { return s.root + "s.v.w." + name }

// owner is "+" for what a topic has of its own, or the name of a group.
func (s space) page(topic, owner string, id uint64) string {
	return s.root + "s.p." + token(topic) + "." + owner + "." + number(id)
}

func (s space) body(topic, owner string, id uint64) string {
	return s.root + "s.a." + token(topic) + "." + owner + "." + number(id)
}

func (s space) remembered(serial uint64) string { return s.root + "s.r." + number(serial) }

// Subjects beside the stream.

func (s space) signal(channel string) string { return s.root + "n." + channel }
func (s space) hint(topic string) string     { return s.root + "h." + token(topic) }
func (s space) leaseHint(name string) string { return s.root + "w." + name }
func (s space) feedHint() string             { return s.root + "v" }

func number(n uint64) string { return strconv.FormatUint(n, 36) }

// hash stands for an ID.
type hash [16]byte

func hashOf(id string) hash {
	sum := sha256.Sum256([]byte(id))
	return hash(sum[:16])
}

func hexOf(id string) string {
	h := hashOf(id)
	return hex.EncodeToString(h[:])
}

// encodeKey makes any key one token: all but A-Z a-z 0-9 _ - / : @ is =XX.
func encodeKey(key string) string {
	plain := true
	for i := range len(key) {
		plain = plain && isPlain(key[i])
	}
	if plain {
		return key
	}
	out := make([]byte, 0, 3*len(key))
	for i := range len(key) {
		if isPlain(key[i]) {
			out = append(out, key[i])
		} else {
			out = fmt.Appendf(out, "=%02X", key[i])
		}
	}
	return string(out)
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_-/:@", c) >= 0
}

// decodeKey is the key of a token that encodeKey made.
func decodeKey(t string) (string, bool) {
	if strings.IndexByte(t, '=') < 0 {
		return t, true
	}
	out := make([]byte, 0, len(t))
	for i := 0; i < len(t); i++ {
		if t[i] != '=' {
			out = append(out, t[i])
			continue
		}
		if i+2 >= len(t) {
			return "", false
		}
		c, err := strconv.ParseUint(t[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		out = append(out, byte(c))
		i += 2
	}
	return string(out), true
}
