package redis

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// lending is messages that are lent as one.
type lending struct {
	loan
	era   string
	list  []port.Delivery
	ns    []int64  // of each message
	ms    []string // the same
	bytes int64    // of the messages
	last  string   // id of the last entry
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
	return e.unpack(l.group.Topic, func(m port.Message) bool {
		if n++; n <= above {
			return true
		}
		if fits != nil && !fits(n) {
			return false
		}
		l.bytes += int64(headLength + len(m.ID) + len(m.Key) + len(m.Body))
		l.list = append(l.list, port.Delivery{Message: m, FirstAt: at})
		l.ns, l.ms = append(l.ns, n), append(l.ms, ms)
		return true
	})
}

// seal makes the offsets and the receipts, in one piece of memory.
func (l *lending) seal() {
	sum, length := sumOf(l.group), 0
	for i := range l.list {
		length += offsetWidth + sumWidth + nWidth + len(l.ms[i]) + len(l.token) + len(l.list[i].Message.ID) + len(".-..")
	}
	b := make([]byte, 0, length)
	var digits [20]byte
	for i := range l.list {
		d, from := &l.list[i], len(b)
		n := strconv.AppendInt(digits[:0], l.ns[i], 10)
		b = appendOffset(b, l.era, l.ms[i], n)
		b = appendReceipt(b, sum, n, l.ms[i], l.token, d.Message.ID)
		text := rueidis.BinaryString(b[from:])
		d.Offset, d.Receipt, d.Until = port.Offset(text[:offsetWidth]), port.Receipt(text[offsetWidth:]), l.until
	}
}

// loan is what the messages of one answer have in common.
type loan struct {
	group *port.Group
	token string
	until time.Time
}
