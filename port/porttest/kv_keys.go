package porttest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/musterhq/muster/port"
)

func keysRules() []rule {
	return []rule{
		{
			"C21 Keys yields names as they were given, whatever bytes they have",
			"All names are logical: a namespace or prefix of the adapter is never seen by a caller.", keysRoundTrip,
		},
		{
			"C21 what Keys yields can be deleted, and is gone then",
			"All names are logical; Keys yields the keys that match pattern, each once.", keysDelete,
		},
		{
			"C22 Keys yields what the glob matches",
			"Keys yields the keys that match pattern (see Match).", keysGlobs,
		},
		{
			"Keys yields each of very many once",
			"Each once, in no order. It asks in portions.", keysMany,
		},
		{
			"Keys yields what exists from the start to the end of the loop",
			"One that exists from the start to the end of the loop is always among them.", keysUnderChange,
		},
		{
			"Keys tells a malformed pattern as its last item, and its loop may be left",
			"An error is the last item.", keysArguments,
		},
		{
			"Clear without leave is refused and deletes nothing",
			"ErrUnsupported unless the backend was opened with leave to do this.", clearRefused,
		},
		{
			"C23 Clear deletes every key of the namespace, counts them and touches nothing else",
			"Clear deletes every key of the namespace and tells how many they were. It touches no topic and no lease, and no key of another namespace.", clearDeletes,
		},
	}
}

func sorted(keys []string) []string {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return keys
}

// literal is the pattern that matches key alone.
func literal(key string) string {
	var p []byte
	for i := range len(key) {
		if slices.Contains([]byte(`*?[]\`), key[i]) {
			p = append(p, '\\')
		}
		p = append(p, key[i])
	}
	return string(p)
}

func keysRoundTrip(t *trial) {
	all := oddKeys()
	for _, key := range all {
		t.b.put(key, "1")
	}
	same(t, "keys", t.process().keys("*"), sorted(all))
	for _, key := range all {
		if p := literal(key); len(p) <= port.MaxKey {
			same(t, "keys that match "+brief(p), t.b.keys(p), []string{key})
		}
	}
}

func keysDelete(t *trial) {
	for i := range 20 {
		t.b.put(fmt.Sprintf("orders/%d", i), "1")
		t.b.put(fmt.Sprintf("bills/%d", i), "1")
	}
	n := 0
	for key, err := range t.b.Keys(t.ctx, "orders/*") {
		t.must(err, "Keys")
		a := t.b.set(port.Change{Key: key, Delete: true})
		t.check(a.Was.Found, "the key that was yielded was there")
		n++
	}
	equal(t, "keys deleted", n, 20)
	same(t, "keys left", t.b.keys("orders/*"), nil)
	equal(t, "others left", len(t.b.keys("*")), 20)
}

func keysGlobs(t *trial) {
	all := []string{"a", "b", "ab", "a/b", "a/b/c", "a.b", "a*b", "a?b", "[ab]", `a\b`, "abc", "A", "\xff", "a\xffb", "é", t.space, t.space + ":a", ":a"}
	for _, key := range all {
		t.b.put(key, "1")
	}
	for _, pattern := range []string{
		"*", "a", "a*", "*b", "a?b", "a/*", "[ab]", `\[ab\]`, "[^a]", "[a-c]*", `a\*b`, `a\\b`, "?", "??", "*[*]*", "*\xff*", "[\x80-\xff]*",
		"é", "none", t.space + "*", "*:a", "[]]", `[\]]*`,
	} {
		if port.CheckPattern(pattern) != nil {
			continue
		}
		var want []string
		for _, key := range all {
			if port.Match(pattern, key) {
				want = append(want, key)
			}
		}
		same(t, "keys that match "+brief(pattern), t.b.keys(pattern), sorted(want))
	}
}

func keysMany(t *trial) {
	const many = 2500
	var want []string
	for from := 0; from < many; from += port.MaxParts {
		var b port.Batch
		for i := from; i < from+port.MaxParts; i++ {
			want = append(want, fmt.Sprintf("orders/%05d", i))
			b.Changes = append(b.Changes, port.Change{Key: want[i], Value: []byte("1")})
		}
		t.must(t.b.step(b), "Write")
	}
	same(t, "keys", t.b.keys("*"), want)
	same(t, "keys that match", t.b.keys("orders/0001?"), want[10:20])
}

func keysUnderChange(t *trial) {
	const stay = 300
	var want []string
	for i := range stay {
		want = append(want, fmt.Sprintf("stay%03d", i))
		t.b.put(want[i], "1")
	}
	var stop sync.Once
	done := make(chan struct{})
	other := t.process()
	wait := t.spawn(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			key := fmt.Sprintf("go%d", i%50)
			other.put(key, "1")
			if i%3 > 0 {
				other.set(port.Change{Key: key, Delete: true})
			}
			other.put(want[i%stay], "2")
		}
	})
	for range 5 {
		var got []string
		for key, err := range t.b.Keys(t.ctx, "*") {
			if err != nil {
				stop.Do(func() { close(done) })
			}
			t.must(err, "Keys")
			got = append(got, key)
		}
		slices.Sort(got)
		if n := len(got); len(slices.Compact(got)) != n || !contains(got, want) {
			stop.Do(func() { close(done) })
			t.fatalf("Keys yielded %d keys of which %d are different, while %d were there all the time", n, len(slices.Compact(got)), stay)
		}
	}
	stop.Do(func() { close(done) })
	wait()
}

// contains reports whether all of want are in got, which is sorted.
func contains(got, want []string) bool {
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			return false
		}
	}
	return true
}

func keysArguments(t *trial) {
	t.b.put("a", "1")
	t.b.put("b", "1")
	for _, pattern := range append(badKeys(), "[a", `a\`) {
		n := 0
		for _, err := range t.b.Keys(t.ctx, pattern) {
			n++
			t.is(err, "Keys("+brief(pattern)+")", port.ErrInvalid)
		}
		equal(t, "items", n, 1)
	}
	for _, err := range t.b.Keys(t.ctx, "*") {
		t.must(err, "a loop that is left")
		break
	}
}

func clearRefused(t *trial) {
	t.b.put("a", "1")
	_, err := t.b.Clear(t.ctx)
	t.is(err, "Clear without leave", port.ErrUnsupported)
	t.b.holds("a", "1")
}

func clearDeletes(t *trial) {
	if t.house.openClear == nil {
		clearRefused(t)
		return
	}
	for _, key := range oddKeys() {
		t.b.put(key, "1")
	}
	g := t.group("orders", "c1")
	t.b.queued(g, 2)
	t.b.grant(lease("leader", "n1"), t.long)
	far := t.elsewhere()
	far.put("a", "1")
	b := t.house.openClear(t.house.t, t.space)
	n, err := b.Clear(t.ctx)
	t.must(err, "Clear")
	equal(t, "keys cleared", n, len(oddKeys()))
	same(t, "keys", t.b.keys("*"), nil)
	n, err = b.Clear(t.ctx)
	t.must(err, "Clear again")
	equal(t, "keys cleared again", n, 0)
	far.holds("a", "1")
	same(t, "handed out", ids(t.b.fetch(g, 2)), numbers(0, 2))
	_, err = t.b.Acquire(t.ctx, lease("leader", "n2"), t.long)
	t.is(err, "Acquire of a lease that is held", port.ErrHeld)
}
