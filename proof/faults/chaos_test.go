//go:build unix

package faults_test

import (
	"math/rand/v2"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// Faults of every kind, one into the other: each strikes while the fleet still works off what the last one has left behind.
func TestNothingIsLostOrDoubledWhenFaultFollowsOnFault(t *testing.T) { everywhere(t, faultOnFault) }

func faultOnFault(t *testing.T, s *shop) {
	rounds := scale(1, 10)
	proxy := testserver.NewProxy(t, s.server.Addr())
	url := s.through(proxy)
	p := s.produce(s.open(url), 0)
	j := s.job()
	j.URL, j.Remember = url, -1 // no memory of IDs: the loans alone have to tell
	fleet := s.fleet(3, j)
	some := func() int { return rand.IntN(len(fleet)) }
	faults := []func(){
		func() {
			i := some()
			fleet[i].kill()
			fleet[i] = s.start(j)
		},
		func() {
			w := fleet[some()]
			w.pause()
			lasting(t, 2*loan)
			w.resume()
		},
		func() {
			s.server.Kill()
			s.server.Restart()
		},
		func() {
			proxy.BlackHoleDown()
			lasting(t, answer/2)
			i := some()
			fleet[i].kill()
			proxy.Reset()
			proxy.Restore()
			fleet[i] = s.start(j)
		},
		func() {
			proxy.BlackHole()
			s.server.Kill()
			lasting(t, 2*loan)
			s.server.Restart()
			proxy.Restore()
		},
		func() {
			i := some()
			fresh := s.start(j)
			proxy.Reset()
			fleet[i].stop()
			fleet[i] = fresh
		},
		func() { s.site.disturb(s) },
	}
	for range rounds {
		for _, i := range rand.Perm(len(faults)) {
			from := s.ends()
			until(t, "the work goes on", func() bool { return s.ends() >= from+50 })
			faults[i]()
		}
	}
	s.end(p, true)
	n := s.settle()
	t.Logf("%d faults, one after the other; %v", rounds*len(faults), n)
	n.whole(t)
}
