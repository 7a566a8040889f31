package porttest

import (
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func ttlRules() []rule {
	return []rule{
		{
			"a key ends at its time, and not before",
			"TTL: what is left to live.", ttlEnds,
		},
		{
			"C15 a time to live is kept to the millisecond",
			"Durations are counted in whole milliseconds; a fraction is rounded up.", ttlExact,
		},
		{
			"C14 a change keeps, sets or ends the time to live as it says",
			"TTL: 0: no end; KeepTTL: as it was; else at least Caps.MinTTL.", ttlChange,
		},
		{
			"C14 KeepTTL gives a new key no end",
			"KeepTTL leaves the key's time to live as it was; a key that did not exist gets none.", ttlKeepNew,
		},
		{
			"a refused change leaves the time to live",
			"Applied.Done is false: the condition did not hold.", ttlRefused,
		},
		{
			"a key whose time is over counts as absent everywhere",
			"TTL: what is left to live.", ttlOver,
		},
		{
			"a time to live that is too short is refused",
			"CheckTTL answers ErrInvalid for a time to live that is negative or shorter than Caps.MinTTL.", ttlArguments,
		},
	}
}

// left fails unless the key has about most left to live, for a key that was set for most a moment ago; 0: it has no end.
func (t *trial) left(key string, most time.Duration) {
	v := t.b.timed(key)
	t.check(v.Found, "key "+key+" is there")
	if v.TTL > most || v.TTL < most-most/4 || (most > 0 && v.TTL <= 0) {
		t.fatalf("key %q has %v left to live, want %v", key, v.TTL, most)
	}
}

// gone waits until the key is gone, and fails when it went before its time.
func (t *trial) gone(key string, start time.Time, ttl time.Duration) {
	t.eventually("key "+key+" ends", func() (bool, string) {
		v := t.b.timed(key)
		if !v.Found {
			t.notBefore(start, ttl, "key "+key+" ended")
		}
		return !v.Found, fmt.Sprintf("%v left", v.TTL)
	})
}

func ttlEnds(t *trial) {
	start := time.Now()
	t.b.set(port.Change{Key: "k", Value: []byte("1"), TTL: 2 * t.unit})
	t.must(t.b.step(port.Batch{Changes: []port.Change{{Key: "m", Value: []byte("1"), TTL: 2 * t.unit}}}), "Write")
	t.gone("k", start, 2*t.unit)
	t.gone("m", start, 2*t.unit)
}

func ttlExact(t *trial) {
	for i, ttl := range []time.Duration{1900 * time.Millisecond, 500 * time.Millisecond, 1001 * time.Millisecond, 999500 * time.Microsecond} {
		key := fmt.Sprintf("k%d", i)
		c := port.Change{Key: key, Value: []byte("1"), TTL: ttl}
		if ttl < t.caps.MinTTL {
			_, err := t.b.Apply(t.ctx, c)
			t.is(err, fmt.Sprintf("Apply with a time to live of %v", ttl), port.ErrInvalid)
			t.b.lacks(key)
			continue
		}
		start := time.Now()
		t.b.set(c)
		v := t.b.timed(key)
		gone := time.Since(start)
		whole := time.Duration(port.Millis(ttl)) * time.Millisecond
		if v.Found && (v.TTL > whole || v.TTL < whole-gone-t.grain) || !v.Found && gone < ttl && t.caps.LinearReads {
			t.fatalf("a key that was set for %v has %v left %v later", ttl, v.TTL, gone)
		}
		t.gone(key, start, ttl)
		t.onTime(start, whole+t.unit/10, "a key that is polled ended")
	}
}

func ttlChange(t *trial) {
	set := func(c port.Change) func() {
		return func() { c.Key, c.Value = "k", []byte("2"); t.b.set(c) }
	}
	cases := []struct {
		what string
		do   func()
		want time.Duration
	}{
		{"a change that keeps it", set(port.Change{TTL: port.KeepTTL}), t.long},
		{"a conditional change that keeps it", set(port.Change{TTL: port.KeepTTL, If: port.Equals, Old: []byte("1")}), t.long},
		{"a change that ends it", set(port.Change{}), 0},
		{"a conditional change that ends it", set(port.Change{If: port.Equals, Old: []byte("1")}), 0},
		{"a change that sets it", set(port.Change{TTL: 3 * t.long}), 3 * t.long},
		{"a conditional change that sets it", set(port.Change{TTL: 3 * t.long, If: port.Equals, Old: []byte("1")}), 3 * t.long},
	}
	for _, c := range cases {
		t.b.set(port.Change{Key: "k", Value: []byte("1"), TTL: t.long})
		t.left("k", t.long)
		c.do()
		t.b.holds("k", "2")
		if left := t.b.timed("k").TTL; left > c.want || left < c.want-c.want/4 {
			t.fatalf("%s: %v left to live, want %v", c.what, left, c.want)
		}
	}
	t.b.set(port.Change{Key: "m", Value: []byte("1"), If: port.Absent, TTL: t.long})
	t.left("m", t.long)
}

func ttlKeepNew(t *trial) {
	t.b.set(port.Change{Key: "k", Value: []byte("1"), TTL: port.KeepTTL})
	t.left("k", 0)
	t.b.set(port.Change{Key: "m", Value: []byte("1"), TTL: port.KeepTTL, If: port.Absent})
	t.left("m", 0)
	t.b.set(port.Change{Key: "m", Delete: true})
	start := time.Now()
	t.b.set(port.Change{Key: "m", Value: []byte("1"), TTL: t.unit})
	t.gone("m", start, t.unit)
	t.b.set(port.Change{Key: "m", Value: []byte("1"), TTL: port.KeepTTL})
	t.left("m", 0)
}

func ttlRefused(t *trial) {
	t.b.set(port.Change{Key: "k", Value: []byte("1"), TTL: t.long})
	t.check(!t.b.apply(port.Change{Key: "k", Value: []byte("2"), If: port.Absent}).Done, "a key that is there is not created")
	t.check(!t.b.apply(port.Change{Key: "k", Value: []byte("2"), If: port.Equals, Old: []byte("2"), TTL: 3 * t.long}).Done, "another value is not changed")
	t.left("k", t.long)
}

func ttlOver(t *trial) {
	start := time.Now()
	t.b.set(port.Change{Key: "k", Value: []byte("1"), TTL: t.unit})
	t.gone("k", start, t.unit)
	same(t, "keys", t.b.keys("*"), nil)
	t.check(!t.b.apply(port.Change{Key: "k", Value: []byte("2"), If: port.Equals, Old: []byte("1")}).Done, "what is over equals nothing")
	t.b.set(port.Change{Key: "k", Value: []byte("3"), If: port.Absent})
	t.left("k", 0)
	t.b.holds("k", "3")
}

func ttlArguments(t *trial) {
	for _, ttl := range []time.Duration{-2, -time.Second, t.caps.MinTTL - 1} {
		if ttl == 0 || ttl == port.KeepTTL {
			continue
		}
		c := port.Change{Key: "k", Value: []byte("1"), TTL: ttl}
		_, err := t.b.Apply(t.ctx, c)
		t.is(err, fmt.Sprintf("Apply with a time to live of %v", ttl), port.ErrInvalid)
		t.is(t.b.step(port.Batch{Changes: []port.Change{c}}), "Write with that", port.ErrInvalid)
		_, err = t.b.Add(t.ctx, "k", 1, ttl)
		t.is(err, "Add with that", port.ErrInvalid)
		_, err = t.b.Acquire(t.ctx, lease("leader", "n1"), ttl)
		t.is(err, "Acquire with that", port.ErrInvalid)
	}
	t.b.lacks("k")
}
