package porttest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

func kvRules() []rule {
	return []rule{
		{
			"Get answers one value for each key, in their order",
			"Get returns one Value for each key, in their order; a key that does not exist has Found false. TTL stays 0. GetTTL is Get that tells TTL too.", kvGet,
		},
		{
			"a value is what was written, for every process",
			"Get sees every acknowledged write where Caps.LinearReads.", kvShared,
		},
		{
			"C14 a change creates where there is nothing, and only there",
			"Absent: only where there is no such key.", kvAbsent,
		},
		{
			"C14 a change is made where the value equals, byte by byte",
			"Equals: only where the value equals Old, byte by byte.", kvEquals,
		},
		{
			"a change whose effect is there already is refused all the same",
			"Applied.Done is false: the condition did not hold.", kvNoEcho,
		},
		{
			"a deletion is done, with and without a condition",
			"With Always, deleting what is not there is done and no error.", kvDelete,
		},
		{
			"Apply makes each change alone and tells what was there",
			"Apply makes each change alone, in order, and tells of each what came of it. Was: of a condition that did not hold: what is there instead; of Delete: Found alone.", kvApply,
		},
		{
			"C6 of many who create a key at once, one does",
			"Absent: only where there is no such key.", kvOneCreates,
		},
	}
}

func kvGet(t *trial) {
	t.b.put("b", "2")
	t.b.put("empty", "")
	t.b.holds("b", "2")
	t.b.holds("empty", "")
	t.b.set(port.Change{Key: "timed", Value: []byte("3"), TTL: t.long})
	t.b.holds("timed", "3")
	for what, get := range map[string]func(context.Context, ...string) ([]port.Value, error){"Get": t.b.Get, "GetTTL": t.b.GetTTL} {
		vs, err := get(t.ctx, "none", "b", "empty", "timed", "b")
		t.must(err, what)
		var got []string
		for _, v := range vs {
			got = append(got, fmt.Sprintf("%s %v %s %v", v.Key, v.Found, v.Bytes, v.TTL > 0))
		}
		same(t, what, got, []string{"none false  false", "b true 2 false", "empty true  false", fmt.Sprintf("timed true 3 %v", what == "GetTTL"), "b true 2 false"})
		vs, err = get(t.ctx)
		t.must(err, what+" of no key")
		equal(t, "values of no key", len(vs), 0)
	}
}

func kvShared(t *trial) {
	other := t.process()
	for i := range 20 {
		t.b.put("k", fmt.Sprint(i))
		other.holds("k", fmt.Sprint(i))
	}
	for _, key := range oddKeys() {
		other.put(key, key)
		t.b.holds(key, key)
	}
	values := []string{"", "\x00", "\xff\xfe", "nil", "{}", string(t.fullBody())}
	for _, v := range values {
		t.b.put("k", v)
		other.holds("k", v)
	}
}

func kvAbsent(t *trial) {
	t.b.set(port.Change{Key: "k", Value: []byte("1"), If: port.Absent})
	a := t.process().apply(port.Change{Key: "k", Value: []byte("2"), If: port.Absent})
	t.check(!a.Done && a.Err == nil, "where a key is, nothing is created")
	t.check(a.Was.Found && a.Was.Key == "k", "what stands in the way is told")
	t.bytes("what stands in the way", a.Was.Bytes, []byte("1"))
	t.b.holds("k", "1")
	t.b.put("empty", "")
	t.check(!t.b.apply(port.Change{Key: "empty", If: port.Absent}).Done, "an empty value is a value")
	t.b.set(port.Change{Key: "k", Delete: true})
	t.b.set(port.Change{Key: "k", Value: []byte("3"), If: port.Absent})
}

