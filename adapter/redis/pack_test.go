package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestAPackHoldsWhatWasPutIn(t *testing.T) {
	for _, sizes := range [][]int{
		{0},
		{0, 0},
		{1, 2, 3},
		make([]int, 32), make([]int, 33), make([]int, 100),
		{packBytes},
		{packBytes, 1, 1},
		{packBytes/2 - 30, packBytes/2 - 30, 1},
		{8000, 8000, 8000},
		{1, packBytes, 1, 1},
	} {
		blobs := make([]string, len(sizes))
		for i, n := range sizes {
			blobs[i] = encodeAll([]port.Message{{ID: strconv.Itoa(i), Key: "k", Body: []byte(strings.Repeat("x", n))}})[0]
		}
		entries, _ := pack(nil, nil, blobs)
		var got []string
		for _, e := range entries {
			if len(e) > packBytes && e[0] == packed {
				t.Errorf("a pack of messages of %v bytes has %d", sizes, len(e))
			}
			one, before := stored{e, []byte(e)}, len(got)
			if err := one.unpack("t", func(m port.Message, _ string) bool {
				m.Topic = ""
				got = append(got, encodeAll([]port.Message{m})...)
				return true
			}); err != nil {
				t.Fatal(err)
			}
			if n := len(got) - before; n != one.size() || n > mostPacked {
				t.Errorf("an entry with %d messages says that it has %d", n, one.size())
			}
		}
		if !slices.Equal(got, blobs) {
			t.Errorf("of messages of %v bytes %d come back", sizes, len(got))
		}
		if want := (len(sizes) + mostPacked - 1) / mostPacked; slices.Max(sizes) < 10 && len(entries) != want {
			t.Errorf("%d messages are in %d entries, want %d", len(sizes), len(entries), want)
		}
	}
}

func TestAPackThatIsCutOffIsAnError(t *testing.T) {
	entries, _ := pack(nil, nil, encodeAll([]port.Message{{ID: "1", Body: []byte("one")}, {ID: "2", Body: []byte("two")}}))
	whole := entries[0]
	for n := packHead + 1; n < len(whole); n++ {
		messages := 0
		err := stored{whole[:n], []byte(whole[:n])}.unpack("t", func(port.Message, string) bool { messages++; return true })
		if err == nil && messages != 1 || messages > 1 {
			t.Errorf("%d bytes of %d: %d messages, %v", n, len(whole), messages, err)
		}
	}
}

func TestIDsAreDistinct(t *testing.T) {
	for _, c := range []struct {
		texts string
		want  bool
	}{{"", true}, {"a", true}, {"a b c", true}, {"c b a", true}, {"a a", false}, {"a b a", false}, {"b a c b", false}, {"b a c d", true}} {
		texts := strings.Fields(c.texts)
		before := slices.Clone(texts)
		if distinct(texts) != c.want || !slices.Equal(texts, before) {
			t.Errorf("%s: %v, and it is %v", c.texts, !c.want, texts)
		}
	}
}

// twins are two backends that do the same; the second has none of the short scripts, so nothing in it is packed.
type twins struct {
	t       *testing.T
	both    [2]*Backend
	g       [2]port.Group
	loans   [2][]port.Delivery
	offsets [2][]port.Offset
	topic   string
	n       int
}

func newTwins(t *testing.T, s *testserver.Server, seed uint64) *twins {
	w := &twins{t: t, topic: "orders.t" + strconv.FormatUint(seed, 10)}
	for i := range w.both {
		w.both[i] = namesake(t, s, fmt.Sprintf("twin%d.%d", i, seed))
		w.g[i] = port.Group{Topic: w.topic, Name: "g", Consumer: "c", Loan: time.Hour, Remember: time.Hour}
		w.must(w.both[i].Join(t.Context(), w.g[i]))
	}
	no := script{lua: rueidis.NewLuaScript("return 0")}
	w.both[1].scripts.append, w.both[1].scripts.ack, w.both[1].scripts.emit, w.both[1].scripts.pick, w.both[1].scripts.take = no, no, no, no, no
	return w
}

