package envelope_test

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

func TestNewID(t *testing.T) {
	t.Run("is a UUIDv7 of this millisecond", func(t *testing.T) {
		before := time.Now().UnixMilli()
		id := envelope.NewID()
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
			t.Fatal(id)
		}
		ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
		if err != nil || ms < before {
			t.Errorf("%s says %d, before %d", id, ms, before)
		}
	})
	t.Run("no two are the same, and each goroutine sees its own grow", func(t *testing.T) {
		var mu sync.Mutex
		seen := map[string]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				mine := make([]string, 2_000)
				for i := range mine {
					mine[i] = envelope.NewID()
					if i > 0 && mine[i] <= mine[i-1] {
						t.Errorf("%s after %s", mine[i], mine[i-1])
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for _, id := range mine {
					seen[id] = true
				}
			})
		}
		wg.Wait()
		if len(seen) != 16_000 {
			t.Errorf("%d ids", len(seen))
		}
	})
	t.Run("one allocation", func(t *testing.T) {
		if n := testing.AllocsPerRun(100, func() { _ = envelope.NewID() }); n > 1 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestIDsThatAreMadeTogetherAreAsOthers(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, n := range []int{-1, 0, 1, 15, 16, 17, 100} {
		before := envelope.NewID()
		ids := envelope.NewIDs(n)
		if len(ids) != max(n, 0) {
			t.Fatalf("%d ids for %d", len(ids), n)
		}
		for _, id := range ids {
			if !form.MatchString(id) || id <= before {
				t.Fatalf("%s after %s", id, before)
			}
			before = id
		}
		if next := envelope.NewID(); next <= before {
			t.Fatalf("%s after %s", next, before)
		}
	}
}

func TestADerivedIDIsTheSameEachTime(t *testing.T) {
	// C7: a new id on each retry. A repetition of a handler emits the ids that it emitted before, in every version of Muster:
	// these are written down.
	t.Run("in every version", func(t *testing.T) {
		for _, c := range []struct{ got, want string }{
			{envelope.DeriveID(), byHand("\x00")},
			{envelope.DeriveID("a", "bc"), byHand("\x02\x01a\x02bc")},
			{envelope.DeriveIDAt(258, "a"), byHand("\x01\x01a\x00\x00\x00\x00\x00\x00\x01\x02")},
			{envelope.DeriveID("a", "bc"), "56928b3d-fbf6-838b-ac16-381e4ee9287c"},
			{envelope.DeriveIDAt(0, "orders.placed", "1", "billing", "orders.shipped"), "eb3f00aa-c50a-8930-812a-ae13cf66f0b6"},
			{envelope.DeriveIDAt(1, "orders.placed", "1", "billing", "orders.shipped"), "29b2c1ef-2b69-8d69-9f12-612477920846"},
		} {
			if c.got != c.want {
				t.Errorf("got %s, want %s", c.got, c.want)
			}
		}
	})
	t.Run("other parts, or the same text divided otherwise, are another id", func(t *testing.T) {
		seen := map[string]string{}
		add := func(what, id string) {
			if other, known := seen[id]; known {
				t.Errorf("%s and %s are both %s", what, other, id)
			}
			seen[id] = what
		}
		for _, parts := range [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"", "ab"}, {"ab", ""}, {"a\x01b"}, {"a", "b", "\x00\x00\x00\x00\x00\x00\x00\x00"}} {
			add(fmt.Sprintf("%q", parts), envelope.DeriveID(parts...))
			for _, index := range []int{0, 1, 256, -1} {
				add(fmt.Sprintf("%d of %q", index, parts), envelope.DeriveIDAt(index, parts...))
			}
		}
	})
	t.Run("one allocation, also beyond the usual length", func(t *testing.T) {
		if n := testing.AllocsPerRun(100, func() { _ = envelope.DeriveIDAt(3, "orders.placed", "1", "billing", "orders.shipped") }); n > 1 {
			t.Errorf("%v allocations", n)
		}
		long := string(make([]byte, 4_000))
		if envelope.DeriveID(long) == envelope.DeriveID(long+"x") {
			t.Error("the end of a long part does not count")
		}
	})
}

// byHand is a UUIDv8 of what is hashed.
func byHand(hashed string) string {
	b := sha256.Sum256([]byte(hashed))
	b[6] = b[6]%16 + 0x80
	b[8] = b[8]%64 + 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
