//go:build unix

package faults_test

import (
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

// blow is a fault where a replica may take over. Strike returns at its end; what it returns mends the servers once the work went on.
type blow struct {
	name   string
	brief  bool // part of the short form
	strike func(s *shop, fleet []*process, i int) (mend func())
}

// blows are the faults of one server and of workers, and those that only several servers have.
func blows(at site) []blow {
	cut := func(name string, lasts time.Duration, fault func(*testserver.Proxy)) blow {
		return blow{name, lasts == 0, func(s *shop, _ []*process, _ int) func() {
			proxy := s.site.master().(*testserver.Server).Proxy()
			fault(proxy)
			lasting(s.t, lasts)
			proxy.Restore()
			return s.site.whole
		}}
	}
	const gap = 3 * loan // far longer than a master may be silent before a replica takes over
	all := []blow{
		{"kill -9 of a worker", true, func(s *shop, fleet []*process, i int) func() {
			fleet[i%len(fleet)].kill()
			fleet[i%len(fleet)] = s.start(s.job())
			return nil
		}},
		{"a worker stands still past its loan", true, func(s *shop, fleet []*process, i int) func() {
			fleet[i%len(fleet)].pause()
			lasting(s.t, 2*loan)
			fleet[i%len(fleet)].resume()
			return nil
		}},
		{"kill -9 of the master, a replica takes over", true, func(s *shop, _ []*process, _ int) func() {
			old := s.site.master()
			old.Kill()
			return func() {
				s.site.replaced(old)
				old.Restart()
				s.site.whole()
			}
		}},
		{"kill -9 of the master, which is back before a replica takes over", false, func(s *shop, _ []*process, _ int) func() {
			master := s.site.master()
			master.Kill()
			master.Restart()
			return s.site.whole
		}},
		cut("connections to the master are reset", 0, (*testserver.Proxy).Reset),
		cut("the master is cut off for a moment", answer/2, (*testserver.Proxy).Cut),
		cut("the master is cut off for longer than a loan", gap, (*testserver.Proxy).Cut),
		cut("nothing gets through to or from the master", gap, (*testserver.Proxy).BlackHole),
		cut("requests do not arrive at the master", gap, (*testserver.Proxy).BlackHoleUp),
		cut("answers of the master do not arrive", gap, (*testserver.Proxy).BlackHoleDown),
		{"scripts are flushed, clients are killed", true, func(s *shop, _ []*process, _ int) func() {
			s.admin("SCRIPT", "FLUSH")
			s.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			return s.site.whole
		}},
	}
	if at.move != nil {
		all = append(all, blow{"the slot of the orders moves to another master", true, func(s *shop, _ []*process, _ int) func() {
			s.site.move()
			s.moved = true
			return s.site.whole
		}})
	}
	return all
}

// Replication is asynchronous: what a master had acknowledged and its replica did not get is lost when that takes over, and the count
// is told. What is left is whole, and nothing is doubled; without a change of the master nothing is lost. The short form deals some
// blows to one shop, the long form ten of each kind to one.
func TestNothingIsDoubledWhereAReplicaTakesOverAndOnlyThenIsSomethingLost(t *testing.T) {
	t.Parallel()
	for _, at := range sites {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			if !long() {
				s := newShopAt(t, at.start(t))
				s.suffer(slices.DeleteFunc(blows(s.site), func(b blow) bool { return !b.brief }))
				return
			}
			for _, one := range blows(at.start(t)) {
				t.Run(one.name, func(t *testing.T) { newShopAt(t, at.start(t)).suffer(slices.Repeat([]blow{one}, 10)) })
			}
		})
	}
}

// suffer deals blows under load, each when the servers have found to each other, all that was there when the last one ended is done, and
// the work goes on: of two blows that follow at once, the first would be told to last as long as both.
func (s *shop) suffer(all []blow) {
	s.t.Helper()
	p := s.produce(s.open(s.site.url), 0)
	fleet := s.fleet(3, s.job())
	var lasted, recovered times
	takeovers := 0
	for i, b := range all {
		from := s.ends()
		until(s.t, "the work goes on before "+b.name, func() bool { return s.ends() >= from+scale(50, 500) })
		s.t.Log(b.name)
		before := s.site.master()
		s.moved = false
		struck := time.Now()
		mend := b.strike(s, fleet, i)
		lasted = append(lasted, time.Since(struck))
		recovered = append(recovered, s.recovery(p))
		if mend != nil {
			mend()
		}
		until(s.t, "what was there before is through", s.caughtUp)
		if s.site.master() != before && !s.moved {
			takeovers++
		}
	}
	s.end(p, true)
	n := s.settle()
	s.t.Logf("%d times, which lasted %v; a replica took over %d times; it goes on after %v; what was there before is through after %v; %v",
		len(all), lasted, takeovers, recovered, s.backlog(), n)
	if takeovers == 0 {
		n.whole(s.t)
	} else {
		n.sound(s.t)
	}
}
