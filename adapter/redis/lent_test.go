package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// What a fetch hands out lies in one record, and leaves it in many ways. Whatever the way, each message is finished once, with what it
// puts in, and when all are finished nothing is left of them. Consumers differ: one lets its loans run out, so that what it holds is taken from its record.
func TestWhateverBecomesOfWhatWasLentAsOneEachMessageIsFinishedOnce(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b, other := open(t, redis.Config{URL: s.URL()}), open(t, redis.Config{URL: s.URL()})
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			topic := "orders" + strconv.FormatUint(seed, 10)
			m := &mess{t: t, b: b, other: other, rnd: rand.New(rand.NewPCG(seed, 1)), topic: topic, remember: time.Duration(seed%2) * time.Hour, open: map[string]bool{}, out: map[string]bool{}}
			m.run()
			m.outputs()
			g := "{" + topic + "}:g"
			if n := r.int("EXISTS", "muster:state:"+g, "muster:loans:"+g, "muster:wait:"+g, "muster:lent:"+g); n != 0 {
				t.Errorf("%d keys are left of what was lent", n)
			}
			for i, err := range b.Inspect(t.Context(), topic) {
				if err != nil {
					t.Fatal(err)
				}
				if g := i.Groups[0]; g.Lag != 0 || g.Loaned != 0 || g.Delayed != 0 {
					t.Errorf("at the end the group has %+v", g)
				}
			}
		})
	}
}

// mess does what consumers may do, in an order that its seed gives.
type mess struct {
	t        *testing.T
	b        *redis.Backend // of the patient consumer
	other    *redis.Backend // of the one whose loans run out
	rnd      *rand.Rand
	topic    string
	n        int
	remember time.Duration
	open     map[string]bool // IDs that were written and not finished
	out      map[string]bool // IDs that were put in
	held     []port.Delivery // of the patient consumer
	late     []port.Delivery // of the one whose loans have run out, or will
}

func (m *mess) group(consumer string, loan time.Duration) port.Group {
	return port.Group{Topic: m.topic, Name: "g", Consumer: consumer, Loan: loan, Remember: m.remember}
}

func (m *mess) run() {
	patient, hasty := m.group("patient", time.Hour), m.group("hasty", 10*time.Millisecond)
	join(m.t, m.b, patient)
	for range 120 {
		switch m.rnd.IntN(10) {
		case 0, 1, 2:
			m.write(1 + m.rnd.IntN(150))
		case 3, 4:
			m.held = append(m.held, m.fetch(m.b, patient)...)
		case 5:
			m.late = append(m.late, m.fetch(m.other, hasty)...)
		case 6:
			m.extend(patient)
		case 7:
			m.late = m.settle(m.other, hasty, m.late, true)
		case 8:
			m.remove()
		default:
			m.held = m.settle(m.b, patient, m.held, false)
		}
	}
	for len(m.open) > 0 {
		m.held = append(m.held, m.fetch(m.b, patient)...)
		m.held = m.settle(m.b, patient, m.held, false)
	}
}

// remove takes an entry out of the log that nobody has: it never comes.
func (m *mess) remove() {
	list, err := m.b.Read(m.t.Context(), port.Range{Topic: m.topic, Max: 500})
	if err != nil {
		m.t.Fatal(err)
	}
	has := func(held []port.Delivery, id string) bool {
		return slices.ContainsFunc(held, func(d port.Delivery) bool { return d.Message.ID == id })
	}
	for _, i := range m.rnd.Perm(len(list)) {
		id := list[i].Message.ID
		if !m.open[id] || has(m.held, id) || has(m.late, id) {
			continue
		}
		if err := m.b.Write(m.t.Context(), port.Batch{Removes: []port.Removal{{Topic: m.topic, Offset: list[i].Offset}}}); err != nil {
			m.t.Fatal(err)
		}
		delete(m.open, id)
		return
	}
}

func (m *mess) write(n int) {
	var step port.Batch
	for range n {
		m.n++
		id := fmt.Sprintf("%04d", m.n)
		step.Messages = append(step.Messages, message(m.topic, id))
		m.open[id] = true
	}
	if err := m.b.Write(m.t.Context(), step); err != nil {
		m.t.Fatal(err)
	}
}

// fetch asks only when there is something that is not held: it would wait.
func (m *mess) fetch(b *redis.Backend, g port.Group) []port.Delivery {
	if len(m.open) <= len(m.held) {
		return nil
	}
	got := fetch(m.t, b, g, 1+m.rnd.IntN(100))
	for i, d := range got {
		if !m.open[d.Message.ID] {
			m.t.Fatalf("%s was finished, and comes again", d.Message.ID)
		}
		if slices.ContainsFunc(m.held, func(h port.Delivery) bool { return h.Message.ID == d.Message.ID }) ||
			slices.ContainsFunc(got[:i], func(h port.Delivery) bool { return h.Message.ID == d.Message.ID }) {
			m.t.Fatalf("%s is on loan, and is handed out again", d.Message.ID)
		}
		if string(d.Message.Body) != "body of "+d.Message.ID {
			m.t.Fatalf("%s has the body %q", d.Message.ID, d.Message.Body)
		}
	}
	return got
}

