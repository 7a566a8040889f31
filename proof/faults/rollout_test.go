//go:build unix

package faults_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// never is a loan that no test outlives: what comes from a worker that has it was handed back.
const never = time.Hour

func TestTheMessagesOfADeadWorkerAreTakenOverWhenTheirLoanHasEnded(t *testing.T) {
	t.Parallel()
	const messages, lent = 8, 2 * loan
	const slack = 20 * time.Second // for a machine that is busy; the promise is a second
	var took times
	for range scale(2, 20) {
		s := newShop(t, testserver.RedisConfig{})
		j := s.job()
		j.Loan, j.Workers, j.Shut = lent, messages, true
		dead := s.start(j)
		s.publish(make([]order, messages)...)
		until(t, "the worker has begun all of them", func() bool { return dead.told("begin") == messages })
		j.Shut = false
		heir := s.start(j)
		dead.kill()
		since := time.Now().UnixNano()
		s.settle().whole(t)
		_, last := heir.last("begin")
		took = append(took, time.Duration(last.At-since))
		if after := took[len(took)-1]; after > lent+slack {
			t.Errorf("the last message of a dead worker was taken over %v after it was killed, with a loan of %v", after, lent)
		}
	}
	t.Logf("taken over after: %v; loan %v", took, lent)
}

func TestAGracefulStopHandsBackAtOnceAndCountsNothing(t *testing.T) { everywhere(t, gracefulStop) }

func gracefulStop(t *testing.T, s *shop) {
	const messages = 10
	j := s.job()
	j.Loan, j.Grace = never, never
	j.Workers, j.Ahead, j.Shut = 2, messages-2, true
	leaver := s.start(j)
	s.publish(make([]order, messages)...)
	until(t, "the worker has everything in hand", func() bool { return s.loaned() == messages && leaver.told("begin") == 2 })
	leaver.signal(termination)
	// Its handlers still run, and hold what they have; the rest is free before any loan could have ended.
	g := port.Group{Topic: inTopic, Name: group, Consumer: "heir", Loan: never}
	got := s.fetch(s.b, g, messages-2)
	leaver.tell("open")
	leaver.stop()
	if n := s.emitted(); n != 2 {
		t.Errorf("%d bills from the worker that left, want those of its 2 running handlers", n)
	}
	for _, d := range got {
		if d.Attempt != 0 || d.Lost != 0 || d.Crashes != 0 {
			t.Errorf("%s comes back with attempt %d, lost %d, crashes %d: a stop counts nothing", d.Message.ID, d.Attempt, d.Lost, d.Crashes)
		}
		o, err := orderOf(d.Message.Body)
		if err != nil {
			t.Fatal(err)
		}
		then, err := effects(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.b.Settle(t.Context(), g, port.Settlement{Receipt: d.Receipt, Then: then})[0]; err != nil {
			t.Fatal(err)
		}
	}
	n := s.settle()
	if n.runs != 2 {
		t.Errorf("%d handler runs, want 2", n.runs)
	}
	n.whole(t)
}

// loaned is how many messages the group has on loan.
func (s *shop) loaned() int64 {
	for info, err := range s.b.Inspect(s.t.Context(), inTopic) {
		if err == nil && len(info.Groups) == 1 {
			return info.Groups[0].Loaned
		}
	}
	return 0
}

// fetch fetches n messages.
func (s *shop) fetch(b port.Backend, g port.Group, n int) (got []port.Delivery) {
	s.t.Helper()
	for len(got) < n {
		ds, err := b.Fetch(s.t.Context(), g, n-len(got))
		if err != nil {
			s.t.Fatal(err)
		}
		got = append(got, ds...)
	}
	return got
}

func TestARollingRestartUnderLoadRedeliversNoFinishedWork(t *testing.T) {
	everywhere(t, rollingRestart)
}

func rollingRestart(t *testing.T, s *shop) {
	const size = 4
	rounds, between := scale(2, 10), scale(50, 500)
	p := s.produceFor(s.b, 0, false)
	j := s.job()
	j.Loan, j.Grace = never, never // nothing comes back by the end of a loan
	j.Answer = patience            // nor does a fetch end unheard because a disk is slow, with what it has lent
	j.Work = time.Millisecond
	fleet := s.fleet(size, j)
	redelivered := int64(0)
	for range rounds {
		for i := range fleet {
			from := s.ends()
			until(t, "the work goes on", func() bool { return s.ends() >= from+between })
			fresh := s.start(j)
			redelivered += fleet[i].stop().Stats.Counters["redelivered"]
			fleet[i] = fresh
		}
	}
	s.end(p, true)
	n := s.settle()
	for _, w := range fleet {
		redelivered += w.stop().Stats.Counters["redelivered"]
	}
	t.Logf("%d workers replaced %d times under load, %d messages redelivered; %v", size, rounds, redelivered, n)
	if n.runs != n.published || redelivered > 0 {
		t.Errorf("%d handler runs of %d messages: finished work was handled again", n.runs, n.published)
	}
	n.whole(t)
}

func TestTwoLoanTimesInOneGroupHoldEachItsOwn(t *testing.T) { everywhere(t, twoLoanTimes) }

func twoLoanTimes(t *testing.T, s *shop) {
	short, patient := s.job(), s.job()
	patient.Loan = never
	patient.Raw, short.Raw = true, true
	old, fresh := s.start(short), s.start(patient)
	s.publish(order{}, order{})
	if got := old.ask("fetch"); got.N != 1 {
		t.Fatalf("fetched %+v", got)
	}
	if got := fresh.ask("fetch"); got.N != 2 {
		t.Fatalf("fetched %+v", got)
	}
	// Neither extends. The short loan ends and its message comes to the one with the long loan; the other stays where it is.
	old.pause()
	fresh.pause()
	heir := s.start(short)
	heir.tell("fetch")
	if got := heir.await("the message of the short loan comes to another", what("fetch")); got.N != 1 || got.Lost != 1 {
		t.Fatalf("fetched %+v, want order 1", got)
	}
	heir.tell("fetch") // for order 2, as long as it lasts
	lasting(t, 3*loan)
	old.resume()
	fresh.resume()
	if got := old.ask("settle").Text; got != "stale" {
		t.Errorf("the settlement after the short loan is answered %q", got)
	}
	for _, command := range []string{"extend", "settle"} {
		if got := fresh.ask(command).Text; got != "" {
			t.Errorf("%s within the long loan is answered %q: it was taken for a short one", command, got)
		}
	}
	until(t, "order 1 comes again when the heir's own short loan has ended", func() bool { return heir.told("fetch") == 2 })
	if _, got := heir.last("fetch"); got.N != 1 || got.Lost != 2 {
		t.Fatalf("fetched %+v, want order 1 for the second time", got)
	}
	if got := heir.ask("settle").Text; got != "" {
		t.Errorf("the heir's settlement is answered %q", got)
	}
	s.settle().whole(t)
}
