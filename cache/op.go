package cache

import (
	"encoding/json"
	"fmt"

	"github.com/musterhq/muster/port"
)

// Kind is what an entry of a cache's log says.
type Kind string

const (
	OpSet     Kind = "set"     // the key has a new value
	OpDelete  Kind = "delete"  // the keys have none any more
	OpPattern Kind = "pattern" // what matches the pattern is invalid
	OpTag     Kind = "tag"     // what carries one of the tags is invalid
	OpClear   Kind = "clear"   // everything is invalid
	OpHello   Kind = "hello"   // a node begins to follow
	OpTick    Kind = "tick"    // a node asks for the end of the log while others write all the time
)

// Op is an entry of a cache's log.
type Op struct {
	Kind    Kind
	Names   []string // keys, tags, or one pattern; none for the rest
	Version Version  // of each key that is set or deleted; of the rest: who and in what order
	Seq     uint64   // of a pattern or a clear: its number
	Prev    uint64   // of a pattern or a clear: the number of the one before; 0: there was none
	Value   []byte   // of a set by [Sync]; a cache's values stay in the store
}

// wireOp is an Op as the log has it: names may be any bytes, which JSON's strings may not.
type wireOp struct {
	Kind    Kind     `json:"op"`
	Names   [][]byte `json:"names,omitempty"`
	Version Version  `json:"version"`
	Seq     uint64   `json:"seq,omitempty"`
	Prev    uint64   `json:"prev,omitempty"`
	Value   []byte   `json:"value,omitempty"`
}

// message is op as a message on the log.
func (op Op) message(topic string) (port.Message, error) {
	w := wireOp{Kind: op.Kind, Version: op.Version, Seq: op.Seq, Prev: op.Prev, Value: op.Value}
	for _, n := range op.Names {
		w.Names = append(w.Names, []byte(n))
	}
	body, err := json.Marshal(w)
	if err != nil {
		return port.Message{}, fmt.Errorf("cache: %s: %w", op.Kind, err)
	}
	return port.Message{Topic: topic, ID: op.Version.Op, Body: body}, nil
}

// ParseOp reads an entry of a cache's log, for those who watch it with port.Queue's Read. port.ErrInvalid for anything else.
func ParseOp(body []byte) (Op, error) {
	var w wireOp
	if err := json.Unmarshal(body, &w); err != nil || w.Kind == "" {
		return Op{}, fmt.Errorf("cache: the entry is none of a cache's log: %w", port.ErrInvalid)
	}
	op := Op{Kind: w.Kind, Version: w.Version, Seq: w.Seq, Prev: w.Prev, Value: w.Value}
	for _, n := range w.Names {
		op.Names = append(op.Names, string(n))
	}
	return op, nil
}

// LogTopic is the topic on which the cache or the Sync of that name keeps its log.
func LogTopic(name string) string { return name + ".log" }