func kvEquals(t *trial) {
	cas := func(old, value string) port.Change {
		return port.Change{Key: "k", Value: []byte(value), If: port.Equals, Old: []byte(old)}
	}
	t.check(!t.b.apply(cas("", "1")).Done, "a key that is not there equals nothing, not even the empty value")
	t.check(!t.b.apply(port.Change{Key: "k", If: port.Equals}).Done, "nor nil")
	t.b.lacks("k")
	t.b.put("k", `{"a":1,"b":2}`)
	for _, old := range []string{`{"b":2,"a":1}`, `{"a": 1, "b": 2}`, `{"a":1,"b":2} `, `{"a":1,"b":2`, `{"A":1,"B":2}`, "", "\x00"} {
		a := t.b.apply(cas(old, "new"))
		t.check(!a.Done && a.Err == nil, "a value that differs in its bytes does not equal: "+brief(old))
		t.bytes("what was there", a.Was.Bytes, []byte(`{"a":1,"b":2}`))
	}
	t.process().set(cas(`{"a":1,"b":2}`, "\x00\xff"))
	t.b.set(cas("\x00\xff", ""))
	t.b.set(port.Change{Key: "k", Value: []byte("from nil"), If: port.Equals})
	t.b.holds("k", "from nil")
}

func kvNoEcho(t *trial) {
	t.b.put("k", "1")
	for what, c := range map[string]port.Change{
		"Absent": {Key: "k", Value: []byte("1"), If: port.Absent},
		"Equals": {Key: "k", Value: []byte("1"), If: port.Equals, Old: []byte("0")},
	} {
		t.check(!t.b.apply(c).Done, what+" does not hold because the value is what it would set")
		t.is(t.b.step(port.Batch{Changes: []port.Change{c}}), "a step with "+what, port.ErrConflict)
	}
}

func kvDelete(t *trial) {
	a := t.b.set(port.Change{Key: "k", Delete: true})
	t.check(!a.Was.Found, "nothing was there")
	t.b.put("k", "1")
	a = t.b.apply(port.Change{Key: "k", Delete: true, If: port.Equals, Old: []byte("2")})
	t.check(!a.Done && a.Err == nil && a.Was.Found, "a value that differs is not deleted")
	t.b.holds("k", "1")
	a = t.process().set(port.Change{Key: "k", Delete: true, If: port.Equals, Old: []byte("1")})
	t.check(a.Was.Found, "a key that is deleted was there")
	t.b.lacks("k")
	t.check(!t.b.apply(port.Change{Key: "k", Delete: true, If: port.Equals, Old: []byte("1")}).Done, "what is gone equals nothing")
	t.b.put("k", "2")
	t.check(t.b.set(port.Change{Key: "k", Delete: true}).Was.Found, "a key that is deleted was there")
	t.b.lacks("k")
}

func kvApply(t *trial) {
	t.b.set(port.Change{Key: "b", Value: []byte("0"), TTL: t.long})
	done, err := t.b.Apply(t.ctx,
		port.Change{Key: "a", Value: []byte("1")},
		port.Change{Key: "a", Value: []byte("2"), If: port.Equals, Old: []byte("1")},
		port.Change{Key: "b", Value: []byte("1"), If: port.Absent},
		port.Change{Key: "a", Value: []byte("3"), If: port.Equals, Old: []byte("1")},
		port.Change{Key: "b", Delete: true},
		port.Change{Key: "b", Value: []byte("2"), If: port.Absent})
	t.must(err, "Apply")
	var got []bool
	for _, a := range done {
		t.must(a.Err, "a change")
		got = append(got, a.Done)
	}
	same(t, "changes done", got, []bool{true, true, false, false, true, true})
	t.bytes("what stands in the way of Absent", done[2].Was.Bytes, []byte("0"))
	t.bytes("what is there and does not equal", done[3].Was.Bytes, []byte("2"))
	t.check(done[2].Was.Found && done[3].Was.Found && done[4].Was.Found, "what is there is found")
	t.b.holds("a", "2")
	t.b.holds("b", "2")
	done, err = t.b.Apply(t.ctx)
	t.must(err, "Apply of nothing")
	equal(t, "results of nothing", len(done), 0)
}

func kvOneCreates(t *trial) {
	bs := []*process{t.b, t.process()}
	for round := range 5 {
		key := fmt.Sprintf("k%d", round)
		var mu sync.Mutex
		winner := ""
		t.crowd(10, func(i int) {
			mine := fmt.Sprint(i)
			a := bs[i%2].apply(port.Change{Key: key, Value: []byte(mine), If: port.Absent})
			mu.Lock()
			defer mu.Unlock()
			if a.Done {
				t.check(winner == "", "one alone creates the key")
				winner = mine
			}
		})
		t.check(winner != "", "one creates the key")
		t.b.holds(key, winner)
	}
}

