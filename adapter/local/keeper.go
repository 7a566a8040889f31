package local

import (
	"io"
	"os"

	"github.com/musterhq/muster/port"
)

// keeper keeps the first and the last half of what is written to it.
type keeper struct {
	limit int // bytes; negative: all
	total int64
	head  []byte
	tail  []byte // up to twice what is kept of it, so that old bytes are dropped in portions
}

// gather reads f to its end.
func (k *keeper) gather(f *os.File) error {
	_, err := io.Copy(k, f)
	return err
}

// Write keeps what there is room for, and never fails.
func (k *keeper) Write(p []byte) (int, error) {
	n := len(p)
	k.total += int64(n)
	if k.limit < 0 {
		k.head = append(k.head, p...)
		return n, nil
	}
	room := min(k.limit-k.limit/2-len(k.head), n)
	k.head = append(k.head, p[:room]...)
	p = p[room:]
	keep := k.limit / 2
	p = p[max(0, len(p)-keep):]
	if len(k.tail)+len(p) > 2*keep {
		k.tail = append(k.tail[:0], k.tail[max(0, len(k.tail)-keep):]...)
	}
	k.tail = append(k.tail, p...)
	return n, nil
}

func (k *keeper) output() port.Output {
	o := port.Output{Head: k.head, Tail: k.tail}
	if k.limit >= 0 {
		o.Tail = k.tail[max(0, len(k.tail)-k.limit/2):]
	}
	o.Dropped = k.total - int64(len(o.Head)+len(o.Tail))
	if o.Dropped == 0 {
		o.Head, o.Tail = append(o.Head, o.Tail...), nil
	}
	return o
}
