package porttest

import (
	"strings"

	"github.com/musterhq/muster/port"
)

// badNames are no name of a topic, group, consumer, channel or lease on any backend.
func badNames() []string {
	return []string{
		"", strings.Repeat("n", 10_000), strings.Repeat("n", port.MaxName+1), ".a", "a.", "a..b", ".", "a b", "a/b", "a*",
		"a\x00", "ä", "\xff", "a\n", "a:b", "{a}", "$",
	}
}

// badKeys are no key, ID or owner on any backend.
func badKeys() []string {
	return []string{"", strings.Repeat("k", 10_000), strings.Repeat("k", port.MaxKey+1)}
}

// oddKeys are good keys and IDs that a careless adapter stumbles over.
func oddKeys() []string {
	return []string{
		"k", " ", "*", "?", "[", "]", "[a]", `\`, `\*`, "a*b", "a:b", "a/b", "a.b", "{a}", "{}", "}{", "a b", "a\nb", "a\r\n", "\x00",
		"a\x00b", "\xff\xfe", "ä", "%s", "'", `"`, "`", "$", "~", "a~b", "../a", "KEYS", "nil", "-", "0", strings.Repeat("\xff", port.MaxKey),
	}
}

// overBody is a body that is too big, or nil where there is no limit that a test could pass.
func (t *trial) overBody() []byte {
	if t.caps.MaxBody <= 0 || t.caps.MaxBody > 16<<20 {
		return nil
	}
	return make([]byte, t.caps.MaxBody+1)
}

// fullBody is a body of the largest size, or of 1 MiB where that is more than a test should send.
func (t *trial) fullBody() []byte {
	b := make([]byte, t.body(1<<20))
	if t.caps.MaxBody > 0 && t.caps.MaxBody <= 16<<20 {
		b = make([]byte, t.caps.MaxBody)
	}
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func nameRules() []rule {
	return []rule{
		{
			"names may be as long as 128 bytes",
			"CheckName answers ErrInvalid unless s has 1 to MaxName characters of A-Z a-z 0-9 . _ - and no empty part between dots.", longNames,
		},
		{
			"a dead-letter topic may be as long as its parts make it",
			"A topic that ends in DeadSuffix may be longer, by a group's name and the suffix.", longDeadTopic,
		},
		{
			"IDs, keys and bodies may be any bytes",
			"CheckKey answers ErrInvalid unless s has 1 to MaxKey bytes; any bytes will do.", oddMessages,
		},
		{
			"a body may be empty, and as large as Caps.MaxBody",
			"MaxBody: bytes of a message body, signal payload or key's value.", bodies,
		},
		{
			"topics whose names resemble each other are different topics",
			"All names are logical: a namespace or prefix of the adapter is never seen by a caller.", likeNames,
		},
		{
			"topics, keys and leases of another namespace are not seen",
			"All names are logical: a namespace or prefix of the adapter is never seen by a caller.", namespaces,
		},
	}
}

func longNames(t *trial) {
	name := strings.Repeat("n", port.MaxName)
	g := port.Group{Topic: name, Name: strings.Repeat("g", port.MaxName), Consumer: strings.Repeat("c", port.MaxName), Loan: t.long}
	t.b.join(g)
	t.b.write(msg(name, strings.Repeat("i", port.MaxKey)))
	t.b.ack(g, t.b.one(g))
	key := strings.Repeat("k", port.MaxKey)
	t.b.put(key, "1")
	t.b.holds(key, "1")
	l := port.Lease{Name: name, Owner: strings.Repeat("o", port.MaxKey), Nonce: strings.Repeat("x", port.MaxName), Data: make([]byte, port.MaxData)}
	got, err := t.b.Acquire(t.ctx, l, t.long)
	t.must(err, "Acquire")
	equal(t, "owner", got.Owner, l.Owner)
	equal(t, "bytes of data", len(got.Data), port.MaxData)
}

func longDeadTopic(t *trial) {
	name := strings.Repeat("n", port.MaxName) + "." + strings.Repeat("g", port.MaxName) + port.DeadSuffix
	t.b.write(msg(name, "m1"))
	same(t, "entries", stored(t.b.read(name, port.Earliest)), []string{"m1"})
	equal(t, "topics", len(t.b.infos("*")), 1)
	t.b.drop(name, "")
}

func oddMessages(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	for _, id := range oddKeys() {
		m := port.Message{Topic: "orders", ID: id, Key: id, Body: []byte(id)}
		t.b.write(m)
		d := t.b.one(g)
		equal(t, "ID", d.Message.ID, m.ID)
		equal(t, "key", d.Message.Key, m.Key)
		t.bytes("body", d.Message.Body, m.Body)
		t.b.ack(g, d)
	}
	for i, s := range t.b.read("orders", port.Earliest) {
		equal(t, "ID read", s.Message.ID, oddKeys()[i])
	}
}

func bodies(t *trial) {
	g := t.group("orders", "c1")
	t.b.join(g)
	for i, body := range [][]byte{nil, {}, {0}, t.fullBody()} {
		m := port.Message{Topic: "orders", ID: number(i), Body: body}
		t.b.write(m)
		d := t.b.one(g)
		t.bytes("body of "+m.ID, d.Message.Body, body)
		t.b.ack(g, d)
		t.b.set(port.Change{Key: "orders/" + m.ID, Value: body})
		t.b.holds("orders/"+m.ID, string(body))
	}
	if over := t.overBody(); over != nil {
		t.is(t.b.Write(t.ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "over", Body: over}}}), "Write over Caps.MaxBody", port.ErrInvalid)
		_, err := t.b.Apply(t.ctx, port.Change{Key: "orders/over", Value: over})
		t.is(err, "Apply over Caps.MaxBody", port.ErrInvalid)
		t.b.none(g)
		t.b.lacks("orders/over")
	}
}

func likeNames(t *trial) {
	names := []string{"a", "A", "a.b", "a-b", "a_b", "a.b.c", "ab", "a.dead", "a.b.dead", "0", "-", "_"}
	for i, name := range names {
		t.b.write(msg(name, number(i)))
	}
	for i, name := range names {
		same(t, "entries of topic "+name, stored(t.b.read(name, port.Earliest)), []string{number(i)})
	}
	equal(t, "topics", len(t.b.infos("*")), len(names))
}

func namespaces(t *trial) {
	t.b.queued(t.group("orders", "c1"), 1)
	t.b.put("orders/1", "1")
	t.b.grant(lease("leader", "n1"), t.long)
	far := t.elsewhere()
	equal(t, "topics elsewhere", len(far.infos("*")), 0)
	same(t, "keys elsewhere", far.keys("*"), nil)
	held, err := far.Holders(t.ctx, "")
	t.must(err, "Holders")
	equal(t, "holders elsewhere", len(held), 0)
	_, err = far.Fetch(t.ctx, t.group("orders", "c1"), 1)
	t.is(err, "Fetch elsewhere", port.ErrLost)
	far.lacks("orders/1")
	far.grant(lease("leader", "n2"), t.long)
}
