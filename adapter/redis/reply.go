package redis

import (
	"errors"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// reply reads what a script answered, one value after the other. The first that is not as expected stays in err.
type reply struct {
	list  rueidis.RedisMessage
	items []rueidis.RedisMessage
	open  bool
	i     int
	err   error
}

var errShort = errors.New("the answer of a script is shorter than it should be")

func (r *reply) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reply) more() bool {
	if !r.open {
		r.open = true
		items, err := r.list.ToArray()
		r.items = items
		r.note(err)
	}
	return r.err == nil && r.i < len(r.items)
}

func (r *reply) next() rueidis.RedisMessage {
	if !r.more() {
		r.note(errShort)
		return rueidis.RedisMessage{}
	}
	r.i++
	return r.items[r.i-1]
}

func (r *reply) text() string {
	m := r.next()
	if r.err != nil {
		return ""
	}
	s, err := m.ToString()
	r.note(err)
	return s
}

func (r *reply) int() int64 {
	m := r.next()
	if r.err != nil {
		return 0
	}
	n, err := m.AsInt64()
	r.note(err)
	return n
}

// offset reads a stream id; "" stays "".
func (r *reply) offset(era string) port.Offset {
	id := r.text()
	if id == "" {
		return ""
	}
	p, err := entry(era, id)
	r.note(err)
	return p.offset()
}