// some are a random part of what is held, and the rest.
func (m *mess) some(held []port.Delivery) (some, rest []port.Delivery) {
	all := m.rnd.IntN(4) == 0
	for _, d := range held {
		if all || m.rnd.IntN(2) == 0 {
			some = append(some, d)
		} else {
			rest = append(rest, d)
		}
	}
	return some, rest
}

func (m *mess) extend(g port.Group) {
	some, _ := m.some(m.held)
	holds := make([]port.Hold, len(some))
	for i := range some {
		holds[i] = port.Hold{Receipt: some[i].Receipt, Begin: m.rnd.IntN(10) == 0}
	}
	for i, err := range m.b.Extend(m.t.Context(), g, holds...) {
		if err != nil {
			m.t.Fatalf("extend %s: %v", some[i].Message.ID, err)
		}
	}
}

// settle settles a part of what is held, and answers the rest. Of what is late the outcome decides.
func (m *mess) settle(b *redis.Backend, g port.Group, held []port.Delivery, late bool) []port.Delivery {
	some, rest := m.some(held)
	plain := m.rnd.IntN(2) == 0
	list := make([]port.Settlement, len(some))
	for i := range some {
		list[i] = port.Settlement{Receipt: some[i].Receipt}
		if !plain {
			list[i].Verdict = []port.Verdict{port.Ack, port.Ack, port.Return, port.Release}[m.rnd.IntN(4)]
			list[i].Reason = "why"
			if list[i].Verdict != port.Return {
				list[i].Reason = ""
			}
		}
		if list[i].Verdict == port.Ack && m.rnd.IntN(3) == 0 {
			list[i].Then.Messages = []port.Message{message(m.topic+".out", some[i].Message.ID)}
		}
	}
	for i, err := range b.Settle(m.t.Context(), g, list...) {
		id := some[i].Message.ID
		switch {
		case err == nil && list[i].Verdict == port.Ack:
			if !m.open[id] {
				m.t.Fatalf("%s is finished twice", id)
			}
			delete(m.open, id)
			if len(list[i].Then.Messages) > 0 {
				m.out[id] = true
			}
		case err != nil && !late:
			m.t.Fatalf("settle %s: %v", id, err)
		}
	}
	return rest
}

// outputs looks whether all that was put in is there, once.
func (m *mess) outputs() {
	after := port.Earliest
	for {
		list, err := m.b.Read(m.t.Context(), port.Range{Topic: m.topic + ".out", After: after, Max: 500})
		if err != nil {
			m.t.Fatal(err)
		}
		for _, e := range list {
			if !m.out[e.Message.ID] {
				m.t.Errorf("%s was put in by nobody who finished, or twice", e.Message.ID)
			}
			delete(m.out, e.Message.ID)
			after = e.Offset
		}
		if len(list) == 0 {
			break
		}
	}
	if len(m.out) > 0 {
		m.t.Errorf("%d were put in and are not there", len(m.out))
	}
}

// A backlog is read ahead, and lent after it. What happened meanwhile counts.
func TestABacklogThatWasReadAheadIsLentAsItIsNow(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b, other := open(t, redis.Config{URL: s.URL()}), open(t, redis.Config{URL: s.URL()})
	r.do("CONFIG", "SET", "slowlog-log-slower-than", "0")
	r.do("CONFIG", "SET", "slowlog-max-len", "100000")
	// ahead tells how many ranges of a log were asked for without a script.
	ahead := func() (n int) {
		list, err := r.ask("SLOWLOG", "GET", "-1").ToArray()
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			one, err := list[i].ToArray()
			if err != nil {
				t.Fatal(err)
			}
			words, err := one[3].AsStrSlice()
			if err != nil {
				t.Fatal(err)
			}
			if words[0] == "XRANGE" {
				n++
			}
		}
		return n
	}
	for what, meanwhile := range map[string]func(topic string, g port.Group, had []port.Delivery) (want []string){
		"nothing": func(string, port.Group, []port.Delivery) []string { return numbers(40, 80) },
		"another process fetches": func(_ string, g port.Group, _ []port.Delivery) []string {
			g.Consumer = "c2"
			fetch(t, other, g, 10)
			return numbers(50, 90)
		},
		"an entry is removed": func(topic string, _ port.Group, _ []port.Delivery) []string {
			list, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 200})
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Write(t.Context(), port.Batch{Removes: []port.Removal{{Topic: topic, Offset: list[44].Offset}}}); err != nil {
				t.Fatal(err)
			}
			return append(numbers(40, 44), numbers(45, 81)...)
		},
		"one was handed back": func(_ string, g port.Group, had []port.Delivery) []string {
			if err := b.Settle(t.Context(), g, port.Settlement{Receipt: had[7].Receipt, Verdict: port.Release})[0]; err != nil {
				t.Fatal(err)
			}
			return append(numbers(40, 79), numbers(7, 8)...)
		},
		"the topic is made anew": func(topic string, g port.Group, had []port.Delivery) []string {
			for i := range had {
				if err := b.Settle(t.Context(), g, port.Settlement{Receipt: had[i].Receipt})[0]; err != nil {
					t.Fatal(err)
				}
			}
			if err := other.Drop(t.Context(), topic, ""); err != nil {
				t.Fatal(err)
			}
			join(t, other, g)
			write(t, other, message(topic, "new"))
			return []string{"new"}
		},
	} {
		t.Run(what, func(t *testing.T) {
			topic := "t" + strconv.Itoa(int(rand.Uint32()))
			g := group(topic, "c1")
			join(t, b, g)
			for _, id := range numbers(0, 200) {
				write(t, b, message(topic, id))
			}
			had := fetch(t, b, g, 40)
			want := meanwhile(topic, g, had)
			before := ahead()
			var got []string
			for _, d := range fetch(t, b, g, 40) {
				got = append(got, d.Message.ID)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("handed out %v, want %v", got, want)
			}
			if ahead() == before {
				t.Error("nothing was read ahead")
			}
		})
	}
}