func (w *twins) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// same does something with both, and compares what is told of it.
func (w *twins) same(what string, do func(i int, b *Backend) string) {
	w.t.Helper()
	packed, loose := do(0, w.both[0]), do(1, w.both[1])
	if packed != loose {
		w.t.Fatalf("%s: with packs\n%s\nwithout\n%s", what, packed, loose)
	}
}

func nOf(o port.Offset) string {
	return strings.TrimLeft(string(o[strings.LastIndexByte(string(o), '-')+1:]), "0")
}

func (w *twins) write(size, bytes int) {
	batch := port.Batch{ID: "step" + strconv.Itoa(w.n)}
	for range size {
		w.n++
		batch.Messages = append(batch.Messages, port.Message{Topic: w.topic, ID: strconv.Itoa(w.n), Body: []byte(strings.Repeat("x", bytes))})
	}
	w.same("write", func(_ int, b *Backend) string { return fmt.Sprint(errors.Unwrap(b.Write(w.t.Context(), batch))) })
}

func (w *twins) fetch(limit int) {
	w.n += 10
	var got [2][]port.Delivery
	for i, b := range w.both {
		g := w.g[i]
		direct(w.t, b, "HSET", b.space.addGroup(nil, w.topic, "g")[0], "token", strconv.Itoa(w.n)) // its parity decides between old and new
		for {
			args := []string{g.Consumer, number(port.Millis(g.Loan)), strconv.Itoa(limit - len(got[i])), strconv.Itoa(mostBytes), number(port.Millis(g.Remember)), ""}
			f := b.handOut(&g, limit-len(got[i]), b.withGroups(g.Topic, []string{g.Name}), args, false)
			w.must(f.err)
			got[i] = append(got[i], f.list...)
			// What is read ahead of a fetch may be less than there is.
			if len(got[i]) == limit || len(f.list) < leastAhead || slices.ContainsFunc(f.list, func(d port.Delivery) bool { return d.Lost+d.Attempt > 0 }) {
				break
			}
		}
		w.loans[i] = append(w.loans[i], got[i]...)
	}
	w.same("fetch", func(i int, _ *Backend) string { return told(got[i]) })
}

func told(list []port.Delivery) (out string) {
	for _, d := range list {
		out += fmt.Sprintf("%s(%s,%d,%d,%d) ", d.Message.ID, nOf(d.Offset), d.Attempt, d.Lost, len(d.Message.Body))
	}
	return out
}

func (w *twins) settle(r *rand.Rand) {
	count := min(len(w.loans[0]), 1+r.IntN(40))
	verdicts := make([]port.Verdict, count)
	all := port.Verdict(r.IntN(4))
	for k := range verdicts {
		if verdicts[k] = all; all > port.Release {
			verdicts[k] = port.Verdict(r.IntN(3))
		}
	}
	emits := r.IntN(2) == 0
	from := r.IntN(len(w.loans[0]) - count + 1)
	w.n++
	w.same("settle", func(i int, b *Backend) (out string) {
		var list []port.Settlement
		for k, d := range w.loans[i][from : from+count] {
			s := port.Settlement{Receipt: d.Receipt, Verdict: verdicts[k]}
			if s.Verdict == port.Ack && emits {
				s.Then.Messages = []port.Message{{Topic: w.topic, ID: fmt.Sprintf("e%d-%d", w.n, k), Body: []byte("emitted")}}
			}
			list = append(list, s)
		}
		w.loans[i] = slices.Delete(slices.Clone(w.loans[i]), from, from+count)
		for _, err := range b.Settle(w.t.Context(), w.g[i], list...) {
			out += fmt.Sprint(errors.Is(err, port.ErrStale), err == nil, " ")
		}
		w.rescore(i, 3) // what was given back is due in no other order than by name
		return out
	})
}

