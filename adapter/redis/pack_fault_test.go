package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// packs is a topic whose messages lie in packs.
type packs struct {
	t     *testing.T
	b     *Backend
	topic string
	n     int
}

func newPacks(t *testing.T) *packs {
	p := &packs{t: t, b: namesake(t, testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"}), "packs"), topic: "orders"}
	p.must(p.b.Declare(t.Context(), port.Topic{Name: p.topic, MaxAge: -1})) // what is new is not packed
	return p
}

func (p *packs) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *packs) write(n, size int) {
	p.t.Helper()
	var step port.Batch
	for range n {
		step.Messages = append(step.Messages, port.Message{Topic: p.topic, ID: strconv.Itoa(p.n), Body: make([]byte, size)})
		p.n++
	}
	p.must(p.b.Write(p.t.Context(), step))
}

func (p *packs) read(after port.Offset) []port.Stored {
	p.t.Helper()
	list, err := p.b.Read(p.t.Context(), port.Range{Topic: p.topic, After: after, Max: 500})
	p.must(err)
	return list
}

func (p *packs) remove(list ...port.Stored) error {
	var step port.Batch
	for _, s := range list {
		step.Removes = append(step.Removes, port.Removal{Topic: p.topic, Offset: s.Offset})
	}
	return p.b.Write(p.t.Context(), step)
}

// state is what a topic's keys hold, as the server writes it down.
func (p *packs) state() map[string]string {
	p.t.Helper()
	kept := map[string]string{}
	for _, key := range p.b.space.addTopic(nil, p.topic) {
		if said(p.t, p.b, "TYPE", key) != "none" {
			kept[key] = said(p.t, p.b, "DUMP", key)
		}
	}
	return kept
}

// goBack gives a topic an earlier state, as a master does that takes over without the last of it.
func (p *packs) goBack(kept map[string]string) {
	p.t.Helper()
	for _, key := range p.b.space.addTopic(nil, p.topic) {
		direct(p.t, p.b, "DEL", key)
		if kept[key] != "" {
			direct(p.t, p.b, "RESTORE", key, "0", kept[key])
		}
	}
}

func TestAnOffsetOfALostPackIsNoneOfThePackInItsPlace(t *testing.T) {
	p := newPacks(t)
	p.write(30, 0)
	kept := p.state()
	p.write(20, 0)
	lost := p.read(port.Earliest)[30:]
	p.goBack(kept)
	for from := serverTime(t, p.b); serverTime(t, p.b) <= max(from, lost[0].At.UnixMilli()); {
	}
	p.write(25, 0)
	for i, s := range lost {
		_, err := p.b.Read(t.Context(), port.Range{Topic: p.topic, After: s.Offset, Max: 1})
		if !errors.Is(err, port.ErrGap) {
			t.Errorf("read after message %d of what was lost: %v", i, err)
		}
		// The same where the clock has gone back since, or the master's was another.
		ahead, _ := at(s.Offset)
		ahead.ms = strconv.FormatInt(s.At.Add(time.Hour).UnixMilli(), 10)
		_, err = p.b.Read(t.Context(), port.Range{Topic: p.topic, After: ahead.offset(), Max: 1})
		if !errors.Is(err, port.ErrGap) {
			t.Errorf("read after message %d of what was lost, at a later time: %v", i, err)
		}
		err = p.b.Join(t.Context(), port.Group{Topic: p.topic, Name: "g" + strconv.Itoa(i), Consumer: "c", Loan: time.Hour, From: s.Offset})
		if !errors.Is(err, port.ErrGap) {
			t.Errorf("join after message %d of what was lost: %v", i, err)
		}
		if err := p.remove(s); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("removal of message %d of what was lost: %v", i, err)
		}
	}
	all := p.read(port.Earliest)
	for i, s := range all {
		if got := p.read(s.Offset); len(got) != len(all)-1-i {
			t.Errorf("%d messages after message %d of %d", len(got), i, len(all))
		}
	}
}

