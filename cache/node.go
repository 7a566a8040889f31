package cache

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/musterhq/muster/port"
)

const (
	maxCacheName = 80 // bytes, so that what is made from it stays within port.MaxName
	maxNodeName  = 32
)

// node is this participant: its name, its clock, and the ids of what it does.
type node struct {
	cache    string // the cache's name
	name     string // cache and node, for errors
	id       string
	nonce    string // of this incarnation
	priority uint8
	clock    hybrid
	ops      atomic.Uint64
}

func newNode(cache, id string, priority uint8) (*node, error) {
	n := &node{cache: cache, id: id, nonce: rand.Text(), priority: priority}
	if id == "" {
		n.id = n.nonce[:8]
	}
	n.name = strconv.Quote(cache) + " on node " + n.id
	if err := port.CheckName("cache", cache); err != nil {
		return n, err
	}
	if len(cache) > maxCacheName {
		return n, fmt.Errorf("cache %q: the name has %d bytes, at most %d are allowed: %w", cache, len(cache), maxCacheName, port.ErrInvalid)
	}
	if err := port.CheckName("node of cache "+strconv.Quote(cache), n.id); err != nil {
		return n, err
	}
	if len(n.id) > maxNodeName {
		return n, fmt.Errorf("node %q of cache %q: the name has %d bytes, at most %d are allowed: %w", n.id, cache, len(n.id), maxNodeName, port.ErrInvalid)
	}
	return n, nil
}

// version is a new one, newer than one with the clock seen.
func (n *node) version(seen uint64) Version {
	return Version{Clock: n.clock.next(seen), Priority: n.priority, Node: n.id, Op: n.op()}
}

// op is an id that nobody has used.
func (n *node) op() string { return n.nonce + "." + strconv.FormatUint(n.ops.Add(1), 36) }

// rnd is what jitter is made from.
func (n *node) rnd() float64 { return mathrand.Float64() }
