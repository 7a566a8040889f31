package nats

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

func TestAnyKeyIsOneTokenAndComesBack(t *testing.T) {
	for _, key := range []string{"a", "orders/1", "a.b", "a b", "*", ">", "=", "=2E", "\x00\xff", "é", strings.Repeat("\xff", port.MaxKey), "$JS"} {
		token := encodeKey(key)
		if strings.ContainsAny(token, ".*> \t\r\n\x00") || token == "" {
			t.Errorf("key %q is token %q", key, token)
		}
		if got, ok := decodeKey(token); !ok || got != key {
			t.Errorf("key %q came back as %q, %v", key, got, ok)
		}
	}
}

func TestNamesThatDifferHaveSubjectsThatDiffer(t *testing.T) {
	s := spaceOf("team.a")
	names := []string{"a", "a.b", "a-b", "a_b", "A", "a.b.c"}
	seen := map[string]string{}
	for _, n := range names {
		for _, subject := range []string{s.topic(n), s.log(n), s.removed(n), s.delayed(n), s.fence(n), s.lease(n), s.signal(n), s.hint(n), s.leaseHint(n), s.group(n, "g"), s.page(n, "g", 1), s.body(n, "g", 1), s.page(n, topicOwner, 1)} {
			if seen[subject] != "" {
				t.Errorf("subject %s stands for %s and %s", subject, seen[subject], n)
			}
			seen[subject] = n
		}
		if untoken(token(n)) != n {
			t.Errorf("name %s comes back as %s", n, untoken(token(n)))
		}
	}
}

func TestOffsetsSortAsTheirPlaces(t *testing.T) {
	places := []place{{1, 0}, {1, 1}, {1, 300}, behind(1), {2, 0}, {10, 5}, {1 << 40, 0}}
	var list []port.Offset
	for _, p := range places {
		o := offset(7, p, 1<<60)
		if at, ok := parseOffset(o); !ok || at.place != p || at.era != 7 || at.at != 1<<60 {
			t.Errorf("%v came back as %+v, %v", p, at, ok)
		}
		list = append(list, o)
	}
	if !slices.IsSorted(list) {
		t.Errorf("offsets are not sorted: %v", list)
	}
}

func sample(n int) item {
	it := item{id: hashOf(fmt.Sprint(n)), lend: uint64(n), due: int64(n * 100), attempt: uint32(n % 3), lost: uint32(n % 2), crashes: uint32(n % 2), begun: n%2 > 0, who: "c1", reason: strings.Repeat("r", n%5)}
	if n%4 == 0 {
		it.body, it.at, it.size = uint64(n+1), 5, 6
	} else {
		it.place = place{seq: uint64(n + 1), idx: uint32(n)}
	}
	return it
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	g := &groupState{serial: 1 << 50, cursor: behind(9), ord: 12, next: 13, mindful: true}
	for n := range 20 {
		g.loaned = append(g.loaned, sample(n))
		g.near = append(g.near, sample(n+20))
	}
	for n, end := range []int64{1 << 40, 1<<40 + 3, 1 << 39, never, 0} {
		g.recent.list = append(g.recent.list, mark{id: hashOf(fmt.Sprint(n)), end: end})
	}
	g.recent.first = 1 << 33
	g.pages = []page{{id: 3, due: 5, count: 128, first: place{7, 1}}, {id: 4, due: 6, count: 1}}
	got, err := decodeGroup(g.encode())
	if err != nil || !reflect.DeepEqual(got, g) {
		t.Errorf("group came back as %+v, %v; want %+v", got, err, g)
	}
	x := &removedState{}
	for _, p := range []place{{9, 1}, {2, 0}, {9, 0}, {2, 0}} {
		x.add(p, 10)
	}
	back, err := decodeRemoved(x.encode())
	if err != nil || !reflect.DeepEqual(back, x) || len(x.list) != 3 {
		t.Errorf("removed entries came back as %+v, %v; want %+v", back, err, x)
	}
	if n, size := x.after(place{2, 0}); n != 2 || size != 20 {
		t.Errorf("behind the first, %d entries of %d bytes were removed; want 2 of 20", n, size)
	}
}

func TestABrokenRecordIsAnErrorAndNoPanic(t *testing.T) {
	g := &groupState{serial: 1, loaned: []item{sample(1), sample(4)}}
	c := &chunk{kind: entriesChunk, entries: []entry{{id: "1", body: []byte("body")}}, ids: []hash{hashOf("x")}}
	for what, text := range map[string][]byte{"group": g.encode(), "chunk": c.encode()} {
		for n := range text {
			var err error
			if what == "group" {
				_, err = decodeGroup(text[:n])
			} else {
				_, err = decodeChunk(&record{data: text[:n]})
			}
			if err == nil {
				t.Errorf("%s cut to %d of %d bytes is read without an error", what, n, len(text))
			}
		}
	}
	if _, err := decodeGroup([]byte{1, 1, 1, 1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}); err == nil {
		t.Error("a list that is longer than its record is read without an error")
	}
}

