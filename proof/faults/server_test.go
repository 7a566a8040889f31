//go:build unix

package faults_test

import (
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// killed kills the server under load, again and again, and tells what became of the orders.
func (s *shop) killed() tally {
	t := s.t
	t.Helper()
	kills, between := scale(3, 10), scale(200, 1000)
	p := s.produce(s.open(s.server.URL()), 0)
	s.fleet(3, s.job())
	var recovered times
	for range kills {
		from := s.ends()
		until(t, "the work goes on", func() bool { return s.ends() >= from+between })
		s.server.Kill()
		s.server.Restart()
		recovered = append(recovered, s.recovery(p))
	}
	s.end(p, true)
	n := s.settle()
	t.Logf("%d times killed under load; it goes on after %v; what was there before is through after %v; %v", kills, recovered, s.backlog(), n)
	return n
}

// Redis with appendfsync always, NATS with sync_interval always.
func TestAServerThatIsKilledUnderLoadAndSyncsEveryWriteLosesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, s *shop) { s.killed().whole(t) })
}

// What was acknowledged in the last moments may be lost: the count is told. What is left is whole: an order that was lost and one
// whose effects were lost with their acknowledgement, so that it was handled again, are no doubles.
func TestAServerThatIsKilledUnderLoadDoublesNothingWithAppendfsyncEverysec(t *testing.T) {
	t.Parallel()
	n := newShop(t, testserver.RedisConfig{Appendfsync: "everysec"}).killed()
	n.sound(t)
}
