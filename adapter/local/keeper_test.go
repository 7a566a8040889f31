package local

import (
	"bytes"
	"testing"
)

func TestTheFirstAndTheLastHalfAreKeptHoweverTheBytesCome(t *testing.T) {
	all := make([]byte, 300)
	for i := range all {
		all[i] = byte(i)
	}
	for _, limit := range []int{-1, 1, 2, 3, 10, 99, 100, 299, 300, 301, 1000} {
		for _, size := range []int{0, 1, 2, 5, 10, 100, 299, 300} {
			for _, chunk := range []int{1, 2, 7, 64, 300} {
				body := all[:size]
				k := keeper{limit: limit}
				for rest := body; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
					if n, err := k.Write(rest[:min(chunk, len(rest))]); n != min(chunk, len(rest)) || err != nil {
						t.Fatalf("Write answered %d, %v", n, err)
					}
				}
				head, tail := body, []byte(nil)
				if limit >= 0 && size > limit {
					head, tail = body[:limit-limit/2], body[size-limit/2:]
				}
				o := k.output()
				if !bytes.Equal(o.Head, head) || !bytes.Equal(o.Tail, tail) || o.Dropped != int64(size-len(head)-len(tail)) {
					t.Fatalf("%d bytes by %d with limit %d: %+v, want %v and %v", size, chunk, limit, o, head, tail)
				}
				if limit > 0 && cap(k.tail) > 4*limit+64 {
					t.Fatalf("%d bytes by %d with limit %d hold %d in memory", size, chunk, limit, cap(k.tail))
				}
			}
		}
	}
}