func TestWhatWaitsLongestGoesIntoPagesAndNothingIsLost(t *testing.T) {
	a := &agenda{}
	for n := range 1000 {
		it := sample(n + 1)
		it.due = int64((n * 7919) % 1000)
		a.near = append(a.near, it)
	}
	pages := map[uint64][]item{}
	next := uint64(0)
	a.spill(func() uint64 { next++; return next }, func(id uint64, items []item) { pages[id] = items })
	if len(a.near) > nearItems || a.count() != 1000 || a.due() != 0 {
		t.Fatalf("%d near, %d in all, first due %d", len(a.near), a.count(), a.due())
	}
	latest := int64(0)
	for i := range a.near {
		latest = max(latest, a.near[i].due)
	}
	for _, p := range a.pages {
		if p.due < latest {
			t.Errorf("page %d is due at %d, before the record's last at %d", p.id, p.due, latest)
		}
	}
	for last := int64(-1); ; {
		p, ok := a.ripe(never - 1)
		if !ok {
			break
		}
		if p.due < last {
			t.Errorf("a page that is due at %d is opened after one that is due at %d", p.due, last)
		}
		last = p.due
		a.open(p, pages[p.id])
	}
	if len(a.near) != 1000 {
		t.Errorf("%d items came back of 1000", len(a.near))
	}
}

func TestTheClockIsWithinItsBounds(t *testing.T) {
	c := &clock{}
	local := time.Now()
	server := local.Add(time.Hour)
	c.learn(local.Add(-10*time.Millisecond), local, server)
	early, late := c.now()
	if early.Before(server) || late.Sub(early) != 10*time.Millisecond {
		t.Errorf("bounds are %v and %v after the server's time, want 0 and 10ms", early.Sub(server), late.Sub(server))
	}
	c.learn(local.Add(-20*time.Millisecond), local, server.Add(time.Second))
	if _, l := c.now(); l.Sub(late) > 500*time.Millisecond {
		t.Error("a worse measurement replaced a better one that is young")
	}
}

func TestTheSubscriptionOfPatternsHasAllTheyMatch(t *testing.T) {
	for want, patterns := range map[string][]string{
		"news":          {"news"},
		">":             {"*"},
		"news.>":        {"news.*"},
		"news.sport.>":  {"news.sport.*", `news.sport.[ab]?`},
		"news.>#":       {"news.a.*", "news.b.*"},
		">#":            {"news", "n*"},
		">##":           {"news.a", "old.b"},
		"news.sport.>#": {"news.sport.a", "news.sport.b"},
	} {
		if got := headOf(patterns); got != strings.TrimRight(want, "#") {
			t.Errorf("%q are heard at %q, want %q", patterns, got, strings.TrimRight(want, "#"))
		}
	}
}

func TestAConfigPrintsNoSecret(t *testing.T) {
	for _, url := range []string{"nats://user:secret@host:4222", "nats://secret@host", "nats://a:secret@host,nats://b:secret@other", "nats://%zz:secret@host"} {
		c := Config{URL: url}
		text, err := c.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{c.String(), fmt.Sprintf("%v %+v %#v", c, c, c), string(text), c.LogValue().String()} {
			if strings.Contains(s, "secret") {
				t.Errorf("a config prints its secret: %s", s)
			}
		}
	}
}

func TestAWrongConfigIsRefused(t *testing.T) {
	for what, c := range map[string]Config{
		"nothing":             {},
		"two secrets":         {URL: "nats://h", TokenEnv: "A", PasswordFile: "b"},
		"a negative timeout":  {URL: "nats://h", Timeout: -1},
		"a wrong namespace":   {URL: "nats://h", Namespace: "a b"},
		"a negative MaxBytes": {URL: "nats://h", MaxBytes: -1},
	} {
		if err := c.check(); err == nil {
			t.Errorf("%s is not refused", what)
		}
	}
}

func TestServersOlderThanAtomicBatchesAreTold(t *testing.T) {
	for v, want := range map[string]bool{"2.12.0": true, "2.15.2": true, "3.0.0": true, "2.11.9": false, "1.99.0": false, "": false, "x": false, "2.12.0-RC.1": true} {
		if got := newEnough(v); got != want {
			t.Errorf("version %q is new enough: %v, want %v", v, got, want)
		}
	}
}

func TestTheLimitOfAStreamIsWhatItWasMadeFor(t *testing.T) {
	for _, most := range []int64{1, 1 << 20, 100 << 20, 159 << 20, 160 << 20, 1 << 30, 1 << 40} {
		if got := limit(most + reserve(most)); got < most-most/100-11 || got > most {
			t.Errorf("a stream for %d bytes has the limit %d", most, got)
		}
	}
}
