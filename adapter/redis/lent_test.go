package redis_test

import (
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

// What a fetch hands out lies in one record, and leaves it in many ways. Whatever the way, each message is finished once, and when all
// are finished nothing is left of them. Consumers differ: one lets its loans run out, so that what it holds is taken from its record.
func TestWhateverBecomesOfWhatWasLentAsOneEachMessageIsFinishedOnce(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b := open(t, redis.Config{URL: s.URL()})
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			topic := "orders" + strconv.FormatUint(seed, 10)
			m := &mess{t: t, b: b, rnd: rand.New(rand.NewPCG(seed, 1)), topic: topic, open: map[string]bool{}}
			m.run()
			g := "{" + topic + "}:g"
			if n := r.int("EXISTS", "muster:state:"+g, "muster:loans:"+g, "muster:wait:"+g, "muster:lent:"+g, "muster:order:"+g); n != 0 {
				t.Errorf("%d keys are left of what was lent", n)
			}
			for i := range b.Inspect(t.Context(), topic) {
				if g := i.Groups[0]; g.Lag != 0 || g.Loaned != 0 || g.Delayed != 0 {
					t.Errorf("at the end the group has %+v", g)
				}
			}
		})
	}
}

// mess does what consumers may do, in an order that its seed gives.
type mess struct {
	t     *testing.T
	b     *redis.Backend
	rnd   *rand.Rand
	topic string
	n     int
	open  map[string]bool // IDs that were written and not finished
	held  []port.Delivery // of the patient consumer
	late  []port.Delivery // of the one whose loans have run out, or will
}

func (m *mess) group(consumer string, loan time.Duration) port.Group {
	return port.Group{Topic: m.topic, Name: "g", Consumer: consumer, Loan: loan}
}

func (m *mess) run() {
	patient, hasty := m.group("patient", time.Hour), m.group("hasty", 10*time.Millisecond)
	join(m.t, m.b, patient)
	for range 120 {
		switch m.rnd.IntN(10) {
		case 0, 1, 2:
			m.write(1 + m.rnd.IntN(60))
		case 3, 4:
			m.held = append(m.held, m.fetch(patient)...)
		case 5:
			m.late = append(m.late, m.fetch(hasty)...)
		case 6:
			m.extend(patient)
		case 7:
			m.late = m.settle(hasty, m.late, true)
		default:
			m.held = m.settle(patient, m.held, false)
		}
	}
	for len(m.open) > 0 {
		m.held = append(m.held, m.fetch(patient)...)
		m.held = m.settle(patient, m.held, false)
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
func (m *mess) fetch(g port.Group) []port.Delivery {
	if len(m.open) <= len(m.held) {
		return nil
	}
	got := fetch(m.t, m.b, g, 1+m.rnd.IntN(50))
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
func (m *mess) settle(g port.Group, held []port.Delivery, late bool) []port.Delivery {
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
	}
	for i, err := range m.b.Settle(m.t.Context(), g, list...) {
		id := some[i].Message.ID
		switch {
		case err == nil && list[i].Verdict == port.Ack:
			if !m.open[id] {
				m.t.Fatalf("%s is finished twice", id)
			}
			delete(m.open, id)
		case err != nil && !late:
			m.t.Fatalf("settle %s: %v", id, err)
		}
	}
	return rest
}
