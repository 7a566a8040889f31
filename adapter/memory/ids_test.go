package memory

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestIDsAreKnownUntilTheirTimeAndNoLonger(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var k ids
	model := map[string]int64{}
	now := int64(0)
	for range 200_000 {
		now += rng.Int64N(3)
		id := strconv.Itoa(rng.IntN(3000))
		if rng.IntN(1000) == 0 {
			now += 5000 // everything runs out
		}
		until, ok := model[id]
		wasKnown := ok && now < until
		if got := k.has(id, now); got != wasKnown {
			t.Fatalf("at %d: has(%s) = %v, want %v", now, id, got, wasKnown)
		}
		if rng.IntN(2) == 0 {
			continue
		}
		until = now + 1 + rng.Int64N(2000)
		if added := k.add(id, now, until); added == wasKnown {
			t.Fatalf("at %d: add(%s) = %v although known is %v", now, id, added, wasKnown)
		}
		if !wasKnown {
			model[id] = until
		}
	}
}

func TestIDsThatRanOutTakeNoRoom(t *testing.T) {
	var k ids
	for now := range int64(100_000) {
		k.add(strconv.FormatInt(now, 10), now, now+100)
	}
	if len(k.table) > 512 || k.queue.len() > 101 {
		t.Errorf("100 known ids take a table of %d and a queue of %d", len(k.table), k.queue.len())
	}
	k.add("last", 1_000_000, 1_000_001)
	k.forget(2_000_000)
	if k.used != 0 || k.queue.len() != 0 {
		t.Errorf("%d ids are kept when all ran out", k.used)
	}
}
