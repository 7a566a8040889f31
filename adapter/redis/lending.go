package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// lending is messages that are lent as one.
type lending struct {
	loan
	era    string
	list   []port.Delivery
	places []mark // of each message
	bytes  int64  // of the messages
	last   string // id of the last entry
}

// mark is where a message stands, its ms and its n, and its ID as it lies on the server.
type mark struct {
	ms, id string
	n      int64
}

// What messages are collected in is used again: the places at once, the list where Fetch was given other memory for it.
var marks, lists sync.Pool // of *[]mark, of *[]port.Delivery

func newLending(l loan, era string, n int) lending {
	out := lending{loan: l, era: era}
	if m, ok := marks.Get().(*[]mark); ok {
		out.places = (*m)[:0]
	}
	if m, ok := lists.Get().(*[]port.Delivery); ok {
		out.list = (*m)[:0]
	}
	out.places, out.list = slices.Grow(out.places, n), slices.Grow(out.list, n)
	return out
}

// handed is the list in the memory that Fetch was given, where it has room for it.
func handed(into, list []port.Delivery) []port.Delivery {
	if cap(into) < len(list) || len(list) == 0 {
		return list
	}
	into = append(into[:0], list...)
	clear(list)
	lists.Put(&list)
	return into
}

// take takes an entry's messages over, those whose n is above one, as long as they fit; nil where all do.
func (l *lending) take(id string, e stored, above int64, fits func(n int64) bool) error {
	ms, text, _ := strings.Cut(id, "-")
	at, err := millis(ms)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("stream id %q is not of the form ms-n", id)
	}
	n -= int64(e.size())
	return e.unpack(l.group.Topic, func(m port.Message, id string) bool {
		if n++; n <= above {
			return true
		}
		if fits != nil && !fits(n) {
			return false
		}
		l.bytes += int64(headLength + len(m.ID) + len(m.Key) + len(m.Body))
		l.list = append(l.list, port.Delivery{Message: m, FirstAt: at})
		l.places = append(l.places, mark{ms, id, n})
		return true
	})
}

// seal makes the offsets and the receipts, in one piece of memory.
func (l *lending) seal() {
	sum, length := sumOf(l.group), 0
	for i := range l.list {
		length += offsetWidth + sumWidth + nWidth + len(l.places[i].ms) + len(l.token) + len(l.places[i].id) + len(".-..")
	}
	b := make([]byte, 0, length)
	var digits [20]byte
	for i := range l.list {
		d, p, from := &l.list[i], &l.places[i], len(b)
		n := strconv.AppendInt(digits[:0], p.n, 10)
		b = appendOffset(b, l.era, p.ms, n)
		b = appendReceipt(b, sum, n, p.ms, l.token, p.id)
		text := rueidis.BinaryString(b[from:])
		d.Offset, d.Receipt, d.Until = port.Offset(text[:offsetWidth]), port.Receipt(text[offsetWidth:]), l.until
	}
	used := l.places
	clear(used)
	marks.Put(&used)
	l.places = nil
}

// loan is what the messages of one answer have in common.
type loan struct {
	group *port.Group
	token string
	until time.Time
}
