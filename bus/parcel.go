package bus

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// parcel is the messages of one step on their way out, with their bodies. A queue copies what it takes, so the memory of one parcel is
// that of the next.
type parcel struct {
	messages []port.Message
	bodies   room
}

var parcels sync.Pool // of *parcel

// maxRoom is how many bytes of bodies a parcel keeps for the next one.
const maxRoom = 256 << 10

// newParcel is a parcel with n messages, which are what they were: each is filled in.
func newParcel(n int) *parcel {
	p, ok := parcels.Get().(*parcel)
	if !ok {
		p = &parcel{}
	}
	p.messages = slices.Grow(p.messages[:0], n)[:n]
	return p
}

// done lets go of the parcel when the queue answered err to it. Only one that was taken is used again: after an error the queue may
// still read it.
func (p *parcel) done(err error) {
	if err != nil && !errors.Is(err, port.ErrDuplicate) {
		return
	}
	if p.bodies.bytes = p.bodies.bytes[:0]; cap(p.bodies.bytes) <= maxRoom && cap(p.bodies.payload) <= maxRoom {
		parcels.Put(p)
	}
}

// fillIn makes m, which was another one, that message. What is as it was is not written: a write costs more than a look.
func fillIn(m *port.Message, topic, id, key string, body []byte, at time.Time) {
	m.ID, m.Body = id, body
	set(&m.Topic, topic)
	set(&m.Key, key)
	if m.At != at {
		m.At = at
	}
}

// room is memory for bodies that leave together.
type room struct {
	bytes   []byte
	payload []byte // of one message, before it is in its envelope
}

// from is what was appended since, with no room behind it.
func (r *room) from(start int) []byte { return r.bytes[start:len(r.bytes):len(r.bytes)] }

// envelope appends the wire form of a message.
func (r *room) envelope(m envelope.Meta, payload []byte) (err error) {
	r.bytes, err = envelope.Append(r.bytes, m, payload)
	return err
}