// What frees no memory by itself is let through, too: else nothing could ever be freed.
func TestAFullServerLetsMessagesOutOfPacks(t *testing.T) {
	p := newPacks(t)
	p.write(96, 400)
	log := p.read(port.Earliest)
	p.must(p.b.Declare(t.Context(), port.Topic{Name: p.topic, MaxCount: 85}))
	direct(t, p.b, "CONFIG", "SET", "maxmemory", "1")
	if err := p.remove(log[40]); err != nil {
		t.Errorf("remove: %v", err)
	}
	if kept, err := p.b.trim(t.Context(), p.topic); err != nil || kept {
		t.Errorf("trim: %v, %v", kept, err)
	}
	if got := p.read(port.Earliest); len(got) != 85 || got[0].Message.ID != "10" {
		t.Errorf("%d messages are kept", len(got))
	}
	if err := p.remove(log[41:64]...); err != nil {
		t.Errorf("remove more: %v", err)
	}
}

// The IDs of steps and those of messages are two things, but where a step has the ID of its only message.
func TestAnotherWindowMakesNoStepKnownByTheIDOfAMessageNorAMessageByThatOfAStep(t *testing.T) {
	p := newPacks(t)
	windows := []time.Duration{time.Second, port.DefaultWindow, time.Hour, -1}
	for i, from := range windows {
		for k, to := range windows {
			name := fmt.Sprintf("orders.%d%d", i, k)
			message := func(id string) port.Message { return port.Message{Topic: name, ID: name + id} }
			p.must(p.b.Declare(t.Context(), port.Topic{Name: name, Window: from}))
			p.must(p.b.Write(t.Context(), port.Batch{Messages: []port.Message{message("a")}}))
			p.must(p.b.Write(t.Context(), port.Batch{ID: name + "b", Messages: []port.Message{message("c")}}))
			p.must(p.b.Write(t.Context(), port.Batch{ID: name + "d", Messages: []port.Message{{Topic: "orders.all", ID: name + "d"}}}))
			p.must(p.b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders.others", ID: name + "e"}}}))
			p.must(p.b.Declare(t.Context(), port.Topic{Name: name, Window: to}))
			p.must(p.b.Write(t.Context(), port.Batch{ID: name + "a", Messages: []port.Message{message("x"), message("y")}}))
			p.must(p.b.Write(t.Context(), port.Batch{Messages: []port.Message{message("b")}}))
			p.must(p.b.Write(t.Context(), port.Batch{Messages: []port.Message{message("d")}}))
			p.must(p.b.Write(t.Context(), port.Batch{ID: name + "e", Messages: []port.Message{message("e")}}))
			p.topic = name
			var got []string
			for _, s := range p.read(port.Earliest) {
				got = append(got, s.Message.ID[len(name):])
			}
			if want := []string{"a", "c", "x", "y", "b", "d", "e"}; !slices.Equal(got, want) {
				t.Errorf("window %v, then %v: %v, want %v", from, to, got, want)
			}
		}
	}
}

// What else a step has is done, or it is a repetition: never both.
func TestAStepThatIsMoreThanItsMessageIsNotTakenForARepetition(t *testing.T) {
	p := newPacks(t)
	p.write(1, 0)
	step := port.Batch{ID: "0", Messages: []port.Message{{Topic: p.topic, ID: "0"}}, Changes: []port.Change{{Key: "orders/1", Value: []byte("1")}}}
	_, known := errors.AsType[*port.DuplicateError](p.b.Write(t.Context(), step))
	got, err := p.b.Get(t.Context(), "orders/1")
	p.must(err)
	if done := got[0].Found; done != known {
		t.Errorf("the step's change was made: %v, its message was said to be left out: %v", done, known)
	}
}

// ended ends all loans of a group.
func (p *packs) ended(g port.Group) {
	key := p.b.space.addGroup(nil, g.Topic, g.Name)[2]
	list := direct(p.t, p.b, "ZRANGE", key, "0", "-1")
	names, err := list.AsStrSlice()
	p.must(err)
	for _, name := range names {
		direct(p.t, p.b, "ZADD", key, "XX", "1", name)
	}
}

func (p *packs) fetch(g port.Group, limit int) []port.Delivery {
	p.t.Helper()
	list, err := p.b.Fetch(p.t.Context(), g, limit)
	p.must(err)
	return list
}

func TestOfALoanThatHasEndedNoMoreComesThanIsWantedAndNothingTwice(t *testing.T) {
	p := newPacks(t)
	g := port.Group{Topic: p.topic, Name: "g", Consumer: "c", Loan: time.Hour, Remember: time.Hour}
	p.must(p.b.Join(t.Context(), g))
	p.write(32, 0)
	for from := serverTime(t, p.b); serverTime(t, p.b) <= from; {
	}
	p.write(48, 0)
	log := p.read(port.Earliest)
	lent := p.fetch(g, 70)
	if len(lent) != 70 {
		t.Fatalf("%d messages were lent", len(lent))
	}
	// Message 3 is known to the group by another delivery of its ID, as after a repetition; the first, one between and the last are taken out.
	direct(t, p.b, "SADD", p.b.space.addGroup(nil, p.topic, "g")[5], "3")
	gone := map[int]bool{0: true, 3: true, 33: true, 68: true, 69: true}
	for i := range gone {
		if i != 3 {
			p.must(p.remove(log[i]))
		}
	}
	p.ended(g)
	for next := 0; next < 70; {
		list := p.fetch(g, 10)
		if len(list) == 0 || len(list) > 10 {
			t.Fatalf("%d messages come where 10 are wanted", len(list))
		}
		for _, d := range list {
			for gone[next] {
				next++
			}
			if d.Lost == 0 {
				continue // one that was not lent before
			}
			if want := strconv.Itoa(next); d.Message.ID != want || d.Lost != 1 || !d.FirstAt.Equal(log[next].At) || d.Offset != log[next].Offset {
				t.Errorf("message %s, lost %d times and first seen at %v, comes where %s should", d.Message.ID, d.Lost, d.FirstAt, want)
			}
			next++
		}
		for gone[next] {
			next++
		}
	}
}

func TestNothingOfAPackIsTrimmedThatAGroupHasNotFinished(t *testing.T) {
	p := newPacks(t)
	g := port.Group{Topic: p.topic, Name: "g", Consumer: "c", Loan: time.Hour}
	p.must(p.b.Join(t.Context(), g))
	p.write(96, 3)
	log := p.read(port.Earliest)
	lent := p.fetch(g, 40)
	for i, d := range lent {
		if i != 20 {
			p.must(errors.Join(p.b.Settle(t.Context(), g, port.Settlement{Receipt: d.Receipt})...))
		}
	}
	p.must(p.remove(log[5], log[25], log[31], log[45], log[50], log[70]))
	trim := func(most int64, first int, held bool) {
		t.Helper()
		p.must(p.b.Declare(t.Context(), port.Topic{Name: p.topic, MaxCount: most}))
		kept, err := p.b.trim(t.Context(), p.topic)
		p.must(err)
		if kept != held {
			t.Errorf("a group holds it: %v", kept)
		}
		var want, got []string
		for i := first; i < 96; i++ {
			if i != 25 && i != 31 && i != 45 && i != 50 && i != 70 {
				want = append(want, strconv.Itoa(i))
			}
		}
		list := p.read(port.Earliest)
		for _, s := range list {
			got = append(got, s.Message.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the log holds %v, want %v", got, want)
		}
		p.same(int64(len(want)), list)
	}
	for info, err := range p.b.Inspect(t.Context(), p.topic) {
		p.must(err)
		if lag := info.Groups[0].Lag; lag != 53 {
			t.Errorf("lag %d of 56 messages of which 3 were taken out", lag)
		}
	}
	trim(1, 20, true)
	p.must(errors.Join(p.b.Settle(t.Context(), g, port.Settlement{Receipt: lent[20].Receipt})...))
	trim(1, 40, true)
	mark := direct(t, p.b, "HEXISTS", p.b.space.topicHash(p.topic), "x:32")
	if left, err := mark.AsInt64(); err != nil || left != 0 {
		t.Error("the mark of a message is left whose pack was trimmed")
	}
	if err := p.remove(log[80], log[80]); err == nil {
		t.Error("a message was taken out twice")
	}
	p.same(53, p.read(port.Earliest))
}

// same compares what a topic tells of itself with its log.
func (p *packs) same(count int64, list []port.Stored) {
	p.t.Helper()
	for info, err := range p.b.Inspect(p.t.Context(), p.topic) {
		p.must(err)
		if info.Count != count || info.First != list[0].Offset || info.Last != list[len(list)-1].Offset {
			p.t.Errorf("%d messages from %s to %s, want %d from %s to %s", info.Count, info.First, info.Last, count, list[0].Offset, list[len(list)-1].Offset)
		}
	}
	if bytes := said(p.t, p.b, "HGET", p.b.space.topicHash(p.topic), "bytes"); bytes != number(3*count) {
		p.t.Errorf("%s bytes are left of %d messages of 3", bytes, count)
	}
}

// What is asked without a function is asked of all three sets, of one step and of several.
func TestTheShortestScriptKnowsAStepByEachSetAndGoesOnWhereTheLogIs(t *testing.T) {
	p := newPacks(t)
	p.write(1, 100) // what is longer than all before is not for it
	sets := p.b.space.addSteps(nil, p.topic)
	send := func(steps ...port.Batch) {
		t.Helper()
		var list []*writing
		for i := range steps {
			list = append(list, newWriting(steps[i]))
		}
		p.b.gather.send(t.Context(), p.topic, list)
		for _, w := range list {
			p.must(<-w.done)
		}
	}
	step := func(id, message string) port.Batch {
		return port.Batch{ID: id, Messages: []port.Message{{Topic: p.topic, ID: message}}}
	}
	want := []string{"0"}
	// What the other scripts wrote last is not in the topic's short record; one plain message brings it there.
	plain := func() {
		t.Helper()
		id := "plain" + strconv.Itoa(len(want))
		send(step("", id))
		want = append(want, id)
		for _, s := range sets {
			direct(t, p.b, "DEL", s)
		}
	}
	for i, set := range sets {
		known := "known" + strconv.Itoa(i)
		plain()
		direct(t, p.b, "SADD", set, known)
		send(step(known, known+" alone"))
		plain()
		direct(t, p.b, "SADD", set, known)
		send(step(known, known+" of two"), step("unknown"+strconv.Itoa(i), "new"+strconv.Itoa(i)))
		want = append(want, "new"+strconv.Itoa(i))
	}
	plain()
	send(step("a", "one"))
	send(step("b", "two"), step("c", "three"))
	for _, s := range sets {
		left := direct(t, p.b, "PTTL", s)
		if ms, err := left.AsInt64(); err != nil || ms == -1 {
			t.Errorf("%s ends never, %v", s, err)
		}
	}

	// The clock goes back by an hour.
	hash := p.b.space.topicHash(p.topic)
	later := number(serverTime(t, p.b) + 3600000)
	_, rest, _ := strings.Cut(said(t, p.b, "HGET", hash, "plain"), " ")
	direct(t, p.b, "HSET", hash, "ms", later, "plain", later+" "+rest)
	send(step("d", "four"))
	var got []string
	list := p.read(port.Earliest)
	for _, s := range list {
		got = append(got, s.Message.ID)
	}
	if want = append(want, "one", "two", "three", "four"); !slices.Equal(got, want) {
		t.Errorf("the log holds %v, want %v", got, want)
	}
	if at := number(list[len(list)-1].At.UnixMilli()); at != later {
		t.Errorf("an entry is of %s, and the log stands at %s", at, later)
	}
}
