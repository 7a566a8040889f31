package envelope

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestGenerator(t *testing.T) {
	t.Run("ids grow while the clock stands still, and when it is set back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g generator
			last := g.next().String()
			for i := range 10_000 {
				if i == 5_000 {
					g.ms += 60_000 // as if the clock had been a minute ahead
				}
				id := g.next().String()
				if id <= last {
					t.Fatalf("%s after %s", id, last)
				}
				last = id
			}
		})
	})
	t.Run("a new millisecond is a new start at that time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g generator
			a := g.next()
			<-time.After(time.Millisecond) // the bubble's clock
			b := g.next()
			if g.ms != uint64(time.Now().UnixMilli()) || b.String() <= a.String() {
				t.Errorf("%s then %s", a, b)
			}
		})
	})
	t.Run("a millisecond without room left borrows from the next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g generator
			g.next()
			ms := g.ms
			g.low = 1<<lowBits - 1
			high := g.high
			if a := g.next(); g.high != high+1 || g.ms != ms {
				t.Errorf("%s: no carry into rand_a", a)
			}
			g.low, g.high = 1<<lowBits-1, 1<<highBits-1
			last := stamped(uuid{}, 7).String()
			if a := g.next(); g.ms != ms+1 || a.String() <= last {
				t.Errorf("%s: no carry into the time", a)
			}
		})
	})
	t.Run("random bytes are fetched anew when they run out, and none is used twice", func(t *testing.T) {
		var g generator
		seen := map[string]bool{}
		for range 1_000 {
			b := string(g.random(8))
			if seen[b] {
				t.Fatalf("%x twice", b)
			}
			seen[b] = true
		}
	})
}