// lose has all loans end.
func (w *twins) lose() {
	w.same("lose", func(i int, _ *Backend) string {
		w.rescore(i, 2)
		w.loans[i] = nil
		return ""
	})
}

// rescore makes all in one of the group's sorted sets due.
func (w *twins) rescore(i, set int) {
	b := w.both[i]
	key := b.space.addGroup(nil, w.topic, "g")[set]
	list := direct(w.t, b, "ZRANGE", key, "0", "-1")
	names, err := list.AsStrSlice()
	w.must(err)
	for _, name := range names {
		direct(w.t, b, "ZADD", key, "XX", "1", name)
	}
}

func (w *twins) read(after, most int) {
	w.same("read", func(i int, b *Backend) (out string) {
		r := port.Range{Topic: w.topic, Max: most}
		if after >= 0 && after < len(w.offsets[i]) {
			r.After = w.offsets[i][after]
		}
		got, err := b.Read(w.t.Context(), r)
		if err != nil {
			return fmt.Sprint(errors.Is(err, port.ErrGap))
		}
		for _, s := range got {
			out += s.Message.ID + "(" + nOf(s.Offset) + ") "
			w.offsets[i] = append(w.offsets[i], s.Offset)
		}
		return out
	})
}

func (w *twins) remove(at int) {
	w.same("remove", func(i int, b *Backend) string {
		if at >= len(w.offsets[i]) {
			return ""
		}
		err := b.Write(w.t.Context(), port.Batch{Removes: []port.Removal{{Topic: w.topic, Offset: w.offsets[i][at]}}})
		return fmt.Sprint(err == nil, errors.Is(err, port.ErrNotFound))
	})
}

func (w *twins) trim(most int64) {
	w.same("trim", func(_ int, b *Backend) string {
		w.must(b.Declare(w.t.Context(), port.Topic{Name: w.topic, MaxCount: most}))
		kept, err := b.trim(w.t.Context(), w.topic)
		w.must(err)
		w.must(b.Declare(w.t.Context(), port.Topic{Name: w.topic, MaxCount: -1}))
		return fmt.Sprint(kept)
	})
}

func (w *twins) inspect() {
	w.same("inspect", func(_ int, b *Backend) (out string) {
		for info, err := range b.Inspect(w.t.Context(), w.topic) {
			w.must(err)
			g := info.Groups[0]
			out = fmt.Sprintf("%d, lag %d, loaned %d, delayed %d", info.Count, g.Lag, g.Loaned, g.Delayed)
			if info.Count > 0 {
				out += " from " + nOf(info.First) + " to " + nOf(info.Last)
			}
		}
		return out
	})
}

func TestPackedTopicsDoWhatOthersDo(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	seeds := 6
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w, r := newTwins(t, s, seed), rand.New(rand.NewPCG(seed, 1))
			for range 150 {
				switch r.IntN(12) {
				case 0, 1:
					w.write(1, r.IntN(100))
				case 2, 3:
					w.write(1+r.IntN(100), r.IntN(300))
				case 4:
					w.write(1+r.IntN(5), r.IntN(packBytes))
				case 5, 6:
					w.fetch(1 + r.IntN(80))
				case 7, 8:
					if len(w.loans[0]) > 0 {
						w.settle(r)
					}
				case 9:
					w.read(r.IntN(len(w.offsets[0])+1)-1, 1+r.IntN(60))
				case 10:
					w.remove(r.IntN(len(w.offsets[0]) + 1))
				case 11:
					switch r.IntN(3) {
					case 0:
						w.lose()
					case 1:
						w.trim(1 + int64(r.IntN(200)))
					case 2:
						w.fetch(500)
					}
				}
				w.inspect()
			}
			if n := said(t, w.both[0], "TYPE", w.both[0].space.addTopic(nil, w.topic)[1]); n != "stream" {
				t.Fatal(n)
			}
		})
	}
}
