package port_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/port"
)

var caps = port.Caps{Name: "test", Atomic: port.AtomicFamily, MinTTL: time.Second, MinLoan: 2 * time.Second, MaxBody: 10, LiveSignals: true}

// verdicts holds checks against what they must answer: "" for nil, else a part of the error, which is ErrInvalid unless it
// begins with "!": then it is ErrUnsupported.
func verdicts(t *testing.T, checks map[string]error, says map[string]string) {
	t.Helper()
	for what, err := range checks {
		say, ok := says[what]
		want := port.ErrInvalid
		if s, cut := strings.CutPrefix(say, "!"); cut {
			say, want = s, port.ErrUnsupported
		}
		switch {
		case !ok && err != nil:
			t.Errorf("%s: %v", what, err)
		case ok && (!errors.Is(err, want) || !strings.Contains(err.Error(), say)):
			t.Errorf("%s: %v, want %v that says %q", what, err, want, say)
		}
	}
	for what := range says {
		if _, ok := checks[what]; !ok {
			t.Errorf("%s is not checked", what)
		}
	}
}

func TestATopicLiesOverWhatIsSet(t *testing.T) {
	fresh := port.Topic{Name: "orders"}.Over(port.Topic{})
	if want := (port.Topic{Name: "orders", MaxAge: port.DefaultMaxAge, MaxCount: -1, MaxBytes: -1, Window: port.DefaultWindow}); fresh != want {
		t.Errorf("a new topic is %+v, want %+v", fresh, want)
	}
	set := port.Topic{Name: "orders", MaxAge: -1, MaxCount: 5, MaxBytes: 6, Window: time.Hour}
	if got := (port.Topic{Name: "orders"}).Over(set); got != set {
		t.Errorf("a zero field changes what is set: %+v", got)
	}
	if got, want := (port.Topic{Name: "orders", MaxCount: -1, Window: -1}).Over(set), (port.Topic{Name: "orders", MaxAge: -1, MaxCount: -1, MaxBytes: 6, Window: -1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	verdicts(t, map[string]error{"good": set.Check(), "no name": port.Topic{}.Check()}, map[string]string{"no name": "topic: the name is empty"})
}

func TestGroupsRangesAndFetchesAreChecked(t *testing.T) {
	good := port.Group{Topic: "orders", Name: "billing", Consumer: "c1", Loan: 2 * time.Second}
	with := func(change func(*port.Group)) port.Group {
		g := good
		change(&g)
		return g
	}
	verdicts(t, map[string]error{
		"good":            good.CheckMember(caps),
		"to join":         with(func(g *port.Group) { g.Consumer = "" }).Check(caps),
		"no consumer":     with(func(g *port.Group) { g.Consumer = "" }).CheckMember(caps),
		"no topic":        with(func(g *port.Group) { g.Topic = "" }).CheckMember(caps),
		"dotted":          with(func(g *port.Group) { g.Name = "a.b" }).Check(caps),
		"short loan":      with(func(g *port.Group) { g.Loan = time.Second }).Check(caps),
		"no loan":         with(func(g *port.Group) { g.Loan = 0 }).Check(port.Caps{}),
		"negative memory": with(func(g *port.Group) { g.Remember = -1 }).Check(caps),
		"fetch":           port.CheckFetch(caps, good, 1),
		"fetch of none":   port.CheckFetch(caps, good, 0),
		"fetch unnamed":   port.CheckFetch(caps, with(func(g *port.Group) { g.Consumer = "" }), 1),
		"range":           port.Range{Topic: "orders", Max: 1}.Check(),
		"no range":        port.Range{Topic: "orders"}.Check(),
		"range of none":   port.Range{Max: 1}.Check(),
		"negative wait":   port.Range{Topic: "orders", Max: 1, Wait: -1}.Check(),
	}, map[string]string{
		"no consumer":     `consumer of group "billing" of topic "orders"`,
		"no topic":        "topic",
		"dotted":          "no dots",
		"short loan":      `group "billing" of topic "orders": loan 1s is shorter than the minimum 2s`,
		"no loan":         "loan 0s is shorter than the minimum 1ms",
		"negative memory": "remember",
		"fetch of none":   "0 messages",
		"fetch unnamed":   "consumer",
		"no range":        "0 entries",
		"range of none":   "topic",
		"negative wait":   "wait",
	})
}

func TestStepsAreChecked(t *testing.T) {
	m := port.Message{Topic: "orders.placed", ID: "m1", Body: []byte("0123456789")}
	with := func(change func(*port.Message)) error {
		m := m
		change(&m)
		return m.Check(caps)
	}
	step := func(in string, b port.Batch) error { return b.Check(caps, in) }
	many := make([]port.Message, port.MaxParts)
	for i := range many {
		many[i] = port.Message{Topic: "orders", ID: fmt.Sprint(i)}
	}
	verdicts(t, map[string]error{
		"message":      m.Check(caps),
		"no topic":     with(func(m *port.Message) { m.Topic = "" }),
		"no ID":        with(func(m *port.Message) { m.ID = "" }),
		"long ID":      with(func(m *port.Message) { m.ID = strings.Repeat("i", 513) }),
		"long key":     with(func(m *port.Message) { m.Key = strings.Repeat("i", 513) }),
		"bad group":    with(func(m *port.Message) { m.Group = "a.b" }),
		"large body":   with(func(m *port.Message) { m.Body = make([]byte, 11) }),
		"no limit":     (&port.Message{Topic: "orders", ID: "m1", Body: make([]byte, 11)}).Check(port.Caps{}),
		"empty":        step("", port.Batch{}),
		"full":         step("", port.Batch{Messages: many}),
		"overfull":     step("", port.Batch{Messages: many, Changes: []port.Change{{Key: "orders/1"}}}),
		"long step ID": step("", port.Batch{ID: strings.Repeat("i", 513)}),
		"bad message":  step("", port.Batch{Messages: []port.Message{{}}}),
		"its topic":    step("", port.Batch{Messages: []port.Message{{ID: "m1"}}}),
		"later topic":  step("", port.Batch{Messages: []port.Message{m, m, {Topic: "a..b", ID: "m2"}}}),
		"bad removal":  step("", port.Batch{Removes: []port.Removal{{Offset: "1"}}}),
		"earliest":     step("", port.Batch{Removes: []port.Removal{{Topic: "orders"}}}),
		"latest":       step("", port.Batch{Removes: []port.Removal{{Topic: "orders", Offset: port.Latest}}}),
		"bad fence":    step("", port.Batch{Fence: port.Fence{Name: "leader"}}),
		"bad change":   step("", port.Batch{Changes: []port.Change{{}}}),
		"key twice":    step("", port.Batch{Changes: []port.Change{{Key: "a"}, {Key: "a"}}}),
		"one family":   step("orders.in", port.Batch{Messages: []port.Message{m}, Changes: []port.Change{{Key: "orders/1"}}, Removes: []port.Removal{{Topic: "orders.x", Offset: "1"}}}),
		"two families": step("", port.Batch{Messages: []port.Message{m}, Changes: []port.Change{{Key: "bills/1"}}}),
		"its removal":  step("bills", port.Batch{Removes: []port.Removal{{Topic: "orders.x", Offset: "1"}}}),
		"its message":  step("bills", port.Batch{Messages: []port.Message{m}}),
		"invalid first": step("", port.Batch{
			Messages: []port.Message{m, {Topic: "bills", ID: "m2"}}, Changes: []port.Change{{Key: "x"}},
			Removes: []port.Removal{{Topic: "orders"}}, Fence: port.Fence{Token: 1},
		}),
	}, map[string]string{
		"no topic": "topic", "no ID": "message ID", "long ID": "513 bytes", "long key": "key of message", "bad group": "no dots",
		"large body": "11 bytes, test takes at most 10", "overfull": fmt.Sprint(port.MaxParts + 1), "long step ID": "batch ID",
		"bad message": "topic", "its topic": "topic", "later topic": "a..b", "bad removal": "topic", "earliest": "no offset of an entry", "latest": "no offset of an entry", "bad fence": "token 0",
		"bad change": "key", "key twice": "changed twice", "two families": `!"orders" and "bills"`, "its removal": `!"bills" and "orders"`, "its message": "!families",
		"invalid first": "fence",
	})
	across := port.Batch{Messages: []port.Message{m}, Changes: []port.Change{{Key: "bills/1"}}}
	for _, a := range []port.Atomicity{port.AtomicNone, port.AtomicAll} {
		if err := across.Check(port.Caps{Atomic: a}, "x"); err != nil {
			t.Errorf("a step across families with %v: %v", a, err)
		}
	}
	for what, b := range map[string]port.Batch{"ID": {ID: "1"}, "message": {Messages: many[:1]}, "change": {Changes: []port.Change{{}}}, "removal": {Removes: []port.Removal{{}}}, "fence": {Fence: port.Fence{Token: 1}}} {
		if b.IsZero() {
			t.Errorf("a step with a %s is zero", what)
		}
	}
}

func TestSettlementsAreChecked(t *testing.T) {
	then := port.Batch{Messages: []port.Message{{Topic: "orders.out", ID: "m1"}}}
	check := func(s port.Settlement) error { return s.Check(caps, "orders.in") }
	verdicts(t, map[string]error{
		"ack":             check(port.Settlement{Receipt: "r"}),
		"ack with step":   check(port.Settlement{Receipt: "r", Then: then}),
		"return":          check(port.Settlement{Receipt: "r", Verdict: port.Return, After: time.Hour, Reason: strings.Repeat("x", port.MaxReason)}),
		"release":         check(port.Settlement{Receipt: "r", Verdict: port.Release, After: time.Hour}),
		"no receipt":      check(port.Settlement{}),
		"verdict":         check(port.Settlement{Receipt: "r", Verdict: 3}),
		"below":           check(port.Settlement{Receipt: "r", Verdict: -1}),
		"negative":        check(port.Settlement{Receipt: "r", Verdict: port.Return, After: -1}),
		"long reason":     check(port.Settlement{Receipt: "r", Verdict: port.Return, Reason: strings.Repeat("x", port.MaxReason+1)}),
		"ack after":       check(port.Settlement{Receipt: "r", After: 1}),
		"ack reason":      check(port.Settlement{Receipt: "r", Reason: "x"}),
		"release reason":  check(port.Settlement{Receipt: "r", Verdict: port.Release, Reason: "x"}),
		"return step":     check(port.Settlement{Receipt: "r", Verdict: port.Return, Then: then}),
		"step ID":         check(port.Settlement{Receipt: "r", Then: port.Batch{ID: "b"}}),
		"bad step":        check(port.Settlement{Receipt: "r", Then: port.Batch{Changes: []port.Change{{}}}}),
		"another family":  check(port.Settlement{Receipt: "r", Then: port.Batch{Messages: []port.Message{{Topic: "bills", ID: "m1"}}}}),
		"key by the side": check(port.Settlement{Receipt: "r", Then: port.Batch{Changes: []port.Change{{Key: "plain"}}}}),
	}, map[string]string{
		"no receipt": "receipt is empty", "verdict": "unknown verdict of topic", "below": "verdict", "negative": "After is negative", "long reason": "4097 bytes",
		"ack after": "no After", "ack reason": "only a return has a reason", "release reason": "only a return has a reason", "return step": "only an acknowledgement has a step",
		"step ID": "the receipt is its own", "bad step": "key", "another family": "!families", "key by the side": "!families",
	})
}

func TestChangesAndFencesAreChecked(t *testing.T) {
	k := func(c port.Change) error { c.Key = "k"; return c.Check(caps) }
	verdicts(t, map[string]error{
		"set":            k(port.Change{Value: []byte("0123456789"), TTL: time.Second}),
		"keep":           k(port.Change{TTL: port.KeepTTL}),
		"create":         k(port.Change{If: port.Absent}),
		"swap":           k(port.Change{If: port.Equals, Old: []byte("1")}),
		"swap of nil":    k(port.Change{If: port.Equals}),
		"delete":         k(port.Change{Delete: true, Value: []byte{}}),
		"delete if":      k(port.Change{Delete: true, If: port.Equals, Old: []byte("1")}),
		"fenced":         k(port.Change{Fence: port.Fence{Name: "leader", Token: port.MaxToken}}),
		"no key":         port.Change{}.Check(caps),
		"condition":      k(port.Change{If: 3}),
		"old":            k(port.Change{Old: []byte{}}),
		"delete value":   k(port.Change{Delete: true, Value: []byte("1")}),
		"delete time":    k(port.Change{Delete: true, TTL: port.KeepTTL}),
		"delete absent":  k(port.Change{Delete: true, If: port.Absent}),
		"short time":     k(port.Change{TTL: time.Second - 1}),
		"negative time":  k(port.Change{TTL: -2}),
		"large":          k(port.Change{Value: make([]byte, 11)}),
		"token 0":        k(port.Change{Fence: port.Fence{Name: "leader"}}),
		"token too far":  k(port.Change{Fence: port.Fence{Name: "leader", Token: port.MaxToken + 1}}),
		"fence unnamed":  k(port.Change{Fence: port.Fence{Token: 1}}),
		"ttl":            port.CheckTTL(caps, "x", time.Second, false),
		"ttl none":       port.CheckTTL(caps, "x", 0, true),
		"ttl not none":   port.CheckTTL(port.Caps{Name: "test"}, "x", 0, false),
		"ttl negative":   port.CheckTTL(caps, "x", -1, true),
		"signal":         port.CheckSignal(caps, "news", make([]byte, 10)),
		"signal nowhere": port.CheckSignal(caps, "", nil),
		"large signal":   port.CheckSignal(caps, "news", make([]byte, 11)),
		"no signals":     port.CheckSignal(port.Caps{Name: "test"}, "news", nil),
		"listen":         port.CheckListen(caps, []string{"*", "a"}),
		"listen to none": port.CheckListen(caps, nil),
		"listen badly":   port.CheckListen(caps, []string{"a", "["}),
		"no listening":   port.CheckListen(port.Caps{Name: "test"}, nil),
	}, map[string]string{
		"no key": "key: it is empty", "condition": "If(3)", "old": "without If: Equals", "delete value": "has a value", "delete time": "time to live", "delete absent": "absent",
		"short time": "shorter than test's minimum 1s", "negative time": "shorter", "large": "11 bytes", "token 0": "token 0", "token too far": "2^53-1", "fence unnamed": "fence",
		"ttl not none": "minimum 1ms", "ttl negative": "-1ns", "signal nowhere": "channel", "large signal": "11 bytes", "no signals": "!no live signals",
		"listen to none": "no pattern", "listen badly": "no end", "no listening": "!no live signals",
	})
}

func TestLeasesAreChecked(t *testing.T) {
	good := port.Lease{Name: "leader", Owner: "\xff", Nonce: "n", Token: 1, Seen: port.MaxToken - 1, Data: make([]byte, port.MaxData)}
	with := func(change func(*port.Lease)) port.Lease {
		l := good
		change(&l)
		return l
	}
	verdicts(t, map[string]error{
		"good":        good.Check(caps, time.Second),
		"no name":     with(func(l *port.Lease) { l.Name = "" }).Check(caps, time.Second),
		"no owner":    with(func(l *port.Lease) { l.Owner = "" }).Check(caps, time.Second),
		"no nonce":    with(func(l *port.Lease) { l.Nonce = "" }).Check(caps, time.Second),
		"long nonce":  with(func(l *port.Lease) { l.Nonce = strings.Repeat("n", 129) }).Check(caps, time.Second),
		"seen":        with(func(l *port.Lease) { l.Seen = port.MaxToken }).Check(caps, time.Second),
		"data":        with(func(l *port.Lease) { l.Data = make([]byte, port.MaxData+1) }).Check(caps, time.Second),
		"short":       good.Check(caps, time.Second-1),
		"held":        good.CheckHeld(false),
		"by nonce":    with(func(l *port.Lease) { l.Token = 0 }).CheckHeld(true),
		"no token":    with(func(l *port.Lease) { l.Token = 0 }).CheckHeld(false),
		"large token": with(func(l *port.Lease) { l.Token = port.MaxToken + 1 }).CheckHeld(true),
		"held unname": with(func(l *port.Lease) { l.Name = "" }).CheckHeld(true),
		"held by none": with(func(l *port.Lease) {
			l.Nonce = ""
		}).CheckHeld(true),
		"prefix":      port.CheckPrefix("a.b."),
		"all":         port.CheckPrefix(""),
		"part":        port.CheckPrefix("a.b"),
		"dot":         port.CheckPrefix("."),
		"bad prefix":  port.CheckPrefix("a*"),
		"long prefix": port.CheckPrefix(strings.Repeat("p", 10_000)),
	}, map[string]string{
		"no name": "lease", "no owner": "owner", "no nonce": "nonce has 0 bytes", "long nonce": "129 bytes", "seen": "2^53-1", "data": "data of 65537 bytes", "short": "shorter",
		"no token": "token 0", "large token": "token", "held unname": "lease", "held by none": "nonce", "dot": "prefix", "bad prefix": "prefix", "long prefix": "prefix",
	})
}

func TestDurationsAreCountedInWholeMillisecondsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1900 * time.Millisecond: 1900, 500 * time.Millisecond: 500, 999500 * time.Microsecond: 1000, -time.Second: -1000,
	} {
		if got := port.Millis(d); got != want {
			t.Errorf("Millis(%v) is %d, want %d", d, got, want)
		}
	}
}
