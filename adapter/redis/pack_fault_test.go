package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
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