// numbers are IDs.
func numbers(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("%03d", i))
	}
	return ids
}

// Two entries may have one ID, where the topic has no window: of a group that remembers, the second is acknowledged without what it puts
// in. The same holds within one call.
func TestAnIDThatTheGroupRemembersIsAcknowledgedWithoutItsOutputs(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b := open(t, redis.Config{URL: s.URL()})
	if err := b.Declare(t.Context(), port.Topic{Name: "orders", Window: -1}); err != nil {
		t.Fatal(err)
	}
	g := group("orders", "c1")
	join(t, b, g)
	write(t, b, message("orders.out", "0"))
	for _, id := range []string{"a", "a", "b", "b"} {
		write(t, b, message("orders", id))
	}
	got := fetch(t, b, g, 4)
	if len(got) != 4 {
		t.Fatalf("%d messages, want 4", len(got))
	}
	settle := func(i int) port.Settlement {
		out := message("orders.out", fmt.Sprintf("%s%d", got[i].Message.ID, i))
		return port.Settlement{Receipt: got[i].Receipt, Then: port.Batch{Messages: []port.Message{out}}}
	}
	stranger := g
	stranger.Consumer = "c2"
	wantError(t, "another consumer's loan", b.Settle(t.Context(), stranger, settle(0))[0], port.ErrStale)
	errs := b.Settle(t.Context(), g, settle(0))
	errs = append(errs, b.Settle(t.Context(), g, settle(1))...)
	errs = append(errs, b.Settle(t.Context(), g, settle(2), settle(3))...)
	for i, err := range errs {
		d, again := errors.AsType[*port.DuplicateError](err)
		if (i%2 == 1) != again || again && !d.Whole || !again && err != nil {
			t.Errorf("settlement %d: %v", i, err)
		}
	}
	wantIDs(t, b, "orders.out", "0", "a0", "b2")
}

// The oldest open message of a group may stand behind others of its loan, and of its pack, that are settled.
func TestTheOldestMessageIsFoundBehindThoseOfItsLoanThatAreSettled(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	g := group("orders", "c1")
	join(t, b, g)
	var times []int64
	for part := range 2 {
		r.awaitTime(time.UnixMilli(r.now() + 2))
		var step port.Batch
		for i := range 40 {
			step.Messages = append(step.Messages, message("orders", strconv.Itoa(40*part+i)))
		}
		if err := b.Write(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	got := fetch(t, b, g, 80)
	if len(got) != 80 || got[0].FirstAt.Equal(got[79].FirstAt) {
		t.Fatalf("%d messages, from %v to %v", len(got), got[0].FirstAt, got[len(got)-1].FirstAt)
	}
	for _, d := range got {
		times = append(times, d.FirstAt.UnixMilli())
	}
	settled := 0
	for _, upTo := range []int{0, 1, 33, 39, 40, 41, 73, 79} {
		for ; settled < upTo; settled++ {
			if err := b.Settle(t.Context(), g, port.Settlement{Receipt: got[settled].Receipt})[0]; err != nil {
				t.Fatal(err)
			}
		}
		for info, err := range b.Inspect(t.Context(), "orders") {
			if err != nil {
				t.Fatal(err)
			}
			if oldest := info.Groups[0].Oldest.UnixMilli(); oldest != times[upTo] {
				t.Errorf("with %d settled the oldest is of %d, want %d", upTo, oldest, times[upTo])
			}
		}
	}
}