func counterRules() []rule {
	return []rule{
		{
			"Add counts from 0 and returns the sum",
			"Add adds delta to the decimal number at key, which counts as 0 when absent, and returns the sum.", addCounts,
		},
		{
			"a key that Add creates lives for ttl, an existing one keeps its time",
			"A key that Add creates lives for ttl (0: without end); an existing one keeps the time that it has.", addTTL,
		},
		{
			"Add to what is no number, or out of range, changes nothing",
			"ErrInvalid when the value is no 64-bit decimal number or would leave that range.", addRefused,
		},
		{
			"64 who add at once lose nothing and see each sum once",
			"Everything is safe for use by many goroutines at once.", addCrowd,
		},
	}
}

func (p *process) add(key string, delta int64, ttl time.Duration) int64 {
	n, err := p.Add(p.t.ctx, key, delta, ttl)
	p.t.must(err, "Add")
	return n
}

func addCounts(t *trial) {
	equal(t, "sum", t.b.add("n", 3, 0), 3)
	equal(t, "sum", t.process().add("n", -5, 0), -2)
	equal(t, "sum", t.b.add("n", 0, 0), -2)
	t.b.holds("n", "-2")
	t.b.put("n", "41")
	equal(t, "sum after a plain write", t.b.add("n", 1, 0), 42)
	equal(t, "sum of nothing", t.b.add("zero", 0, 0), 0)
	t.b.holds("zero", "0")
	t.b.set(port.Change{Key: "n", Value: []byte("7"), If: port.Equals, Old: []byte("42")})
	equal(t, "sum at the upper end", t.b.add("top", math.MaxInt64, 0), math.MaxInt64)
	equal(t, "sum at the lower end", t.b.add("bottom", math.MinInt64, 0), math.MinInt64)
	equal(t, "sum next to the upper end", t.b.add("top", -1, 0), math.MaxInt64-1)
}

func addTTL(t *trial) {
	t.b.add("n", 1, t.long)
	t.left("n", t.long)
	t.b.add("n", 1, 4*t.long)
	t.left("n", t.long)
	t.b.add("n", 1, 0)
	t.left("n", t.long)
	t.b.put("m", "1")
	t.b.add("m", 1, t.long)
	t.left("m", 0)
	start := time.Now()
	t.b.add("brief", 5, t.unit)
	t.gone("brief", start, t.unit)
	equal(t, "sum after the key ended", t.b.add("brief", 1, 0), 1)
}

func addRefused(t *trial) {
	bad := func(key string, delta int64) {
		before := t.b.get(key)
		_, err := t.b.Add(t.ctx, key, delta, 0)
		t.is(err, fmt.Sprintf("Add of %d to %s", delta, brief(before.Bytes)), port.ErrInvalid)
		t.b.holds(key, string(before.Bytes))
	}
	for i, v := range []string{"", "x", "1.5", "1x", " 1", "1 ", "0x10", "1e3", "9223372036854775808", "\x00", "{}"} {
		key := fmt.Sprintf("n%d", i)
		t.b.put(key, v)
		t.b.holds(key, v)
		bad(key, 1)
	}
	t.b.put("top", fmt.Sprint(math.MaxInt64))
	t.b.put("bottom", fmt.Sprint(math.MinInt64))
	t.b.holds("top", fmt.Sprint(math.MaxInt64))
	t.b.holds("bottom", fmt.Sprint(math.MinInt64))
	bad("top", 1)
	bad("top", math.MaxInt64)
	bad("bottom", -1)
	bad("bottom", math.MinInt64)
}

func addCrowd(t *trial) {
	const many, each = 64, 5
	bs := []*process{t.b, t.process()}
	var mu sync.Mutex
	sums := make(map[int64]bool)
	t.crowd(many, func(i int) {
		for range each {
			n := bs[i%2].add("n", 1, 0)
			mu.Lock()
			again := sums[n]
			sums[n] = true
			mu.Unlock()
			t.check(!again, fmt.Sprintf("sum %d is seen once", n))
		}
	})
	equal(t, "sums", len(sums), many*each)
	t.b.holds("n", fmt.Sprint(many*each))
}
