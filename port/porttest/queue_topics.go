package porttest

import (
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

func topicRules() []rule {
	return []rule{
		{
			"Write and Join make a topic with the default limits",
			"Write and Join create a topic with the defaults, so Declare is needed for other limits alone.", topicDefaults,
		},
		{
			"Declare sets limits, and a zero field leaves what is set",
			"A zero field leaves what is set, or the default for a new topic.", topicDeclare,
		},
		{
			"Declare makes a topic, for every process",
			"Declare sets a topic's limits, and creates it when there is none.", topicShared,
		},
		{
			"C22 Inspect yields the topics that match, by name",
			"Inspect yields the topics whose name matches pattern (see Match), by name.", inspectGlobs,
		},
		{
			"Inspect tells a malformed pattern as its last item",
			"An error is the last item.", inspectArguments,
		},
		{
			"Inspect counts entries and tells the first and the last",
			"TopicInfo is what a topic holds now.", inspectTopic,
		},
		{
			"Inspect counts what a group can fetch, has on loan and waits for",
			"GroupInfo is where a group stands.", inspectGroup,
		},
		{
			"Inspect tells the oldest message that a group has not finished",
			"Oldest: FirstAt of the oldest message that is not finished; zero when there is none.", inspectOldest,
		},
	}
}

func topicDefaults(t *trial) {
	t.b.write(msg("written", "m1"))
	t.b.join(t.group("joined", ""))
	for _, name := range []string{"written", "joined"} {
		equal(t, "limits of topic "+name, t.process().info(name).Topic, port.Topic{Name: name}.Over(port.Topic{}))
	}
}

func topicDeclare(t *trial) {
	first := port.Topic{Name: "orders", MaxAge: time.Hour, MaxCount: 100, MaxBytes: 1 << 20, Window: time.Minute}
	t.b.declare(first)
	t.b.declare(first)
	equal(t, "limits", t.b.info("orders").Topic, first)
	second := port.Topic{Name: "orders", MaxCount: 200, Window: -1}
	t.process().declare(second)
	equal(t, "limits after a second Declare", t.b.info("orders").Topic, second.Over(first))
	t.b.write(msg("orders", "m1"))
	equal(t, "limits after Write", t.b.info("orders").Topic, second.Over(first))
}

func topicShared(t *trial) {
	t.b.declare(port.Topic{Name: "orders", MaxCount: 7})
	other := t.process()
	equal(t, "MaxCount", other.info("orders").Topic.MaxCount, 7)
	other.write(msg("orders", "m1"))
	same(t, "entries", stored(t.b.read("orders", port.Earliest)), []string{"m1"})
}

func inspectGlobs(t *trial) {
	names := []string{"a", "a.b", "a.b.c", "ab", "b", "b.a", "orders-1", "orders-2", "orders.placed"}
	for _, name := range slices.Backward(names) {
		t.b.declare(port.Topic{Name: name})
	}
	for _, pattern := range []string{"*", "a", "a*", "a.*", "?", "[ab]", "[^a]*", "orders-[0-9]", `a\.b`, "*.*", "none", "a.?"} {
		var want, got []string
		for _, name := range names {
			if port.Match(pattern, name) {
				want = append(want, name)
			}
		}
		for _, info := range t.b.infos(pattern) {
			got = append(got, info.Topic.Name)
		}
		same(t, "topics that match "+pattern, got, want)
	}
	for _, err := range t.b.Inspect(t.ctx, "*") {
		t.must(err, "a loop that is left")
		break // a loop may be left
	}
}

func inspectArguments(t *trial) {
	t.b.declare(port.Topic{Name: "orders"})
	for _, pattern := range []string{"", "[a", `a\`} {
		n := 0
		for _, err := range t.b.Inspect(t.ctx, pattern) {
			n++
			t.is(err, "Inspect("+pattern+")", port.ErrInvalid)
		}
		equal(t, "items", n, 1)
	}
}

func inspectTopic(t *trial) {
	t.b.write(numbered("orders", 5)...)
	m := msg("orders", "later")
	m.At = time.Now().Add(t.long)
	t.b.write(m)
	info, all := t.b.info("orders"), t.b.read("orders", port.Earliest)
	equal(t, "entries", info.Count, 5)
	equal(t, "delayed", info.Delayed, 1)
	equal(t, "first", info.First, all[0].Offset)
	equal(t, "last", info.Last, all[4].Offset)
	equal(t, "groups", len(info.Groups), 0)
}

func inspectGroup(t *trial) {
	g, idle := t.group("orders", "c1"), t.group("orders", "")
	idle.Name = "idle"
	t.b.join(idle)
	t.b.queued(g, 5)
	ds := t.b.fetch(g, 2)
	g2 := g
	g2.Consumer = "c2"
	ds = append(ds, t.b.one(g2))
	t.b.back(g, ds[0], port.Return, t.long)
	m := msg("orders", "mine")
	m.Group, m.At = g.Name, time.Now().Add(t.long)
	t.b.write(m)
	t.stands("after 3 of 5 were fetched, one of them returned", g, 2, 2, 2)
	t.stands("of a group that fetched nothing", idle, 5, 0, 0)
	t.check(slices.IsSorted(t.b.standing("orders", g.Name).Consumers), "consumers are told by name")
	t.b.ack(g, ds[1])
	t.b.back(g2, ds[2], port.Release, 0)
	t.stands("after one was done and one released", g, 3, 0, 2)
}

// stands fails unless the group comes to stand so.
func (t *trial) stands(what string, g port.Group, lag, loaned, delayed int64) {
	t.eventually("counts of group "+g.Name+" "+what, func() (bool, string) {
		s := t.b.standing(g.Topic, g.Name)
		return s.Lag == lag && s.Loaned == loaned && s.Delayed == delayed, brief([]int64{s.Lag, s.Loaned, s.Delayed})
	})
}

func inspectOldest(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	t.pass(t.unit)
	t.b.write(msg("orders", "second"))
	ds := t.b.fetch(g, 2)
	t.check(ds[0].FirstAt.Before(ds[1].FirstAt), "the second became available later")
	oldest := func(what string, want time.Time) {
		t.eventually("oldest "+what, func() (bool, string) {
			got := t.b.standing("orders", g.Name).Oldest
			return got.Equal(want), got.String() + ", want " + want.String()
		})
	}
	oldest("of two on loan", ds[0].FirstAt)
	t.b.ack(g, ds[0])
	oldest("after the first was finished", ds[1].FirstAt)
	t.b.ack(g, ds[1])
	oldest("when all is finished", time.Time{})
}

func dropRules() []rule {
	return []rule{
		{
			"a dropped group is gone, and others stay",
			"Drop gives up a group with what it has not finished.", dropGroup,
		},
		{
			"a group that is made again starts at its From",
			"A group that exists stays where it is; a new one starts at g.From.", dropAndJoin,
		},
		{
			"a dropped topic is gone with all its groups",
			"Drop gives up, with group \"\", the topic with all its groups.", dropTopic,
		},
		{
			"Drop is refused while a message is on loan",
			"ErrConflict while someone has a message of it on loan.", dropLoaned,
		},
		{
			"Drop of what is not there is told",
			"ErrNotFound when there is none.", dropNothing,
		},
		{
			"an offset of a dropped topic is a gap in the next of its name",
			"ErrGap when r.After is of another log (an earlier topic of that name).", dropEra,
		},
	}
}

func dropGroup(t *trial) {
	g := t.group("orders", "c1")
	other := t.group("orders", "c2")
	other.Name = "others"
	t.b.join(other)
	t.b.queued(g, 3)
	t.b.back(g, t.b.one(g), port.Return, t.long)
	t.b.drop("orders", g.Name)
	_, err := t.process().Fetch(t.ctx, g, 1)
	t.is(err, "Fetch of a dropped group", port.ErrLost)
	equal(t, "groups", len(t.b.info("orders").Groups), 1)
	same(t, "handed to the other group", ids(t.b.fetch(other, 3)), numbers(0, 3))
}

func dropAndJoin(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 2)
	t.b.ack(g, t.b.fetch(g, 2)...)
	t.b.drop("orders", g.Name)
	t.b.join(g)
	ds := t.b.fetch(g, 2)
	same(t, "handed to the group that was made again", ids(ds), numbers(0, 2))
	t.b.back(g, ds[0], port.Return, 0)
	t.b.ack(g, ds[1])
	d := t.b.one(g)
	equal(t, "attempts", d.Attempt, 1)
	t.b.back(g, d, port.Return, 0)
	t.b.drop("orders", g.Name)
	t.b.join(g)
	equal(t, "attempts of a message that its group was dropped with", t.b.one(g).Attempt, 0)
}

func dropTopic(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 2)
	t.b.write(msg("orders.out", "m1"))
	t.b.drop("orders", "")
	equal(t, "topics left", len(t.b.infos("*")), 1)
	_, err := t.b.Fetch(t.ctx, g, 1)
	t.is(err, "Fetch from a dropped topic", port.ErrLost)
	t.is(t.b.Drop(t.ctx, "orders", ""), "a second Drop", port.ErrNotFound)
	t.b.write(msg("orders", "new"))
	same(t, "entries of the topic that was made again", stored(t.b.read("orders", port.Earliest)), []string{"new"})
	_, err = t.b.Fetch(t.ctx, g, 1)
	t.is(err, "Fetch from the topic that was made again", port.ErrLost)
}

func dropLoaned(t *trial) {
	g := t.group("orders", "c1")
	t.b.queued(g, 1)
	d := t.b.one(g)
	t.is(t.b.Drop(t.ctx, "orders", g.Name), "Drop of a group", port.ErrConflict)
	t.is(t.process().Drop(t.ctx, "orders", ""), "Drop of a topic", port.ErrConflict)
	t.must(t.b.extend(g, d, false), "Extend after a refused Drop")
	t.b.ack(g, d)
	t.must(t.b.Drop(t.ctx, "orders", g.Name), "Drop after the message was settled")
}

func dropNothing(t *trial) {
	t.is(t.b.Drop(t.ctx, "orders", ""), "Drop of no topic", port.ErrNotFound)
	t.is(t.b.Drop(t.ctx, "orders", "workers"), "Drop of a group of no topic", port.ErrNotFound)
	t.b.write(msg("orders", "m1"))
	t.is(t.b.Drop(t.ctx, "orders", "workers"), "Drop of no group", port.ErrNotFound)
	t.check(len(t.b.infos("*")) == 1, "refused drops made and lost nothing")
}

func dropEra(t *trial) {
	t.b.write(numbered("orders", 3)...)
	old := t.b.offset("orders", number(1))
	t.b.drop("orders", "")
	for i := range 5 {
		t.b.write(msg("orders", "new"+number(i)))
	}
	_, err := t.b.Read(t.ctx, port.Range{Topic: "orders", After: old, Max: 10})
	t.is(err, "Read after an offset of the earlier topic", port.ErrGap)
	g := t.group("orders", "")
	g.From = old
	t.is(t.b.Join(t.ctx, g), "Join at an offset of the earlier topic", port.ErrGap)
	_, err = t.b.Fetch(t.ctx, t.group("orders", "c1"), 1)
	t.is(err, "Fetch after the refused Join", port.ErrLost)
}
