//go:build unix

package faults_test

import (
	"testing"
	"time"
)

func TestWorkersThatAreKilledLoseAndDoubleNothing(t *testing.T) { everywhere(t, workersKilled) }

func workersKilled(t *testing.T, s *shop) {
	messages, kills := scale(2_000, 10_000), scale(4, 20)
	p := s.produce(s.b, messages)
	j := s.job()
	fleet := s.fleet(3, j)
	inHand := 0
	for k := range kills {
		at := (k + 1) * messages / (kills + 1)
		until(t, "the work goes on", func() bool { return s.ends() >= at })
		victim := fleet[k%len(fleet)]
		victim.kill()
		inHand += victim.told("begin") - victim.told("end")
		fleet[k%len(fleet)] = s.start(j)
	}
	s.end(p, false)
	n := s.settle()
	t.Logf("%d workers killed, %d handlings cut off; %v", kills, inHand, n)
	n.whole(t)
}

func TestWorkersThatStandStillPastTheirLoanLoseAndDoubleNothing(t *testing.T) {
	everywhere(t, workersStandStill)
}

func workersStandStill(t *testing.T, s *shop) {
	messages, stops := scale(1_500, 10_000), scale(2, 10)
	p := s.produce(s.b, messages)
	j := s.job()
	j.Remember = -1 // no memory of IDs: the loans alone have to tell
	fleet := s.fleet(3, j)
	for k := range stops {
		at := (k + 1) * messages / (stops + 1)
		until(t, "the work goes on", func() bool { return s.ends() >= at })
		zombie := fleet[k%len(fleet)]
		zombie.pause()
		lasting(t, 2*loan)
		zombie.resume()
	}
	s.end(p, false)
	n := s.settle()
	stale := int64(0)
	for _, w := range fleet {
		stale += w.stop().Stats.Counters["stale"]
	}
	t.Logf("%d times a worker stood still for %v with loans of %v, %d holds and settlements refused; %v", stops, 2*loan, loan, stale, n)
	n.whole(t)
}

// The zombie goes through the bus: its keeper, its handler, its settler.
func TestAZombieOfTheBusLearnsThatItsLoanPassedOnAndEmitsNothing(t *testing.T) {
	everywhere(t, zombieOfTheBus)
}

func zombieOfTheBus(t *testing.T, s *shop) {
	j := s.job()
	j.Remember = -1
	j.Shut = true
	zombie := s.start(j)
	s.publish(order{})
	zombie.await("the zombie begins", what("begin"))
	zombie.pause()
	j.Shut = false
	heir := s.start(j)
	heir.await("another worker handles the message", what("end"))
	until(t, "it is settled", s.drained)
	zombie.resume()
	zombie.await("the zombie's context ends because its loan passed on", what("lost"))
	zombie.tell("open")
	zombie.await("the zombie's handler returns nil", what("end"))
	stopped := zombie.stop()
	if stopped.Text != "" {
		t.Errorf("the zombie ended with %q", stopped.Text)
	}
	if stopped.Stats.Counters["stale"] == 0 {
		t.Error("nothing of the zombie's was refused: neither its heartbeat nor its settlement")
	}
	n := s.settle()
	if n.runs != 2 {
		t.Errorf("%d handler runs, want those of the zombie and of its heir", n.runs)
	}
	n.whole(t)
}

// The zombie speaks to the port itself, without any clock of its own: the server alone refuses it.
func TestAZombieAtThePortIsRefusedItsHeartbeatAndItsSettlement(t *testing.T) {
	everywhere(t, zombieAtThePort)
}

func zombieAtThePort(t *testing.T, s *shop) {
	j := s.job()
	j.Raw = true
	zombie, heir := s.start(j), s.start(j)
	const stale = "stale"
	refused := func(when string) {
		t.Helper()
		for _, command := range []string{"extend", "settle", "release", "extend"} {
			if got := zombie.ask(command).Text; got != stale {
				t.Errorf("%s %s: the zombie's call is answered %q, want %q", when, command, got, stale)
			}
		}
	}
	s.publish(order{})
	if got := zombie.ask("fetch"); got.N != 1 || got.Lost != 0 {
		t.Fatalf("fetched %+v", got)
	}
	zombie.pause()
	heir.tell("fetch")
	if got := heir.await("the message comes to another", what("fetch")); got.N != 1 || got.Lost != 1 || got.Attempt != 0 || got.Crashes != 0 {
		t.Fatalf("the heir fetched %+v, want order 1, lost once and never counted against it", got)
	}
	zombie.resume()
	refused("while another has the message on loan,")
	for _, command := range []string{"extend", "settle"} {
		if got := heir.ask(command).Text; got != "" {
			t.Errorf("%s of the heir is answered %q: the zombie has taken its loan away", command, got)
		}
	}
	refused("after another has settled the message,")
	if got := heir.ask("settle").Text; got != stale {
		t.Errorf("a second settlement is answered %q, want %q", got, stale)
	}
	s.settle().whole(t)
}

func TestAPoisonMessageEndsInTheDeadLettersAndItsNeighboursDoNot(t *testing.T) { everywhere(t, poison) }

func poison(t *testing.T, s *shop) {
	neighbours, most := scale(100, 1000), scale(2, 5)
	orders := ordinary(neighbours)
	orders[neighbours/3].Poison = true
	s.publish(orders...)
	j := s.job()
	j.Crashes = most
	j.Work = 2 * time.Millisecond // so that neighbours are in hand when it strikes
	fleet := s.fleet(2, j)
	deaths := 0
	until(t, "everything is handled or dead", func() bool {
		for i, w := range fleet {
			if w.ended() {
				deaths++
				fleet[i] = s.start(j)
			}
		}
		return s.drained()
	})
	n := s.settle()
	t.Logf("the poison killed %d workers; %v", deaths, n)
	// The first death is not counted when the message was no suspect before it.
	if deaths < most || deaths > most+1 {
		t.Errorf("%d workers died, the crash cap is %d", deaths, most)
	}
	dead := s.dead()
	if len(dead) != 1 || dead[neighbours/3+1] != 1 {
		t.Errorf("dead letters by order: %v, want the poison once and nothing else", dead)
	}
	if n.lost > 0 || n.doubled > 0 || n.emitted != neighbours-1 {
		t.Error("a neighbour of the poison was lost or doubled")
	}
	// The fleet goes on.
	s.publish(ordinary(10)...)
	if n := s.settle(); n.emitted != neighbours+9 {
		t.Errorf("after the poison: %v", n)
	}
}
